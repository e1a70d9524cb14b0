//! What lss reads of a real RTSP server's descriptions, against what FFmpeg finds in the stream.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use lss::domain::camera::Credentials;
use lss::domain::discovery::{RtspGateway as _, StreamDescription, TrackInfo};
use lss::domain::error::{ErrorCode, Fault};
use lss::infrastructure::rtsp::RtspClient;
use lss::util::secret::Secret;

use crate::daemon::{Lab, NASTY_PASSWORD, SOON};
use crate::lab::{Camera, Login};

fn ask(camera: &Camera, mount: &str, login: Option<&str>) -> Result<StreamDescription, Fault> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, camera.port()));
    assert_eq!(RtspClient::default().speaks(at, SOON), Ok(()));
    let login = login.map(|p| Credentials::new("admin", Secret::new(p)).unwrap());
    RtspClient::default().describe(at, &Secret::url(camera.url(mount)), login.as_ref(), SOON)
}

fn track<'a>(seen: &'a StreamDescription, media: &str) -> &'a TrackInfo {
    seen.tracks
        .iter()
        .find(|t| t.media == media)
        .unwrap_or_else(|| panic!("no {media} in {seen:?}"))
}

/// FFmpeg's line on the video of a clip: `Video: h264 (Main) (avc1 …), yuv420p(…), 640x360 …, 25 fps`.
fn ffmpegs_word(lab: &Lab, clip: &str) -> String {
    let output = Command::new(&lab.tools.ffmpeg)
        .args(["-hide_banner", "-nostdin", "-i"])
        .arg(lab.tools.clips.join(clip))
        .output()
        .expect("ffmpeg");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|l| l.contains("Video: "));
    line.unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn what_a_description_says_is_what_ffmpeg_sees() {
    let Some(lab) = Lab::enter("what_a_description_says_is_what_ffmpeg_sees") else {
        return;
    };
    let camera = lab.camera(&[
        "aac=long_h264_aac.mp4",
        "full=long_h264_1080_aac.mp4",
        "pcma=long_h264_pcma.mkv",
        "quiet=long_h264_noaudio.mp4",
        "bf=long_h264_bf_aac.mp4",
        "h265=long_h265_aac.mp4",
    ]);
    for (mount, clip, audio, reorders) in [
        ("aac", "long_h264_aac.mp4", Some("MPEG4-GENERIC"), false),
        (
            "full",
            "long_h264_1080_aac.mp4",
            Some("MPEG4-GENERIC"),
            false,
        ),
        ("pcma", "long_h264_pcma.mkv", Some("PCMA"), false),
        ("quiet", "long_h264_noaudio.mp4", None, false),
        ("bf", "long_h264_bf_aac.mp4", Some("MPEG4-GENERIC"), true),
    ] {
        let seen = ask(&camera, mount, None).unwrap();
        let word = ffmpegs_word(&lab, clip);
        let video = track(&seen, "video");
        assert_eq!(video.codec.as_deref(), Some("H264"), "{mount}");
        assert_eq!(video.reorders, Some(reorders), "{mount}");
        let (width, height) = video.size.expect("size");
        assert!(word.contains(&format!(" {width}x{height}")), "{word}");
        let fps = video.fps.expect("fps");
        assert!(word.contains(&format!(" {fps} tbr")), "{fps}: {word}");
        let [profile, constraints, level] = video.h264_profile.expect("profile");
        let name = match (profile, constraints & 0x40 != 0) {
            (66, true) => "(Constrained Baseline)",
            (66, false) => "(Baseline)",
            (77, _) => "(Main)",
            other => panic!("{other:?}"),
        };
        assert!(word.contains(name), "{name}: {word}");
        assert!((10..=62).contains(&level), "{level}");
        let sound = seen.tracks.iter().find(|t| t.media == "audio");
        assert_eq!(sound.and_then(|t| t.codec.as_deref()), audio, "{mount}");
    }

    let seen = ask(&camera, "aac", None).unwrap();
    let sound = track(&seen, "audio");
    assert_eq!((sound.clock_rate, sound.channels), (Some(48_000), Some(1)));
    let pcma = ask(&camera, "pcma", None).unwrap();
    assert_eq!(track(&pcma, "audio").clock_rate, Some(8000));

    let seen = ask(&camera, "h265", None).unwrap();
    let video = track(&seen, "video");
    assert_eq!(video.codec.as_deref(), Some("H265"));
    assert_eq!((video.size, video.h264_profile), (Some((640, 360)), None));

    let fault = ask(&camera, "nothing-here", None).unwrap_err();
    assert_eq!(fault.code, ErrorCode::NotFound, "{fault}");
}

/// Passes one connection on to a port; joined, it gives all that the client has said.
fn eavesdropper(port: u16) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let other = std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = client.read(&mut buffer) {
            said.extend_from_slice(&buffer[..n]);
            server.write_all(&buffer[..n]).unwrap();
        }
        let _ = server.shutdown(Shutdown::Both);
        let _ = other.join();
        String::from_utf8(said).unwrap()
    });
    (at, thread)
}

/// Right, wrong and missing password.
fn a_login(test: &str, scheme: &str) {
    let Some(lab) = Lab::enter(test) else { return };
    let login = Login {
        user: "admin",
        password: NASTY_PASSWORD,
        scheme,
    };
    let mut camera = Camera::start(
        &lab.tools,
        lab.dir(),
        Some(login),
        &["cam=long_h264_aac.mp4"],
    );
    let seen = ask(&camera, "cam", Some(NASTY_PASSWORD)).unwrap();
    assert_eq!(track(&seen, "video").size, Some((640, 360)));
    for password in [Some("cAnary-wrong"), None] {
        let fault = ask(&camera, "cam", password).unwrap_err();
        assert_eq!(fault.code, ErrorCode::Unauthorized, "{fault}");
        assert!(!fault.message.contains("cAnary"), "{fault}");
    }

    let (at, listening) = eavesdropper(camera.port());
    let wrong = Credentials::new("admin", Secret::new("cAnary-wrong")).unwrap();
    let url = Secret::url(camera.url("cam"));
    let result = RtspClient::default().describe(at, &url, Some(&wrong), SOON);
    assert_eq!(result.unwrap_err().code, ErrorCode::Unauthorized);
    let said = listening.join().unwrap();
    assert_eq!(said.matches("DESCRIBE ").count(), 2, "{said}");
    assert_eq!(said.matches("Authorization: ").count(), 1, "{said}");

    // Hung: the kernel still takes the connection.
    camera.hang();
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, camera.port()));
    let fault = RtspClient::default()
        .speaks(at, Duration::from_millis(500))
        .unwrap_err();
    assert_eq!(fault.code, ErrorCode::Unavailable, "{fault}");
}

#[test]
fn a_description_behind_digest() {
    a_login("a_description_behind_digest", "digest");
}

#[test]
fn a_description_behind_basic() {
    a_login("a_description_behind_basic", "basic");
}
