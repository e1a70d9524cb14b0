//! Answers of the imaging service.

use crate::infrastructure::xml::{Element, as_number};

/// From the lowest to the highest.
pub type Range = (f64, f64);

fn range(element: &Element) -> Option<Range> {
    let bound = |name| element.text_of(name).and_then(as_number);
    let (min, max) = (bound("Min")?, bound("Max")?);
    (min < max).then_some((min, max))
}

/// The speeds at which the focus can be driven, from `GetMoveOptionsResponse`; `None` where it
/// can't be.
pub fn focus_speeds(content: &Element) -> Option<Range> {
    content
        .at(&["MoveOptions", "Continuous"])
        .and_then(|c| c.child("Speed"))
        .and_then(range)
}

/// The attenuations of the iris, from `GetOptionsResponse`; `None` where it can't be set by hand.
pub fn iris_range(content: &Element) -> Option<Range> {
    let exposure = content.at(&["ImagingOptions", "Exposure"])?;
    let by_hand = exposure
        .children_of("Mode")
        .any(|m| m.text().eq_ignore_ascii_case("MANUAL"));
    exposure.child("Iris").and_then(range).filter(|_| by_hand)
}

/// The iris now, from `GetImagingSettingsResponse`.
pub fn iris(content: &Element) -> Option<f64> {
    content
        .text_at(&["ImagingSettings", "Exposure", "Iris"])
        .and_then(as_number)
}

#[cfg(test)]
mod tests {
    use super::super::content;
    use super::*;
    use crate::infrastructure::xml::parse;

    #[test]
    fn an_encoder_without_motors() {
        let options = content("agsh-onvif/imaging.GetOptions.xml");
        assert_eq!(iris_range(&options), None);
        assert_eq!(
            iris(&content("agsh-onvif/imaging.GetImagingSettings.xml")),
            None
        );
    }

    #[test]
    fn a_camera_with_all() {
        let options = parse(b"<r><ImagingOptions><Exposure><Mode>AUTO</Mode><Mode>MANUAL</Mode><Iris><Min>0</Min><Max>22</Max></Iris></Exposure><Focus><AutoFocusModes>AUTO</AutoFocusModes></Focus></ImagingOptions></r>").unwrap();
        assert_eq!(iris_range(&options), Some((0.0, 22.0)));
        let moves = parse(b"<r><MoveOptions><Continuous><Speed><Min>-7</Min><Max>7</Max></Speed></Continuous></MoveOptions></r>").unwrap();
        assert_eq!(focus_speeds(&moves), Some((-7.0, 7.0)));
        assert_eq!(
            focus_speeds(&parse(b"<r><MoveOptions/></r>").unwrap()),
            None
        );
    }
}
