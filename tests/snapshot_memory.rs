//! What a large picture costs while it is made small: measured where memory is given out.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use image::codecs::jpeg::JpegEncoder;
use image::{GrayImage, Luma};
use lss::infrastructure::snapshot::{Fit, fit};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes on to the system's allocator what it is asked, and only counts beside that.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: it came from the system's `alloc` above, with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const MIB: usize = 1024 * 1024;

/// One test: the counter is the process's.
#[test]
fn a_49_megapixel_picture_costs_a_few_megabytes() {
    let picture = GrayImage::from_fn(7_000, 7_000, |x, y| {
        Luma([u8::try_from((x / 500 + y / 500) % 200).unwrap()])
    });
    let mut jpeg = Vec::new();
    let colours = image::DynamicImage::ImageLuma8(picture).to_rgb8();
    colours
        .write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, 80))
        .unwrap();
    drop(colours);
    for (max_bytes, max_width, widest, most) in [
        // What a message holds: the first look is at an eighth.
        (40_000, None, 1_750, 24 * MIB),
        (8 * MIB, Some(640), 640, 8 * MIB),
        // As large as it may be: a quarter.
        (8 * MIB, Some(6_000), 1_750, 24 * MIB),
    ] {
        let to = Fit {
            max_bytes,
            max_width,
        };
        let input = jpeg.clone();
        let before = NOW.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let fitted = fit(input, to).unwrap();
        let cost = MOST.load(Ordering::Relaxed) - before;
        assert!(
            fitted.width <= widest && fitted.width >= 300,
            "{}",
            fitted.width
        );
        assert!(fitted.jpeg.len() <= max_bytes);
        assert!(cost <= most, "{} of {} MiB", cost / MIB, most / MIB);
        println!(
            "{} px, {} bytes: {} KiB",
            fitted.width,
            fitted.jpeg.len(),
            cost / 1024
        );
    }
}
