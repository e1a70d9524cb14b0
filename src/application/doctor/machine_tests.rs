use std::path::PathBuf;

use super::*;
use crate::domain::checkup::FfmpegFacts;
use crate::domain::whip_fit::Grade;

fn facts() -> FfmpegFacts {
    FfmpegFacts {
        version: "9.0.2".to_owned(),
        whip: true,
        verifies_certificates: true,
        notices_lost_peer: true,
        h264: vec!["libx264".to_owned()],
        opus: true,
    }
}

fn judged(found: Result<FfmpegFacts, String>) -> Vec<(Grade, String)> {
    judged_by(found, false)
}

fn judged_by(found: Result<FfmpegFacts, String>, spared: bool) -> Vec<(Grade, String)> {
    let look = FfmpegLook {
        path: PathBuf::from("/usr/bin/ffmpeg"),
        found,
        spared,
    };
    let checks = ffmpeg(&look);
    for check in &checks {
        assert!(check.status == Grade::Pass || check.advice.is_some());
    }
    checks.into_iter().map(|c| (c.status, c.words)).collect()
}

#[test]
fn ffmpegs_from_good_to_missing() {
    let good = judged(Ok(facts()));
    assert!(good.iter().all(|(status, _)| *status == Grade::Pass));
    assert!(good[1].1.contains("no hardware encoder"));
    let old = judged(Ok(FfmpegFacts {
        version: "8.1.2".to_owned(),
        verifies_certificates: false,
        ..facts()
    }));
    assert_eq!(old[0].0, Grade::Warn);
    assert!(old[0].1.contains("certificate"));
    let without = judged(Ok(FfmpegFacts {
        whip: false,
        ..facts()
    }));
    assert_eq!(without.len(), 1, "encoders are of no use then");
    assert!(without[0].0 == Grade::Fail && without[0].1.contains("no whip muxer"));
    let missing = judged(Err("there is no program at ffmpeg".to_owned()));
    assert_eq!(missing[0].0, Grade::Fail);
    let spared = judged_by(Err("there is no program at ffmpeg".to_owned()), true);
    assert_eq!(spared[0].0, Grade::Warn);
    assert!(spared[0].1.contains("lss itself sends"), "{spared:?}");
}

#[test]
fn encoders_that_are_there_and_that_are_not() {
    let with = |h264: &[&str], opus| {
        let check = encoders(
            &h264.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(),
            opus,
        );
        (check.status, check.words)
    };
    assert_eq!(with(&[], true).0, Grade::Fail);
    assert_eq!(with(&["h264_v4l2m2m"], true).0, Grade::Warn);
    assert_eq!(with(&["libx264"], false).0, Grade::Warn);
    let hardware = with(&["libx264", "h264_v4l2m2m"], true);
    assert_eq!(hardware.0, Grade::Pass);
    assert!(hardware.1.contains("h264_v4l2m2m"));
}

#[test]
fn a_machine_that_is_short_of_everything() {
    let look = MachineLook {
        os: "Linux 6.1".to_owned(),
        cores: 1,
        load: Some(5.0),
        memory: 512 << 20,
        memory_free: 30 << 20,
        disk_free: Some(1 << 20),
        open_files: Some(256),
        addresses: vec![
            ("lo".to_owned(), "127.0.0.1".parse().unwrap(), 8),
            ("eth0".to_owned(), "169.254.1.2".parse().unwrap(), 16),
        ],
    };
    let checks = machine(&look);
    assert_eq!(checks[0].status, Grade::Warn);
    let advice = checks[0].advice.clone().unwrap();
    for word in ["memory", "disk", "LimitNOFILE", "overloaded"] {
        assert!(advice.contains(word), "{word}: {advice}");
    }
    assert_eq!(checks[1].status, Grade::Warn, "no address but link-local");
    let well = MachineLook {
        memory_free: 400 << 20,
        disk_free: Some(9 << 30),
        open_files: Some(65_536),
        load: Some(0.1),
        addresses: vec![("eth0".to_owned(), "192.168.0.9".parse().unwrap(), 24)],
        ..look
    };
    let checks = machine(&well);
    assert!(checks.iter().all(|c| c.status == Grade::Pass), "{checks:?}");
    assert_eq!(checks[1].words, "eth0 192.168.0.9/24");
}

#[test]
fn a_running_daemon_is_no_failure_and_its_troubles_are_told() {
    let runs = |node| super::node("lss-1", &NodeLook::Runs(node));
    let well = runs(Ok(RunningNode {
        status: "UP".to_owned(),
        troubles: Vec::new(),
    }));
    assert_eq!(well.status, Grade::Pass);
    let ill = runs(Ok(RunningNode {
        status: "DEGRADED".to_owned(),
        troubles: vec![("rcs".to_owned(), "HTTP 401".to_owned())],
    }));
    assert_eq!(ill.status, Grade::Warn);
    assert!(ill.words.contains("rcs (HTTP 401)"));
    assert_eq!(runs(Err("silent".to_owned())).status, Grade::Warn);
    assert_eq!(node("lss-1", &NodeLook::Absent).status, Grade::Pass);
}

#[test]
fn ports() {
    let status = |look| rest_port("127.0.0.1:10060", &look).status;
    assert_eq!(status(PortLook::Free), Grade::Pass);
    assert_eq!(status(PortLook::Ours), Grade::Pass);
    assert_eq!(status(PortLook::Taken), Grade::Fail);
    assert_eq!(status(PortLook::Unusable("x".to_owned())), Grade::Fail);
}

#[test]
fn clocks_that_nobody_holds() {
    assert_eq!(clock_discipline(&ClockDiscipline::Held).status, Grade::Pass);
    let free = clock_discipline(&ClockDiscipline::Free);
    assert!(free.status == Grade::Warn && free.advice.unwrap().contains("ntp"));
}
