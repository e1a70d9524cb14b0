use super::*;
use image::{GenericImageView as _, Rgb, RgbImage};
use proptest::prelude::*;

fn fixture(name: &str) -> Vec<u8> {
    let root = env!("CARGO_MANIFEST_DIR");
    std::fs::read(format!("{root}/tests/fixtures/jpeg/{name}")).unwrap()
}

fn within(max_bytes: usize) -> Fit {
    Fit {
        max_bytes,
        max_width: None,
    }
}

/// A scene with detail, as cameras see it, without a random source.
fn detailed(width: u32, height: u32) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let noise = x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503) ^ (x * y);
        let byte = |shift: u32| u8::try_from((noise >> shift) & 63).unwrap();
        let base = u8::try_from((x / 16 + y / 16) % 128).unwrap();
        Rgb([base + byte(3), base + byte(9), 255 - base - byte(15)])
    });
    encode(&DynamicImage::ImageRgb8(picture), 90).unwrap()
}

/// White above, red on the left, blue on the right.
fn assert_upright(jpeg: &[u8], grey: bool) {
    let picture = image::load_from_memory(jpeg).unwrap();
    let (width, height) = picture.dimensions();
    let at = |x: u32, y: u32| picture.get_pixel(x, y).0;
    let white = at(width / 2, height / 10);
    let red = at(width / 8, height * 3 / 4);
    let blue = at(width * 7 / 8, height * 3 / 4);
    assert!(white[0] > 230 && white[2] > 230, "{white:?}");
    if grey {
        assert!(red[0] < 120 && red[0] == red[2], "{red:?}");
    } else {
        assert!(red[0] > 150 && red[2] < 100, "{red:?}");
        assert!(blue[2] > 150 && blue[0] < 100, "{blue:?}");
    }
}

#[test]
fn what_fits_is_not_touched() {
    let jpeg = fixture("plain.jpg");
    let fitted = fit(jpeg.clone(), within(jpeg.len())).unwrap();
    assert_eq!(fitted.jpeg, jpeg);
    assert_eq!((fitted.width, fitted.height), (96, 64));
}

#[test]
fn every_kind_is_scaled_and_stays_itself() {
    for name in [
        "plain.jpg",
        "progressive.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "orientation_3.jpg",
        "orientation_6.jpg",
        "orientation_8.jpg",
    ] {
        let to = Fit {
            max_bytes: 100_000,
            max_width: Some(48),
        };
        let fitted = fit(fixture(name), to).unwrap();
        assert_eq!((fitted.width, fitted.height), (48, 32), "{name}");
        assert_upright(&fitted.jpeg, name == "grey.jpg");
    }
}

#[test]
fn one_on_its_side_is_set_upright_even_if_it_fits() {
    for name in [
        "orientation_3.jpg",
        "orientation_6.jpg",
        "orientation_8.jpg",
    ] {
        let fitted = fit(fixture(name), within(100_000)).unwrap();
        assert_eq!((fitted.width, fitted.height), (96, 64), "{name}");
        assert_upright(&fitted.jpeg, false);
    }
}

#[test]
fn nothing_is_enlarged() {
    let to = Fit {
        max_bytes: 1_000_000,
        max_width: Some(4000),
    };
    let fitted = fit(fixture("orientation_6.jpg"), to).unwrap();
    assert_eq!((fitted.width, fitted.height), (96, 64));
}

#[test]
fn large_pictures_are_made_to_fit_with_their_aspect() {
    let jpeg = detailed(1920, 1080);
    assert!(jpeg.len() > 400_000, "{}", jpeg.len());
    let widths = [200_000, 40_000, 3_000].map(|max_bytes| {
        let fitted = fit(jpeg.clone(), within(max_bytes)).unwrap();
        assert!(fitted.jpeg.len() <= max_bytes);
        let aspect = f64::from(fitted.width) / f64::from(fitted.height);
        assert!((aspect - 16.0 / 9.0).abs() < 0.06, "{aspect}");
        let shown = image::load_from_memory(&fitted.jpeg).unwrap();
        assert_eq!(shown.dimensions(), (fitted.width, fitted.height));
        fitted.width
    });
    assert!(widths[0] > widths[1] && widths[1] > widths[2], "{widths:?}");
    assert!(widths[1] >= 320, "{widths:?}");
    assert_eq!(fit(jpeg, within(100)), Err(SnapshotError::DoesNotFit(100)));
}

#[test]
fn what_is_no_picture() {
    let tiny = within(10);
    for (bytes, error) in [
        (b"".to_vec(), SnapshotError::NotJpeg),
        (b"GIF89a...".to_vec(), SnapshotError::NotJpeg),
        (b"\x89PNG\r\n\x1a\n".to_vec(), SnapshotError::NotJpeg),
        (b"<html>login</html>".to_vec(), SnapshotError::NotJpeg),
        (b"\xFF\xD8".to_vec(), SnapshotError::Truncated),
        (
            b"\xFF\xD8\xFF\xE0\x00\x10JF".to_vec(),
            SnapshotError::Truncated,
        ),
        (
            b"\xFF\xD8\xFF\xD9".to_vec(),
            SnapshotError::Broken("no size in it".to_owned()),
        ),
    ] {
        assert_eq!(fit(bytes.clone(), tiny), Err(error), "{bytes:?}");
    }
    let whole = fixture("plain.jpg");
    for cut in [whole.len() - 2, whole.len() / 2, 200] {
        let error = fit(whole[..cut].to_vec(), within(100_000)).unwrap_err();
        assert_eq!(error, SnapshotError::Truncated, "{cut}");
    }
    let error: CameraError = SnapshotError::Truncated.into();
    assert_eq!(error.code().number(), 50001);
}

/// A frame header that promises much and brings nothing.
fn bomb(width: u16, height: u16, marker: u8) -> Vec<u8> {
    let (w, h) = (width.to_be_bytes(), height.to_be_bytes());
    let mut bytes = vec![
        0xFF, 0xD8, 0xFF, marker, 0, 17, 8, h[0], h[1], w[0], w[1], 3,
    ];
    bytes.extend([1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
    bytes.extend([0xFF, 0xD9]);
    bytes
}

#[test]
fn bombs_are_refused_before_they_are_decoded() {
    let refused = |bytes| matches!(fit(bytes, within(10)), Err(SnapshotError::TooLarge(..)));
    assert!(refused(bomb(65_535, 65_535, 0xC0)));
    assert!(refused(bomb(10_000, 6_000, 0xC0)), "over the pixels");
    assert!(refused(bomb(8_000, 6_000, 0xC2)), "over the memory");
    assert!(!refused(bomb(8_000, 6_000, 0xC0)));
    assert_eq!(
        fit(bomb(0, 10, 0xC0), within(10)),
        Err(SnapshotError::Broken(
            "a frame header without sense".to_owned()
        ))
    );
    assert_eq!(
        fit(bomb(10, 10, 0xC9), within(10)),
        Err(SnapshotError::Unusual("arithmetic coding"))
    );
}

#[test]
fn the_memory_of_a_progressive_picture() {
    let header = read_header(&bomb(100, 100, 0xC2)).unwrap();
    assert!(header.progressive);
    // 3 bytes a pixel, and two for 1.5 coefficients.
    assert_eq!(header.memory(), 60_000);
    assert_eq!(read_header(&bomb(100, 100, 0xC0)).unwrap().memory(), 30_000);
}

/// What it should look like: the whole, scaled down by the same factor.
fn assert_like_the_whole(jpeg: &[u8], name: &str) {
    let whole = image::load_from_memory(jpeg).unwrap();
    for reduction in [Reduction::Half, Reduction::Quarter, Reduction::Eighth] {
        let small = reduced::decode(jpeg, reduction).unwrap();
        let size = |pixels: u32| pixels.div_ceil(reduction.by());
        assert_eq!(
            small.dimensions(),
            (size(whole.width()), size(whole.height())),
            "{name} {reduction:?}"
        );
        let expected = whole
            .thumbnail_exact(small.width(), small.height())
            .to_rgb8();
        let got = small.to_rgb8();
        let (mut sum, mut count) = (0_u64, 0_u64);
        for (a, b) in expected.as_raw().iter().zip(got.as_raw()) {
            sum += u64::from(a.abs_diff(*b));
            count += 1;
        }
        // Edges fall between pixels, and colours are as coarse as they were sent.
        assert!(sum <= count * 6, "{name} {reduction:?}: {sum} of {count}");
    }
}

#[test]
fn a_part_of_the_size_looks_like_the_whole() {
    for name in ["plain.jpg", "grey.jpg", "orientation_6.jpg"] {
        assert_like_the_whole(&fixture(name), name);
    }
    // Sizes that fill no block; smooth, for thumbnails differ in what is finer than a pixel.
    for (width, height) in [(161, 97), (8, 8), (1, 1), (640, 360)] {
        let picture = RgbImage::from_fn(width, height, |x, y| {
            let byte = |v: u32| u8::try_from(v % 256).unwrap();
            Rgb([byte(x * 255 / width), byte(y * 255 / height), 90])
        });
        let jpeg = encode(&DynamicImage::ImageRgb8(picture), 95).unwrap();
        assert_like_the_whole(&jpeg, &format!("{width}x{height}"));
    }
    let refused = reduced::decode(&fixture("progressive.jpg"), Reduction::Half);
    assert_eq!(refused, Err(SnapshotError::Unusual("progressive")));
    let refused = reduced::decode(&fixture("cmyk.jpg"), Reduction::Half);
    assert!(matches!(refused, Err(SnapshotError::Unusual(_))));
}

proptest! {
    #[test]
    fn a_damaged_picture_is_reduced_without_a_panic(
        at in 2_usize..2_000,
        byte in any::<u8>(),
        cut in 2_usize..2_000,
    ) {
        let mut jpeg = fixture("plain.jpg");
        let (at, cut) = (at % jpeg.len(), cut % jpeg.len());
        jpeg[at] = byte;
        for reduction in [Reduction::Half, Reduction::Quarter, Reduction::Eighth] {
            // Of a size that a header may have: the caller looks at that first.
            let small = read_header(&jpeg).is_ok_and(|h| h.pixels() < 1_000_000);
            if small {
                let _ = reduced::decode(&jpeg, reduction);
                let _ = reduced::decode(&jpeg[..cut.max(2)], reduction);
            }
        }
    }

    #[test]
    fn any_bytes_make_no_panic(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_header(&tail);
        let _ = read_header(&[&[0xFF, 0xD8, 0xFF], tail.as_slice()].concat());
    }

    #[test]
    fn a_damaged_picture_makes_no_panic(at in 2_usize..2_000, byte in any::<u8>()) {
        let mut jpeg = fixture("progressive.jpg");
        let at = at % jpeg.len();
        jpeg[at] = byte;
        let _ = fit(jpeg, Fit { max_bytes: 900, max_width: Some(48) });
    }
}
