//! H.264 levels: which picture size and rate each allows (ITU-T H.264, table A-1). Pure.

/// Name, most macroblocks a second, most macroblocks a picture.
const LEVELS: [(&str, u64, u64); 19] = [
    ("1", 1_485, 99),
    ("1.1", 3_000, 396),
    ("1.2", 6_000, 396),
    ("1.3", 11_880, 396),
    ("2", 11_880, 396),
    ("2.1", 19_800, 792),
    ("2.2", 20_250, 1_620),
    ("3", 40_500, 1_620),
    ("3.1", 108_000, 3_600),
    ("3.2", 216_000, 5_120),
    ("4", 245_760, 8_192),
    ("4.1", 245_760, 8_192),
    ("4.2", 522_240, 8_704),
    ("5", 589_824, 22_080),
    ("5.1", 983_040, 36_864),
    ("5.2", 2_073_600, 36_864),
    ("6", 4_177_920, 139_264),
    ("6.1", 8_355_840, 139_264),
    ("6.2", 16_711_680, 139_264),
];

/// A level that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// As x264 takes it: `3.1`.
    pub name: &'static str,
    per_second: u64,
    per_picture: u64,
}

impl Level {
    /// From `3.1`, `31`, `4`, `4.0` or `40`.
    pub fn parse(text: &str) -> Option<Self> {
        let dotted = match text.as_bytes() {
            [major, minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                format!("{}.{}", char::from(*major), char::from(*minor))
            }
            _ => text.to_owned(),
        };
        let wanted = dotted.strip_suffix(".0").unwrap_or(&dotted);
        LEVELS
            .iter()
            .find(|(name, ..)| *name == wanted)
            .map(|&(name, per_second, per_picture)| Self {
                name,
                per_second,
                per_picture,
            })
    }

    /// Whether a picture of that size at that rate is within the level.
    pub fn fits(self, width: u32, height: u32, fps: u32) -> bool {
        let (wide, high) = (
            u64::from(width.div_ceil(16)),
            u64::from(height.div_ceil(16)),
        );
        let picture = wide * high;
        picture <= self.per_picture
            && picture * u64::from(fps) <= self.per_second
            // No side longer than the square root of eight times the picture.
            && wide * wide <= 8 * self.per_picture
            && high * high <= 8 * self.per_picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, name) in [
            ("3.1", "3.1"),
            ("31", "3.1"),
            ("4", "4"),
            ("4.0", "4"),
            ("40", "4"),
        ] {
            assert_eq!(Level::parse(text).unwrap().name, name);
        }
        for text in ["", "7", "3.3", "1b", "3.1.1", "310", "x"] {
            assert_eq!(Level::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_and_rates() {
        let level = |name| Level::parse(name).unwrap();
        assert!(level("3.1").fits(1280, 720, 30));
        assert!(!level("3.1").fits(1280, 720, 60), "too many a second");
        assert!(!level("3.1").fits(1920, 1080, 30), "too large");
        assert!(level("4").fits(1920, 1080, 30));
        assert!(!level("3.1").fits(2720, 16, 1), "too wide");
    }
}
