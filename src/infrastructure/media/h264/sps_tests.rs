//! Sets that an encoder wrote (x264 through FFmpeg 9.0.2), and sets written here bit by bit.

use base64::Engine as _;
use proptest::prelude::*;

use super::*;
use crate::infrastructure::media::bits::tests::Pen;

fn of_base64(text: &str) -> Sps {
    let nal = base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap();
    read_sps(&nal).unwrap()
}

fn close(fps: Option<f64>, wanted: f64) -> bool {
    fps.is_some_and(|f| (f - wanted).abs() < 0.001)
}

#[test]
fn what_an_encoder_writes() {
    for (text, profile, size, fps, reorders) in [
        // Constrained Baseline, 360 lines: not a multiple of 16.
        (
            "Z0LAHtoCgL/lwEQAAAMABAAAAwDIPFi6gA==",
            [0x42, 0xc0, 30],
            (640, 360),
            25.0,
            false,
        ),
        (
            "Z0LAKNoB4AiflwEQAAADABAAAAMDIPGDKg==",
            [0x42, 0xc0, 40],
            (1920, 1080),
            25.0,
            false,
        ),
        // Main with B-frames.
        (
            "Z01AHuygUBf8uAiAAAADAIAAABkHixbL",
            [0x4d, 0x40, 30],
            (640, 360),
            25.0,
            true,
        ),
        (
            "Z2QAKKzZQHgET94CIAAAfSAAHUwD4sWywA==",
            [100, 0, 40],
            (1920, 1080),
            29.97,
            true,
        ),
        // 4:2:2 and 4:4:4: other units of cropping.
        (
            "Z3oAKry0A8gRPEReAiAAAAMAIAAADIHjBlQ=",
            [122, 0, 42],
            (1922, 1078),
            50.0,
            false,
        ),
        (
            "Z/QADJGWgVCHhCEMBEAAAAMAQAAAB4PFCqg=",
            [244, 0, 12],
            (321, 241),
            15.0,
            false,
        ),
        // With buffering parameters.
        (
            "Z2QAFqy0BQHtgIgAAAMACAAAAwDzAgAHoSAA9CcljAPFi6g=",
            [100, 0, 22],
            (640, 480),
            15.0,
            false,
        ),
        // Fields, sample aspect, overscan, colours.
        (
            "Z01AHuygWhJsBtQECAkAAAMAAQAAAwAyHxQplg==",
            [0x4d, 0x40, 30],
            (720, 576),
            25.0,
            true,
        ),
    ] {
        let sps = of_base64(text);
        assert_eq!((sps.profile, sps.size), (profile, size), "{text}");
        assert!(close(sps.fps, fps), "{text}: {:?}", sps.fps);
        assert_eq!(sps.reorders, Some(reorders), "{text}");
    }
}

/// A set up to the VUI flag, 640 by 368.
fn head(profile: [u32; 3], order_type: u32) -> Pen {
    let mut pen = Pen::default();
    for byte in profile {
        pen.u(8, byte);
    }
    pen.ue(0);
    if profile[0] >= 100 {
        // 4:2:0, 8 bits, a scaling matrix with one list of each length given.
        pen.ue(1).ue(0).ue(0).u(1, 0).u(1, 1);
        for list in 0..8 {
            match list {
                0 => {
                    pen.u(1, 1);
                    for _ in 0..16 {
                        pen.se(1);
                    }
                }
                // The first delta brings the next scale to zero: no more follow.
                6 => {
                    pen.u(1, 1).se(-8);
                }
                _ => {
                    pen.u(1, 0);
                }
            }
        }
    }
    pen.ue(0).ue(order_type);
    match order_type {
        0 => {
            pen.ue(4);
        }
        1 => {
            pen.u(1, 0).se(-1).se(2).ue(2).se(3).se(-4);
        }
        _ => {}
    }
    pen.ue(1).u(1, 0).ue(39).ue(22).u(1, 1).u(1, 1).u(1, 0);
    pen
}

fn read(pen: &Pen) -> Sps {
    read_sps(&pen.nal(&[0x67])).unwrap()
}

#[test]
fn what_decides_on_reordering() {
    let without_vui = |profile, order| {
        let mut pen = head(profile, order);
        pen.u(1, 0);
        let sps = read(&pen);
        assert_eq!(sps.size, (640, 368));
        assert_eq!(sps.fps, None);
        sps.reorders
    };
    assert_eq!(without_vui([66, 0, 31], 0), Some(false), "Baseline");
    assert_eq!(without_vui([77, 0, 31], 2), Some(false), "order type 2");
    assert_eq!(
        without_vui([77, 0, 31], 0),
        None,
        "Main may, and does not say"
    );
    assert_eq!(without_vui([77, 0, 31], 1), None);
    assert_eq!(without_vui([100, 0, 31], 0), None);
    assert_eq!(without_vui([100, 0x10, 31], 0), Some(false), "High Intra");

    let restricted = |frames: u32| {
        let mut pen = head([100, 0, 31], 0);
        // VUI: nothing but the restriction.
        pen.u(1, 1).u(4, 0).u(1, 0).u(3, 0).u(1, 1);
        pen.u(1, 1).ue(0).ue(0).ue(16).ue(16).ue(frames).ue(4);
        read(&pen).reorders
    };
    assert_eq!(restricted(0), Some(false));
    assert_eq!(restricted(2), Some(true));
    assert_eq!(restricted(17), None, "more than there can be");
}

#[test]
fn a_broken_vui_costs_only_what_it_would_have_said() {
    let mut pen = head([77, 0, 31], 0);
    // Timing, 2 x 25 ticks a second, and then nothing but the end.
    pen.u(1, 1).u(4, 0).u(1, 1).u(32, 1).u(32, 50).u(1, 1);
    let sps = read(&pen);
    assert!(close(sps.fps, 25.0));
    assert_eq!((sps.size, sps.reorders), ((640, 368), None));

    for (tick, scale) in [(0, 50), (1, 0), (1, u32::MAX)] {
        let mut pen = head([77, 0, 31], 0);
        pen.u(1, 1)
            .u(4, 0)
            .u(1, 1)
            .u(32, tick)
            .u(32, scale)
            .u(1, 1)
            .u(4, 0);
        assert_eq!(read(&pen).fps, None, "{tick}/{scale}");
    }
}

#[test]
fn what_is_no_set() {
    for bytes in [
        &[][..],
        &[0x67],
        &[0x67, 66, 0],
        &[0x68, 0xce, 0x3c, 0x80],
        &[0x67; 200],
    ] {
        assert_eq!(read_sps(bytes), None, "{bytes:?}");
    }
    // More cropped away than there is.
    let mut pen = Pen::default();
    pen.u(8, 66)
        .u(8, 0)
        .u(8, 31)
        .ue(0)
        .ue(0)
        .ue(2)
        .ue(1)
        .u(1, 0);
    pen.ue(0)
        .ue(0)
        .u(1, 1)
        .u(1, 1)
        .u(1, 1)
        .ue(8)
        .ue(0)
        .ue(0)
        .ue(0)
        .u(1, 0);
    assert_eq!(read_sps(&pen.nal(&[0x67])), None);
}

proptest! {
    #[test]
    fn any_bytes_make_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let mut nal = vec![0x67];
        nal.extend(bytes);
        if let Some(sps) = read_sps(&nal) {
            prop_assert!(sps.size.0 > 0 && sps.size.1 > 0);
            prop_assert!(sps.fps.is_none_or(|f| f > 0.0 && f <= MAX_FPS));
        }
    }

    #[test]
    fn one_wrong_bit_makes_no_panic(at in 8..200_usize) {
        let mut nal = base64::engine::general_purpose::STANDARD
            .decode("Z2QAFqy0BQHtgIgAAAMACAAAAwDzAgAHoSAA9CcljAPFi6g=")
            .unwrap();
        if let Some(byte) = nal.get_mut(at / 8) {
            *byte ^= 1 << (at % 8);
        }
        let _ = read_sps(&nal);
    }

    #[test]
    fn sizes_are_read_as_written(
        width in 1..=200_u32, height in 1..=200_u32, fields in any::<bool>(),
        crop in proptest::array::uniform4(0..=3_u32),
    ) {
        let mut pen = Pen::default();
        pen.u(8, 77).u(8, 0).u(8, 31).ue(0).ue(0).ue(2).ue(1).u(1, 0);
        pen.ue(width - 1).ue(height - 1).u(1, u32::from(!fields));
        if fields {
            pen.u(1, 0);
        }
        pen.u(1, 1).u(1, 1);
        for side in crop {
            pen.ue(side);
        }
        pen.u(1, 0);
        let unit = if fields { 4 } else { 2 };
        let lines = height * if fields { 32 } else { 16 };
        let wanted = (width * 16 - 2 * (crop[0] + crop[1]), lines - unit * (crop[2] + crop[3]));
        match read_sps(&pen.nal(&[0x67])) {
            Some(sps) => prop_assert_eq!(sps.size, wanted),
            None => prop_assert!(wanted.0 == 0 || wanted.1 == 0),
        }
    }
}
