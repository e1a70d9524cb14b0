//! Pictures made to fit: a camera's JPEG scaled down, then compressed harder, until it is small
//! enough. Pure. Never enlarges, and looks at a picture's size before it spends memory on it.

use std::io::Cursor;

use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _};

use crate::domain::camera::CameraError;
use crate::infrastructure::http::camera::camera_words;

mod header;
mod reduced;

pub use header::{JpegHeader, read_header};
use reduced::Reduction;

/// Most pixels of a picture: more than the largest camera sensors of this trade have.
const MAX_PIXELS: u64 = 50_000_000;
/// Most memory that a picture decoded in full may take, by estimate: nine megapixels. Larger ones
/// are decoded at a half, a quarter or an eighth of their size.
const MAX_WHOLE: u64 = 28 * 1024 * 1024;
/// The same for those that come whole or not at all: progressive ones, which take twice as much.
const MAX_UNREDUCED: u64 = 52 * 1024 * 1024;
/// Most pixels that are left where a picture is decoded at a part of its size.
const MAX_REDUCED: u64 = 5_200_000;
/// Quality while there is size left to give up.
const GOOD: u8 = 80;
/// Below this width quality is given up before size.
const SMALL: u32 = 640;
/// Qualities tried then.
const WORSE: [u8; 4] = [65, 50, 35, WORST];
const WORST: u8 = 25;
/// Nothing narrower is a picture worth sending.
const TINY: u32 = 64;
/// Sizes above the small one that are tried.
const LARGER_TRIES: usize = 3;

/// What a picture has to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Most bytes of the JPEG.
    pub max_bytes: usize,
    /// Most pixels across.
    pub max_width: Option<u32>,
}

/// A picture that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// The JPEG.
    pub jpeg: Vec<u8>,
    /// Pixels, upright.
    pub width: u32,
    /// Pixels, upright.
    pub height: u32,
}

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Something else, whatever its label says.
    #[error("not a JPEG")]
    NotJpeg,
    /// Its end is missing.
    #[error("the JPEG is cut short")]
    Truncated,
    /// A JPEG of a kind that nobody decodes.
    #[error("a JPEG of an unusual kind: {0}")]
    Unusual(&'static str),
    /// Decoding it would take too much memory.
    #[error("the picture is too large to decode: {0} x {1} pixels")]
    TooLarge(u32, u32),
    /// Its inside makes no sense.
    #[error("the JPEG is broken: {0}")]
    Broken(String),
    /// Not even a tiny one is small enough.
    #[error("no picture fits into {0} bytes")]
    DoesNotFit(usize),
}

impl From<SnapshotError> for CameraError {
    fn from(error: SnapshotError) -> Self {
        Self::BadAnswer(error.to_string())
    }
}

/// Makes a picture fit. One that fits as it is stays as it is, unless it lies on its side.
pub fn fit(jpeg: Vec<u8>, to: Fit) -> Result<Fitted, SnapshotError> {
    let header = read_header(&jpeg)?;
    let too_large =
        header.pixels() > MAX_PIXELS || (!header.is_reducible() && header.memory() > MAX_UNREDUCED);
    if too_large {
        return Err(SnapshotError::TooLarge(header.width, header.height));
    }
    if !header.has_end {
        return Err(SnapshotError::Truncated);
    }
    let orientation = orientation(&jpeg)?;
    let (width, height) = upright(header.width, header.height, orientation);
    let widest = to.max_width.map_or(width, |max| max.clamp(1, width));
    if jpeg.len() <= to.max_bytes && widest == width && orientation == Orientation::NoTransforms {
        return Ok(Fitted {
            jpeg,
            width,
            height,
        });
    }
    let mut scaler = Scaler {
        sizes: Sizes::of(&header),
        jpeg,
        picture: None,
        orientation,
        size: (width, height),
    };
    scaler.fit(widest, to.max_bytes)
}

fn upright(width: u32, height: u32, orientation: Orientation) -> (u32, u32) {
    if is_on_side(orientation) {
        (height, width)
    } else {
        (width, height)
    }
}

fn is_on_side(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

fn orientation(jpeg: &[u8]) -> Result<Orientation, SnapshotError> {
    guarded(|| {
        let mut decoder = JpegDecoder::new(Cursor::new(jpeg))?;
        decoder.orientation()
    })
}

/// The sizes at which a picture may be decoded.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    whole: bool,
    /// The finest, and all that are coarser.
    reduced: Option<Reduction>,
}

impl Sizes {
    fn of(header: &JpegHeader) -> Self {
        if !header.is_reducible() {
            return Self {
                whole: true,
                reduced: None,
            };
        }
        let fits = |r: &Reduction| header.pixels() / u64::from(r.by() * r.by()) <= MAX_REDUCED;
        let all = [Reduction::Half, Reduction::Quarter, Reduction::Eighth];
        Self {
            whole: header.memory() <= MAX_WHOLE,
            reduced: all.into_iter().find(fits),
        }
    }

    /// The smallest that has `width` of a picture that is `full` wide, else the largest there is.
    /// `None` = whole.
    fn choose(self, width: u32, full: u32) -> Option<Reduction> {
        let finest = self.reduced?;
        let all = [Reduction::Eighth, Reduction::Quarter, Reduction::Half];
        let enough = all
            .into_iter()
            .filter(|r| *r >= finest)
            .find(|r| full / r.by() >= width);
        match enough {
            None if self.whole => None,
            None => Some(finest),
            enough => enough,
        }
    }
}

fn decode(jpeg: &[u8], at: Option<Reduction>) -> Result<DynamicImage, SnapshotError> {
    match at {
        Some(reduction) => reduced::decode(jpeg, reduction),
        None => guarded(|| {
            let decoder = JpegDecoder::new(Cursor::new(jpeg))?;
            DynamicImage::from_decoder(decoder)
        }),
    }
}

/// The decoder is a stranger's and so are the bytes: its panic is an error of this picture, not
/// the end of a thread.
fn guarded<T>(
    work: impl FnOnce() -> Result<T, image::ImageError> + std::panic::UnwindSafe,
) -> Result<T, SnapshotError> {
    match std::panic::catch_unwind(work) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(why)) => Err(SnapshotError::Broken(camera_words(&why.to_string()))),
        Err(_) => Err(SnapshotError::Broken("the decoder gave up".to_owned())),
    }
}

struct Scaler {
    jpeg: Vec<u8>,
    sizes: Sizes,
    /// As it was decoded last, and at which size.
    picture: Option<(Option<Reduction>, DynamicImage)>,
    orientation: Orientation,
    /// Upright.
    size: (u32, u32),
}

impl Scaler {
    /// As large as fits at good quality; below [`SMALL`] rather worse than smaller.
    fn fit(&mut self, widest: u32, max_bytes: usize) -> Result<Fitted, SnapshotError> {
        let finest = self.sizes.choose(u32::MAX, self.size.0);
        let widest = widest.min(finest.map_or(self.size.0, |r| self.size.0.div_ceil(r.by())));
        let small_width = widest.min(SMALL);
        let (small, scaled) = self.encoded(small_width, GOOD)?;
        if small.jpeg.len() > max_bytes {
            return self.squeeze(&scaled, small.jpeg.len(), max_bytes);
        }
        drop(scaled);
        // A larger picture takes fewer bytes a pixel: what the small one says of the size that
        // fits is a little too cautious, and nearly always right at once.
        let mut best = small;
        let mut width = widest.min(fitting_width(small_width, best.jpeg.len(), max_bytes));
        for _ in 0..LARGER_TRIES {
            if width <= best.width {
                break;
            }
            let (larger, _) = self.encoded(width, GOOD)?;
            if larger.jpeg.len() <= max_bytes {
                best = larger;
                break;
            }
            width = fitting_width(width, larger.jpeg.len(), max_bytes);
        }
        Ok(best)
    }

    /// Worse, then smaller and worse.
    fn squeeze(
        &mut self,
        scaled: &DynamicImage,
        bytes: usize,
        max_bytes: usize,
    ) -> Result<Fitted, SnapshotError> {
        for quality in WORSE {
            let jpeg = encode(scaled, quality)?;
            if jpeg.len() <= max_bytes {
                return Ok(fitted(jpeg, scaled));
            }
        }
        let mut width = scaled.width();
        let mut bytes = bytes;
        while width > TINY {
            // By what the size asks for, a good step at least.
            width = fitting_width(width, bytes, max_bytes)
                .min(scale(width, 0.9))
                .max(TINY);
            for quality in [GOOD, WORST] {
                let (smaller, _) = self.encoded(width, quality)?;
                if smaller.jpeg.len() <= max_bytes {
                    return Ok(smaller);
                }
                bytes = smaller.jpeg.len();
            }
        }
        Err(SnapshotError::DoesNotFit(max_bytes))
    }

    fn encoded(
        &mut self,
        width: u32,
        quality: u8,
    ) -> Result<(Fitted, DynamicImage), SnapshotError> {
        let scaled = self.scaled(width)?;
        let jpeg = encode(&scaled, quality)?;
        Ok((fitted(jpeg, &scaled), scaled))
    }

    /// Upright and of that width, or of the largest there is.
    fn scaled(&mut self, width: u32) -> Result<DynamicImage, SnapshotError> {
        let (full_width, full_height) = self.size;
        let on_side = is_on_side(self.orientation);
        let at = self.sizes.choose(width, full_width);
        let picture = match self.picture.take() {
            Some((decoded_at, picture)) if decoded_at == at => picture,
            other => {
                // One at a time.
                drop(other);
                decode(&self.jpeg, at)?
            }
        };
        let there = if on_side {
            picture.height()
        } else {
            picture.width()
        };
        let width = width.min(there);
        let height = scale(full_height, f64::from(width) / f64::from(full_width.max(1))).max(1);
        let mut scaled = match (width >= there, on_side) {
            (true, _) => picture.clone(),
            (false, true) => picture.thumbnail_exact(height, width),
            (false, false) => picture.thumbnail_exact(width, height),
        };
        self.picture = Some((at, picture));
        scaled.apply_orientation(self.orientation);
        Ok(scaled)
    }
}

fn fitted(jpeg: Vec<u8>, picture: &DynamicImage) -> Fitted {
    Fitted {
        jpeg,
        width: picture.width(),
        height: picture.height(),
    }
}

fn encode(picture: &DynamicImage, quality: u8) -> Result<Vec<u8>, SnapshotError> {
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, quality);
    let done = match picture {
        DynamicImage::ImageLuma8(_) | DynamicImage::ImageRgb8(_) => {
            picture.write_with_encoder(encoder)
        }
        // What else the decoder may give has no place in a JPEG.
        other => DynamicImage::ImageRgb8(other.to_rgb8()).write_with_encoder(encoder),
    };
    done.map_err(|why| SnapshotError::Broken(camera_words(&why.to_string())))?;
    Ok(jpeg)
}

/// The width at which a picture of so many bytes at `width` should just fit.
fn fitting_width(width: u32, bytes: usize, max_bytes: usize) -> u32 {
    scale(
        width,
        (as_f64(max_bytes) / as_f64(bytes.max(1))).sqrt() * 0.97,
    )
}

/// `value` times `factor`, rounded down.
fn scale(value: u32, factor: f64) -> u32 {
    let scaled = (f64::from(value) * factor).clamp(0.0, f64::from(u32::MAX));
    // Clamped to the range.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let scaled = scaled as u32;
    scaled
}

fn as_f64(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
