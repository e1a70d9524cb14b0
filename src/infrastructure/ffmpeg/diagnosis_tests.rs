//! Replays what FFmpeg 9.0.2 really printed (`tests/fixtures/ffmpeg`, provenance beside it).

use super::super::words::TABLE;
use super::*;
use proptest::prelude::*;

const RECORDED: &str = include_str!("../../../tests/fixtures/ffmpeg/failures-9.0.2.json");
/// Recorded for the table of words; what each one means stands in its rows.
const WORDS: &str = include_str!("../../../tests/fixtures/ffmpeg/words-9.0.2.json");
const WHIP_URL: &str = "http://127.0.0.1:8189/whip/canary-4f1c";

struct Recorded {
    case: String,
    lines: Vec<String>,
    end: End,
    saw: String,
}

fn recorded() -> Vec<Recorded> {
    let mut runs = read(RECORDED);
    runs.extend(read(WORDS));
    runs
}

fn read(recordings: &str) -> Vec<Recorded> {
    let runs: serde_json::Value = serde_json::from_str(recordings).unwrap();
    runs.as_array()
        .unwrap()
        .iter()
        .map(|run| {
            let case = run["case"].as_str().unwrap().to_owned();
            let code = run["exitCode"].as_i64().unwrap();
            let lines = run["stderr"].as_array().unwrap();
            // Cases of stopping, and those that never ended and were killed by their harness.
            let stopped = [
                "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "T6", "T7", "T8", "T9", "A1 ",
            ]
            .iter()
            .any(|p| case.starts_with(p));
            Recorded {
                end: End {
                    code: i32::try_from(code).ok().filter(|c| *c >= 0),
                    signal: i32::try_from(-code).ok().filter(|s| *s > 0),
                    ends_by_nature: false,
                    asked_to_end: stopped || run["timedOut"].as_bool().unwrap(),
                },
                lines: lines
                    .iter()
                    .map(|l| l.as_str().unwrap().to_owned())
                    .collect(),
                saw: run["receiverSaw"].as_str().unwrap_or("").to_owned(),
                case,
            }
        })
        .collect()
}

/// Beginning of the case's name → the cause; `None` = ended as it should. The wire codes follow
/// from the cause and are checked against the failure table's in `codes_are_the_tables`.
const EXPECTED: &[(&str, Option<Cause>)] = &[
    ("S1 ", None),
    ("S2 ", None),
    ("S4 ", None),
    ("S4b", None),
    ("S3 ", None),
    ("S3b", None),
    ("S5 ", None),
    ("S6 ", None),
    ("S7 ", None),
    // Asked to end, but the server had died before that.
    ("S8 ", Some(Cause::WhipStream)),
    ("A1 ", None),
    ("A1b", Some(Cause::WhipAuth)),
    ("A1c", Some(Cause::WhipAuth)),
    ("I1 ", Some(Cause::SourceUnreachable)),
    ("I2 ", Some(Cause::SourceUnreachable)),
    ("I2b", None), // said nothing: the owner's start_timeout
    ("I3 ", Some(Cause::SourceAuth)),
    ("I3b", Some(Cause::SourceAuth)),
    ("I4 ", Some(Cause::SourceStream)),
    ("I6 ", Some(Cause::SourceUnreachable)),
    ("I7 ", Some(Cause::SourceStream)),
    ("I7b", None), // said nothing: the owner's stall rule
    ("I8 ", Some(Cause::SourceStream)),
    ("I9 ", Some(Cause::SourceStream)),
    ("I10", Some(Cause::BadCommand)),
    ("I11", Some(Cause::BadCommand)),
    ("I14", Some(Cause::BadCommand)),
    ("W1 ", Some(Cause::WhipUnreachable)),
    ("W2 WHIP answers 400", Some(Cause::WhipOffer)),
    ("W2 WHIP answers 401", Some(Cause::WhipAuth)),
    ("W2 WHIP answers 403", Some(Cause::WhipAuth)),
    ("W2 WHIP answers 404", Some(Cause::WhipGone)),
    ("W2 WHIP answers 409", Some(Cause::WhipUnreachable)),
    ("W2 WHIP answers 429", Some(Cause::WhipUnreachable)),
    ("W2 WHIP answers 500", Some(Cause::WhipUnreachable)),
    ("W2 WHIP answers 503", Some(Cause::WhipUnreachable)),
    // Its first recording gave the muxer's time-out in microseconds: refused as an option. The
    // second is the silent server.
    ("W4 ", Some(Cause::WhipUplink)),
    ("W4b", None),
    ("W6 ", Some(Cause::WhipStream)),
    ("W7 ", Some(Cause::WhipStream)),
    ("W8 ", Some(Cause::WhipStream)),
    ("W9 ", Some(Cause::WhipUnreachable)),
    ("W5 ", Some(Cause::WhipStream)),
    // The recording lost the line that names the resolver; `unrecorded_lines` has it.
    ("W10", Some(Cause::WhipUnreachable)),
    ("X1 ", Some(Cause::SourceStream)),
    ("X2 ", Some(Cause::SourceStream)),
    ("T6", None),
    ("T7 ", None),
    ("T7b", Some(Cause::SourceStream)), // silent for 5 s before it was asked to end
    ("T8", None),
    ("T9", None),
];

fn expected(run: &Recorded) -> Option<Cause> {
    if run.case.starts_with("W4 ") && run.end.code == Some(222) {
        return Some(Cause::BadCommand);
    }
    let (_, cause) = EXPECTED
        .iter()
        .filter(|(name, _)| run.case.starts_with(name))
        .max_by_key(|(name, _)| name.len())
        .unwrap_or_else(|| panic!("{} is not in the table", run.case));
    *cause
}

fn replay(lines: &[String]) -> (Classifier, Vec<Signal>) {
    let mut classifier = Classifier::new(WHIP_URL);
    let signals = lines.iter().filter_map(|l| classifier.line(l)).collect();
    (classifier, signals)
}

fn told(lines: &[&str]) -> Classifier {
    let mut classifier = Classifier::new(WHIP_URL);
    for line in lines {
        classifier.line(line);
    }
    classifier
}

/// Without the brackets in front; `contexts` = only the levels are taken off.
fn bare(line: &str, contexts: bool) -> String {
    let levels = [
        "[fatal] ",
        "[error] ",
        "[warning] ",
        "[info] ",
        "[verbose] ",
        "[panic] ",
    ];
    if contexts {
        return levels
            .iter()
            .fold(line.to_owned(), |l, tag| l.replace(tag, ""));
    }
    let mut rest = line.trim_start();
    while let Some((_, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        rest = after.trim_start();
    }
    rest.to_owned()
}

#[test]
fn an_ffmpeg_without_levels_is_understood_as_well() {
    for run in read(RECORDED) {
        let lines: Vec<String> = run.lines.iter().map(|l| bare(l, true)).collect();
        let (classifier, _) = replay(&lines);
        let found = classifier.finish(&run.end).map(|d| d.cause);
        assert_eq!(found, expected(&run), "{}: {lines:#?}", run.case);
    }
}

#[test]
fn an_ffmpeg_without_levels_and_contexts_is_known_by_its_words() {
    for run in read(RECORDED) {
        let wanted = expected(&run);
        // What has no words of its own (a thread's end) is nobody's without a context.
        let plain = matches!(
            wanted,
            Some(Cause::WhipAuth | Cause::WhipGone | Cause::SourceAuth | Cause::SourceUnreachable)
        );
        if !plain {
            continue;
        }
        let lines: Vec<String> = run.lines.iter().map(|l| bare(l, false)).collect();
        let (classifier, _) = replay(&lines);
        let found = classifier.finish(&run.end).map(|d| d.cause);
        assert_eq!(found, wanted, "{}: {lines:#?}", run.case);
    }
    for (status, cause) in [
        ("401 Unauthorized (authorization failed)", Cause::WhipAuth),
        ("401 Unauthorized", Cause::WhipAuth),
        ("403 Forbidden (access denied)", Cause::WhipAuth),
        ("404 Not Found", Cause::WhipGone),
        ("410 Gone", Cause::WhipGone),
    ] {
        for words in [
            "Could not write header (incorrect codec parameters ?): Server returned",
            "Could not write header for output file #0 (incorrect codec parameters ?): Server returned",
            "Could not write header: Server returned",
        ] {
            assert_eq!(failed(&[&format!("{words} {status}")], 8).cause, cause);
        }
    }
    let gone = [
        "HTTP error 410 Gone",
        "Could not write header (incorrect codec parameters ?): Server returned 4XX Client Error, but not one of 40{0,1,3,4}",
    ];
    assert_eq!(failed(&gone, 8).cause, Cause::WhipGone);
}

#[test]
fn where_levels_are_printed_a_bare_line_is_a_cameras_text() {
    let lines = [
        "[info] Stream mapping:",
        "Could not write header (incorrect codec parameters ?): Server returned 401 Unauthorized",
        "Unknown encoder 'x'",
        "[in#0/rtsp @ 0x1] [error] Error during demuxing: Connection timed out",
    ];
    assert_eq!(failed(&lines, 0).cause, Cause::SourceStream);
}

#[test]
fn only_the_orders_own_fault_is_permanent() {
    // A picture that comes late, copied: vague, and another try may find it.
    let late = [
        "[out#0/whip @ 0x1] [error] Could not write header (incorrect codec parameters ?): Invalid argument",
    ];
    assert_eq!(failed(&late, 234).cause, Cause::StreamRefused);
    // An RTSP redirect.
    let redirect = [
        "[rtsp @ 0x1] [error] Protocol 'rtsp' not on whitelist 'tcp'!",
        "[in#0 @ 0x1] [error] Error opening input: Invalid argument",
    ];
    assert_eq!(failed(&redirect, 234).cause, Cause::SourceStream);
    // An answer whose first candidate is TCP.
    let tcp = [
        "[WHIP muxer @ 0x1] [error] Protocol tcp is not supported by RTC, choose udp, line 12 a=candidate:1 1 tcp of v=0",
        "[out#0/whip @ 0x1] [error] Could not write header (incorrect codec parameters ?): Invalid data found when processing input",
    ];
    assert_eq!(failed(&tcp, 183).cause, Cause::WhipStream);
    for words in [
        "[whip @ 0x1] [error] whip muxer supports only codec h264 for type video",
        "[WHIP muxer @ 0x1] [error] Unsupported B frames by RTC",
        "[vost#0:0 @ 0x1] [error] Unknown encoder 'x'",
    ] {
        assert_eq!(failed(&[words], 234).cause, Cause::BadCommand, "{words}");
        let opened = ["[info] Input #0, rtsp, from 'rtsp://***':", words];
        assert_eq!(failed(&opened, 234).cause, Cause::StreamRefused, "{words}");
    }
    for cause in [Cause::StreamRefused, Cause::SourceStream, Cause::WhipStream] {
        assert!(!cause.is_permanent());
    }
    assert_eq!(Cause::StreamRefused.code(), Cause::BadCommand.code());
}

#[test]
fn each_row_of_the_table_has_the_recording_that_proves_it() {
    let mut wrong = Vec::new();
    for row in TABLE {
        let runs: Vec<Recorded> = recorded()
            .into_iter()
            .filter(|run| run.case.starts_with(row.proof))
            .collect();
        assert!(!row.proof.is_empty() && !runs.is_empty(), "{row:?}");
        let says = row.says.trim_end_matches([':', ' ']);
        let says_so = |lines: &mut dyn Iterator<Item = &String>| {
            let mut classifier = Classifier::new(WHIP_URL);
            let mut found = false;
            for line in lines {
                let judged = classifier.judge(&Line::parse(line));
                found |= judged
                    .is_some_and(|(_, cause, words)| cause == row.cause && words.starts_with(says));
                classifier.line(line);
            }
            found
        };
        let proven = runs.iter().any(|run| {
            // Some rows are for an FFmpeg that is told to say errors alone.
            says_so(&mut run.lines.iter())
                || says_so(&mut run.lines.iter().filter(|l| !l.contains("[warning]")))
        });
        if !proven {
            wrong.push(format!("{row:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn each_status_of_an_endpoint_has_the_recording_that_proves_it() {
    let proven = |status: u16, says: &str, cause: Cause| {
        recorded()
            .into_iter()
            .filter(|run| run.case.starts_with(&format!("P {status}")))
            .any(|run| {
                let mut classifier = Classifier::new(WHIP_URL);
                run.lines.iter().any(|line| {
                    let judged = classifier.judge(&Line::parse(line));
                    classifier.line(line);
                    judged
                        .is_some_and(|(_, found, words)| found == cause && words.starts_with(says))
                })
            })
    };
    for row in crate::infrastructure::whip::words::ROWS {
        // Of a hundred, one that is not listed by itself.
        let status = match row.statuses {
            [4] => 451,
            [5] => 502,
            [first, ..] => *first,
            [] => 0,
        };
        assert!(proven(status, row.says.trim_end(), row.cause), "{row:?}");
    }
}

/// What each situation ends with: the beginning of the case, the code, and words of the message.
#[test]
fn the_reason_stands_in_the_message() {
    const SAID: &[(&str, u32, &str)] = &[
        ("S passphrase wrong", 30202, "passphrase is wrong"),
        (
            "S passphrase missing",
            30202,
            "has a passphrase and the other has none",
        ),
        (
            "S passphrase not wanted",
            30202,
            "has a passphrase and the other has none",
        ),
        ("S passphrase too short", 30104, "10 to 79 characters"),
        ("S pbkeylen odd", 30104, "refuses a value"),
        ("S nobody answers", 30201, "does not answer"),
        ("R DESCRIBE 453", 30203, "no free viewer place"),
        ("R SETUP 453", 30203, "no free viewer place"),
        ("R PLAY 453", 30203, "no free viewer place"),
        ("R SETUP 461", 30203, "over TCP"),
        ("R DESCRIBE 406", 30203, "406"),
        ("R http on the RTSP port", 30203, "spoke no RTSP"),
        ("R http 200 page on the RTSP port", 30203, "spoke no RTSP"),
        ("O slash in the password", 30104, "%2F"),
        ("O sound of an unknown codec", 30104, "its sound"),
        ("B sound refused with 461", 30203, "over TCP"),
        ("B sound refused with 404", 30203, "no such stream"),
        ("B metadata refused with 461", 30203, "over TCP"),
        ("B sound of a vendor", 30104, "its sound"),
        (
            "D active, peer is client, too",
            40203,
            "the DTLS handshake with the WHIP server failed",
        ),
        ("P 402", 40203, "paid"),
        ("P 405", 40203, "405"),
        ("P 406", 40203, "406"),
        ("P 413", 40203, "too long"),
        ("P 415", 40203, "415"),
        ("P 451", 40203, "refused the stream (451)"),
        ("P 200 with a login page", 40203, "web page"),
        ("P 201 with a login page", 40203, "web page"),
        ("P 302 to a login page", 40203, "web page"),
    ];
    for (case, code, words) in SAID {
        let run = recorded()
            .into_iter()
            .find(|run| run.case.starts_with(case))
            .unwrap_or_else(|| panic!("{case}"));
        let (classifier, _) = replay(&run.lines);
        let found = classifier.finish(&run.end).unwrap();
        assert_eq!(found.cause.code().number(), *code, "{case}: {found:?}");
        assert!(found.detail.contains(words), "{case}: {found:?}");
        let permanent = matches!(code, 30104) && !case.contains("sound");
        assert_eq!(found.cause.is_permanent(), permanent, "{case}: {found:?}");
    }
}

/// Of a sound that is missing FFmpeg says nothing at all: what is asked of the source, the clock of
/// the start and `-max_interleave_delta` must do.
#[test]
fn a_missing_sound_is_not_said() {
    for (case, session) in [
        ("B sound announced and never sent", false),
        ("B sound ends in mid-stream", true),
    ] {
        let run = recorded().into_iter().find(|run| run.case == case).unwrap();
        let (classifier, signals) = replay(&run.lines);
        let up = signals.iter().any(|s| matches!(s, Signal::SessionUp(_)));
        assert_eq!(up, session, "{case}");
        assert_eq!(classifier.finish(&run.end), None, "{case}");
    }
}

fn failed(lines: &[&str], code: i32) -> Diagnosis {
    let end = End {
        code: Some(code),
        ..End::default()
    };
    told(lines).finish(&end).unwrap()
}

#[test]
fn every_recorded_run() {
    let runs = read(RECORDED);
    assert_eq!(runs.len(), 60);
    let mut wrong = Vec::new();
    for run in &runs {
        let (classifier, _) = replay(&run.lines);
        let cause = classifier.finish(&run.end).map(|d| d.cause);
        if cause != expected(run) {
            wrong.push(format!("{}: {cause:?}, not {:?}", run.case, expected(run)));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_line_of_the_table_is_used() {
    let runs = read(RECORDED);
    for (name, _) in EXPECTED {
        assert!(runs.iter().any(|r| r.case.starts_with(name)), "{name}");
    }
}

#[test]
fn codes_are_the_tables() {
    for (case, code) in [
        ("I1 ", 30201),
        ("I3 ", 30202),
        ("I4 ", 30203),
        ("I10", 30104),
        ("W1 ", 40201),
        ("W2 WHIP answers 403", 40202),
        ("W2 WHIP answers 404", 40203),
        ("W2 WHIP answers 503", 40201),
        ("W7 ", 40203),
        ("W9 ", 40201),
    ] {
        let runs = read(RECORDED);
        let run = runs.iter().find(|r| r.case.starts_with(case)).unwrap();
        let (classifier, _) = replay(&run.lines);
        let cause = classifier.finish(&run.end).unwrap().cause;
        assert_eq!(cause.code().number(), code, "{case}");
    }
}

#[test]
fn session_up_exactly_once_and_only_where_media_came() {
    for run in read(RECORDED) {
        let (_, signals) = replay(&run.lines);
        let ups = signals
            .iter()
            .filter(|s| matches!(s, Signal::SessionUp(_)))
            .count();
        // Where the recording kept its first lines, the muxer's is among them.
        let kept = run.lines.iter().any(|l| l.contains("Muxer state="));
        assert_eq!(ups, usize::from(kept), "{}", run.case);
        if ups == 1 {
            assert!(run.saw.contains("state:connected"), "{}", run.case);
        }
    }
}

#[test]
fn how_long_the_handshake_took() {
    let told = |line: &str| Classifier::new(WHIP_URL).line(line);
    let up = |ms| Some(Signal::SessionUp(ms));
    let line =
        |end: &str| format!("[WHIP muxer @ 0x5] [info] Muxer state=10, buffer_size=4096{end}");
    let took = Duration::from_secs_f64(1.145_81);
    let whole = ", max_packet_size=1184, elapsed=1145.81ms(init:2.73,offer:0.01,dtls:1002.16)";
    assert_eq!(told(&line(whole)), up(Some(took)));
    for silent in [
        "",
        ", elapsed=",
        ", elapsed=-1ms",
        ", elapsed=NaNms",
        ", elapsed=1e300ms",
    ] {
        assert_eq!(told(&line(silent)), up(None), "{silent}");
    }
}

#[test]
fn what_may_hang_is_said_while_it_runs() {
    for run in recorded() {
        let (_, signals) = replay(&run.lines);
        let failing = signals
            .iter()
            .filter(|s| matches!(s, Signal::Failing(_)))
            .count();
        assert!(failing <= 1, "{}", run.case);
        if ["W8 ", "W9 ", "W7 ", "W6 "]
            .iter()
            .any(|p| run.case.starts_with(p))
        {
            assert_eq!(failing, 1, "{}", run.case);
        }
    }
}

#[test]
fn no_detail_carries_a_url_or_a_password() {
    for run in recorded() {
        let (classifier, _) = replay(&run.lines);
        if let Some(found) = classifier.finish(&run.end) {
            let detail = found.detail;
            assert!(
                !detail.contains("nope") && !detail.contains("a=ice"),
                "{detail}"
            );
            assert!(detail.len() < 300, "{detail}");
        }
    }
}

/// Lines printed by the same FFmpeg in runs of our own.
#[test]
fn unrecorded_lines() {
    let header =
        "[out#0/whip @ 0x1] [error] Could not write header (incorrect codec parameters ?): ";
    let status = |line: &str| {
        failed(
            &[
                line,
                &format!("{header}Server returned 4XX Client Error, but not one of 40{{0,1,3,4}}"),
            ],
            8,
        )
        .cause
    };
    assert_eq!(
        status("[http @ 0x7] [warning] HTTP error 410 Gone"),
        Cause::WhipGone
    );
    assert_eq!(
        status("[http @ 0x7] [warning] HTTP error 409 Conflict"),
        Cause::WhipUnreachable
    );
    assert_eq!(
        status("[http @ 0x7] [warning] HTTP error 422 Unprocessable Entity"),
        Cause::WhipOffer
    );
    let io = format!("{header}Input/output error");
    let name =
        "[tcp @ 0x7] [error] Failed to resolve hostname whip.invalid: Name or service not known";
    assert_eq!(failed(&[name, &io], 251).cause, Cause::WhipUplink);
    let certificate = "[tls @ 0x7] [error] error:0A000086:SSL routines::certificate verify failed";
    let found = failed(&[certificate, &io], 251);
    assert_eq!(found.cause, Cause::WhipUnreachable);
    assert!(found.detail.contains("certificate"), "{}", found.detail);
    assert_eq!(
        failed(&[&format!("{header}Network is unreachable")], 155).cause,
        Cause::WhipUplink
    );
}

#[test]
fn sources_of_every_kind() {
    let cases: &[(&[&str], Cause)] = &[
        (
            &[
                "[in#0 @ 0x5] [warning] Failed reading RTSP data: End of file",
                "[in#0 @ 0x5] [error] Error opening input: Invalid data found when processing input",
            ],
            Cause::SourceStream,
        ),
        (
            &["[in#0 @ 0x5] [error] method DESCRIBE failed: 403 (Forbidden)"],
            Cause::SourceAuth,
        ),
        (
            &["[in#0 @ 0x5] [error] method SETUP failed: 453 (Not Enough Bandwidth)"],
            Cause::SourceStream,
        ),
        (
            &[
                "[srt @ 0x5] [error] Connection to srt://127.0.0.1:9 failed: Input/output error",
                "[in#0 @ 0x5] [error] Error opening input: Input/output error",
            ],
            Cause::SourceUnreachable,
        ),
        (
            &[
                "[rtmp @ 0x5] [error] Cannot read RTMP handshake response",
                "[in#0 @ 0x5] [error] Error opening input: Connection timed out",
            ],
            Cause::SourceUnreachable,
        ),
        (
            &["[in#0 @ 0x5] [error] Error opening input: No such file or directory"],
            Cause::SourceStream,
        ),
        (
            &["[fatal] Stream map '' matches no streams."],
            Cause::SourceStream,
        ),
        (&["[fatal] Option reconnect not found."], Cause::BadCommand),
        (
            &["[error] Unrecognized option 'nosuch'."],
            Cause::BadCommand,
        ),
        (
            &["[vost#0:0 @ 0x5] [fatal] Unknown encoder 'nosuch'"],
            Cause::BadCommand,
        ),
        (
            &[
                "[vost#0:0/libx264 @ 0x5] [enc:libx264 @ 0x6] [error] Error while opening encoder - maybe incorrect parameters such as bit_rate, rate, width or height.",
            ],
            Cause::BadCommand,
        ),
        (
            &["[AVFormatContext @ 0x5] [error] Requested output format 'whip' is not known."],
            Cause::EngineMissing,
        ),
    ];
    for (lines, cause) in cases {
        assert_eq!(failed(lines, 8).cause, *cause, "{lines:?}");
    }
}

#[test]
fn the_code_alone_says_nothing() {
    for code in [1, 8, 145, 146, 176, 234] {
        assert_eq!(failed(&[], code).cause, Cause::EngineCrash);
    }
    let found = failed(&["[x @ 0x5] [error] something went wrong"], 1);
    assert_eq!(
        found.detail,
        "FFmpeg ended (code 1) and said: something went wrong"
    );
    assert_eq!(failed(&[], 0).cause, Cause::SourceStream);
    assert_eq!(failed(&[], 255).cause, Cause::EngineCrash);
    let killed = End {
        signal: Some(9),
        ..End::default()
    };
    assert_eq!(told(&[]).finish(&killed).unwrap().cause, Cause::EngineCrash);
}

#[test]
fn a_cameras_title_is_no_error() {
    let lines = [
        "[info]     title           : Unknown encoder",
        "s=Option x not found.",
        "[in#0 @ 0x5] [verbose] SDP:",
        "No such filter",
    ];
    assert_eq!(failed(&lines, 1).cause, Cause::EngineCrash);
}

#[test]
fn a_file_that_ends_by_nature_is_no_failure_unless_it_broke_off() {
    let end = End {
        code: Some(0),
        ends_by_nature: true,
        ..End::default()
    };
    assert_eq!(told(&[]).finish(&end), None);
    let broken =
        "[in#0/mov,mp4,m4a,3gp,3g2,mj2 @ 0x5] [error] Error during demuxing: Input/output error";
    assert_eq!(
        told(&[broken]).finish(&end).unwrap().cause,
        Cause::SourceStream
    );
    let crashed = End {
        code: Some(1),
        ends_by_nature: true,
        ..End::default()
    };
    assert_eq!(
        told(&[]).finish(&crashed).unwrap().cause,
        Cause::EngineCrash
    );
}

#[test]
fn what_is_printed_while_it_is_ended_is_no_cause() {
    let mut classifier = Classifier::new(WHIP_URL);
    classifier.line("[WHIP muxer @ 0x5] [info] Muxer state=10, buffer_size=4096");
    classifier.freeze();
    for line in [
        "[in#0/rtsp @ 0x5] [error] Error during demuxing: Input/output error",
        "[out#0/whip @ 0x5] [error] Task finished with error code: -1414092869 (Immediate exit requested)",
    ] {
        assert_eq!(classifier.line(line), None);
    }
    let end = End {
        code: Some(255),
        asked_to_end: true,
        ..End::default()
    };
    assert_eq!(classifier.finish(&end), None);
}

#[test]
fn a_vague_finding_gives_way_to_a_definite_one() {
    let lines = [
        "[WHIP muxer @ 0x5] [info] Muxer state=10",
        "[out#0/whip @ 0x5] [error] Task finished with error code: -110 (Connection timed out)",
        "[WHIP muxer @ 0x5] [error] Consent Freshness expired after 30033.02ms (limited 30000ms)",
    ];
    assert!(failed(&lines, 146).detail.contains("consent"));
}

#[test]
fn a_camera_without_sound_is_no_failure() {
    let mut classifier = Classifier::new(WHIP_URL);
    let line = "[verbose] Stream map '?' matches no streams; ignoring.";
    assert_eq!(classifier.line(line), None);
}

const ICE_OK: &str = "[WHIP muxer @ 0x5] [verbose] ICE STUN ok, state=7, url=udp://127.0.0.1:45279, location=http://127.0.0.1:18189/res/1, username=tEDy:4f56fa0a, res=-11B, elapsed=95.04ms";

#[test]
fn the_session_is_left_until_its_delete_went_out() {
    let left = |lines: &[&str]| told(lines).session_left().map(|s| s.expose().to_owned());
    let url = Some("http://127.0.0.1:18189/res/1".to_owned());
    assert_eq!(left(&[]), None);
    assert_eq!(left(&[ICE_OK]), url, "killed");
    let sent = "[WHIP muxer @ 0x5] [error] Failed to read response from DELETE url=http://127.0.0.1:18189/res/1";
    let ok = "[WHIP muxer @ 0x5] [warning] Failed to dispose resource, ret=-5";
    assert_eq!(left(&[ICE_OK, sent, ok]), None, "a clean stop");
    assert_eq!(left(&[sent, ok]), None);
    let late = "[WHIP muxer @ 0x5] [warning] Failed to dispose resource, ret=-110";
    assert_eq!(left(&[ICE_OK, sent, late]), url, "never answered");
    let unsent = "[WHIP muxer @ 0x5] [error] Failed to DELETE url=http://127.0.0.1:18189/res/1";
    let refused = "[WHIP muxer @ 0x5] [warning] Failed to dispose resource, ret=-111";
    assert_eq!(
        left(&[unsent, refused]),
        url,
        "not known before, not deleted"
    );
    assert_eq!(
        left(&[
            ICE_OK,
            "[WHIP muxer @ 0x5] [info] Dispose resource http://127.0.0.1:18189/res/1 ok"
        ]),
        None
    );
    // The 8.0 muxer writes its name into the text.
    let old = ICE_OK.replace("] ICE STUN", "] WHIP: ICE STUN");
    assert_eq!(left(&[&old]), url);
}

#[test]
fn a_session_elsewhere_is_not_ours_to_delete() {
    for location in [
        "http://169.254.169.254/latest",
        "http://10.0.0.1/res/1",
        "file:///etc/passwd",
        "",
    ] {
        let line = ICE_OK.replace("http://127.0.0.1:18189/res/1", location);
        assert!(told(&[&line]).session_left().is_none(), "{location}");
    }
    let mut secure = Classifier::new("https://127.0.0.1/whip");
    secure.line(ICE_OK);
    assert!(
        secure.session_left().is_none(),
        "plain where whipUrl is https"
    );
}

proptest! {
    #[test]
    fn any_lines_in_any_order(lines in proptest::collection::vec(line(), 0..40), code in -1i32..256) {
        let mut classifier = Classifier::new(WHIP_URL);
        let mut failing = 0;
        for line in &lines {
            if let Some(Signal::Failing(found)) = classifier.line(line) {
                failing += 1;
                prop_assert!(!found.detail.is_empty());
            }
        }
        prop_assert!(failing <= 1);
        let end = End { code: Some(code), ..End::default() };
        // An end that nobody asked for always has a cause.
        prop_assert!(classifier.finish(&end).is_some());
        if let Some(session) = classifier.session_left() {
            prop_assert!(session.expose().contains("127.0.0.1"));
        }
    }
}

/// Recorded lines, halves of them, and noise.
fn line() -> impl Strategy<Value = String> {
    let all: Vec<String> = recorded().into_iter().flat_map(|r| r.lines).collect();
    prop_oneof![
        4 => proptest::sample::select(all.clone()),
        2 => (proptest::sample::select(all), 0usize..80)
            .prop_map(|(l, n)| l.chars().skip(n).collect()),
        1 => ".{0,80}",
    ]
}
