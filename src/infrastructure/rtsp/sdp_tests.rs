//! Descriptions in the manner of several vendors, their parameter sets written by an encoder.

use proptest::prelude::*;

use super::*;

fn tracks(text: &str) -> Vec<TrackInfo> {
    Sdp::parse(text.replace('\n', "\r\n").as_bytes()).tracks()
}

#[test]
fn hikvisions_way() {
    // The description says Baseline, the set says Main: the set is right.
    let text = "v=0\no=- 1 1 IN IP4 192.168.1.64\ns=Media Presentation\ne=NONE\nb=AS:5050\nt=0 0\n\
        a=control:rtsp://192.168.1.64:554/Streaming/Channels/101/\n\
        m=video 0 RTP/AVP 96\nc=IN IP4 0.0.0.0\nb=AS:5000\na=recvonly\na=x-dimensions:640,360\n\
        a=control:rtsp://192.168.1.64:554/Streaming/Channels/101/trackID=1\na=rtpmap:96 H264/90000\n\
        a=fmtp:96 profile-level-id=420029; packetization-mode=1; sprop-parameter-sets=Z01AHuygUBf8uAiAAAADAIAAABkHixbL,aO+8gA==\n\
        m=audio 0 RTP/AVP 8\na=control:rtsp://192.168.1.64:554/Streaming/Channels/101/trackID=2\na=rtpmap:8 PCMA/8000\n\
        m=application 0 RTP/AVP 107\na=rtpmap:107 vnd.onvif.metadata/90000\na=appversion:1.0\n";
    let sdp = Sdp::parse(text.as_bytes());
    assert_eq!(
        sdp.control(),
        Some("rtsp://192.168.1.64:554/Streaming/Channels/101/")
    );
    assert_eq!(
        sdp.media[0].control(),
        Some("rtsp://192.168.1.64:554/Streaming/Channels/101/trackID=1")
    );
    let seen = sdp.tracks();
    assert_eq!(
        seen[0],
        TrackInfo {
            media: "video".to_owned(),
            codec: Some("H264".to_owned()),
            clock_rate: Some(90_000),
            h264_profile: Some([0x4d, 0x40, 30]),
            size: Some((640, 360)),
            fps: Some(25.0),
            reorders: Some(true),
            ..TrackInfo::default()
        }
    );
    assert_eq!(
        (
            seen[1].codec.as_deref(),
            seen[1].clock_rate,
            seen[1].channels
        ),
        (Some("PCMA"), Some(8000), None)
    );
    assert_eq!(seen[2].media, "application");
    assert_eq!(seen[2].codec.as_deref(), Some("VND.ONVIF.METADATA"));
}

#[test]
fn dahuas_way_with_h265() {
    let seen = tracks(
        "v=0\ns=Media Server\nt=0 0\na=control:*\na=range:npt=now-\nm=video 0 RTP/AVP 98\na=control:trackID=0\n\
         a=framerate:25.000000\na=rtpmap:98 H265/90000\n\
         a=fmtp:98 profile-id=1;sprop-sps=QgEBAWAAAAMAkAAAAwAAAwA/oAUCAXHy5bpKTC8BaAgAAAMACAAAAwDIQA==;sprop-pps=RAHAc8GJ;sprop-vps=QAEMAf//AWAAAAMAkAAAAwAAAwA/ugJA\n\
         a=recvonly\nm=audio 0 RTP/AVP 97\na=control:trackID=1\na=rtpmap:97 MPEG4-GENERIC/48000\n\
         a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;config=1188\n",
    );
    assert_eq!(seen[0].codec.as_deref(), Some("H265"));
    assert_eq!(seen[0].size, Some((640, 360)));
    assert_eq!((seen[0].h264_profile, seen[0].reorders), (None, None));
    assert_eq!(seen[1].codec.as_deref(), Some("MPEG4-GENERIC"));
    assert_eq!(seen[1].clock_rate, Some(48_000));
}

#[test]
fn formats_without_a_mapping() {
    let seen = tracks(
        "m=audio 0 RTP/AVP 0\nm=video 0 RTP/AVP 26\nm=audio 0 RTP/AVP 8\na=rtpmap:8\nm=audio 0 RTP/AVP 97\n",
    );
    let codecs: Vec<Option<&str>> = seen.iter().map(|t| t.codec.as_deref()).collect();
    assert_eq!(codecs, [Some("PCMU"), Some("JPEG"), Some("PCMA"), None]);
    assert_eq!(seen[0].channels, Some(1));
}

#[test]
fn careless_descriptions() {
    // No v=, o=, s=; a wrong number in the mapping; an empty fmtp; blanks everywhere.
    let seen = tracks(
        "a=control:*\nm=video 0 RTP/AVP 35\na=rtpmap: 96  h264/90000 \na=fmtp:96\na=fmtp:96 packetization-mode=1 ;  Profile-Level-Id=42E01F\n",
    );
    assert_eq!(seen[0].codec.as_deref(), Some("H264"));
    assert_eq!(seen[0].h264_profile, Some([0x42, 0xe0, 0x1f]));
    assert_eq!((seen[0].size, seen[0].reorders), (None, Some(false)));

    // A media that can't be read costs itself and its attributes only.
    let seen = tracks(
        "m=\na=rtpmap:96 JUNK/1\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\nm=application/TP-LINK 0 RTP/AVP smart/1/90000\na=rtpmap:95 TP-LINK/90000\n",
    );
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].codec.as_deref(), Some("H264"));

    // Sets without padding, with a start code, the picture set first, and a profile in Base64.
    let seen = tracks(
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n\
         a=fmtp:96 profile-level-id=TeAo;sprop-parameter-sets=aM48gA, AAAAAWdCwB7aAoC/5cBEAAADAAQAAAMAyDxYuoA\n",
    );
    assert_eq!(seen[0].h264_profile, Some([0x42, 0xc0, 30]));
    assert_eq!(seen[0].size, Some((640, 360)));
    assert_eq!(seen[0].reorders, Some(false));

    let seen = tracks(
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 profile-level-id=TeAo;sprop-parameter-sets=*,,=\n",
    );
    assert_eq!((seen[0].h264_profile, seen[0].reorders), (None, None));
    assert!(tracks("<html>404</html>").is_empty());
    assert!(tracks("").is_empty());
}

#[test]
fn bounds() {
    let many = "m=video 0 RTP/AVP 96\n".repeat(1000);
    assert_eq!(tracks(&many).len(), MAX_MEDIA);
    let attributes = format!("m=video 0 RTP/AVP 96\n{}", "a=x:y\n".repeat(1000));
    let sdp = Sdp::parse(attributes.as_bytes());
    assert_eq!(sdp.media[0].attributes.len(), MAX_ATTRIBUTES);
    let name = format!("m=video 0 RTP/AVP 96\na=rtpmap:96 {}/1\n", "x".repeat(9000));
    assert_eq!(
        tracks(&name)[0].codec.as_ref().map(String::len),
        Some(MAX_NAME)
    );
}

proptest! {
    #[test]
    fn any_bytes_make_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Sdp::parse(&bytes).tracks();
    }

    #[test]
    fn any_description_makes_no_panic(
        lines in proptest::collection::vec(
            "(m=(video|audio) 0 RTP/AVP [0-9]{1,3}|a=(rtpmap|fmtp|control):[0-9]{0,3} ?[A-Za-z0-9+/=;, -]{0,40}|a=fmtp:96 sprop-parameter-sets=Z[A-Za-z0-9+/]{0,60})",
            0..12,
        ),
    ) {
        let _ = Sdp::parse(lines.join("\r\n").as_bytes()).tracks();
    }
}
