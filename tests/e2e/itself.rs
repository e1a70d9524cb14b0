//! The lab without lss: where this fails, no other test here can tell anything.

use crate::daemon::{Lab, SOON};
use crate::lab::{self, Part, until};

#[test]
fn an_ffmpeg_by_hand_arrives() {
    let Some(lab) = Lab::enter("an_ffmpeg_by_hand_arrives") else {
        return;
    };
    let camera = lab.camera(&["cam=long_h264_aac.mp4"]);
    let receiver = lab.receiver();
    let (source, whip) = (camera.url("cam"), receiver.url("one", "by-hand"));
    let mut args = vec!["-nostdin", "-rtsp_transport", "tcp", "-timeout", "5000000"];
    args.extend(["-i", &source, "-c:v", "copy", "-c:a", "libopus", "-ac", "2"]);
    args.extend(["-timeout", "5", "-f", "whip", &whip]);
    let mut ffmpeg = Part::start(lab.dir(), "ffmpeg", &lab.tools.ffmpeg, &args, &[]);
    let session = receiver.await_frames("by-hand", 0, 50, SOON);
    assert_eq!(session.sizes, ["640x360"]);
    assert_eq!(lab::processes_with(&whip), [ffmpeg.pid()]);

    // The place is taken until the session is ended.
    let mut second = Part::start(lab.dir(), "second", &lab.tools.ffmpeg, &args, &[]);
    second.wait(SOON).expect("409 ends it");
    assert_eq!(receiver.sessions("by-hand").len(), 1);
    assert_eq!(receiver.posts("by-hand"), 2);

    ffmpeg.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = ffmpeg.wait(SOON).map(lab::ending);
    assert_eq!(ended.as_deref(), Some("exit 255"), "{}", ffmpeg.output());
    until("DELETE", SOON, || {
        receiver.sessions("by-hand")[0].deleted.then_some(())
    });
}
