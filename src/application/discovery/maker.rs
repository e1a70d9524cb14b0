//! Whose make a camera is, by what it says of its manufacturer.

use crate::domain::vendor;

/// Longest name that is kept, in bytes.
const MAX_NAME: usize = 64;

/// The vendor's short name, in upper case: `Hangzhou Hikvision Digital Technology` is HIKVISION.
/// `None` for what names nobody.
pub fn vendor_of(manufacturer: &str) -> Option<String> {
    let upper = manufacturer.trim().to_uppercase();
    // XM's firmware names the codec here.
    if matches!(upper.as_str(), "H264" | "H265") {
        return Some("XM".to_owned());
    }
    if let Some(known) = vendor::named_in(&upper) {
        return Some(known.to_owned());
    }
    let names_somebody = upper.chars().any(char::is_alphanumeric)
        && !upper.chars().any(char::is_control)
        && upper.len() <= MAX_NAME
        && upper != "UNKNOWN";
    names_somebody.then_some(upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manufacturers_are_vendors() {
        for (said, vendor) in [
            ("HIKVISION", Some("HIKVISION")),
            ("Hikvision", Some("HIKVISION")),
            (
                "Hangzhou Hikvision Digital Technology Co.,Ltd",
                Some("HIKVISION"),
            ),
            ("Dahua Technology", Some("DAHUA")),
            ("tp-link", Some("TP-LINK")),
            ("Hanwha Techwin", Some("HANWHA")),
            ("H264", Some("XM")),
            ("Acme Optics", Some("ACME OPTICS")),
            ("  ", None),
            ("unknown", None),
            ("--", None),
        ] {
            assert_eq!(vendor_of(said).as_deref(), vendor, "{said}");
        }
    }
}
