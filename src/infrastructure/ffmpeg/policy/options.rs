//! The allow list: every option that a command line from outside may carry, where it may stand,
//! and what kind of value it takes. One long table; what fits a kind stands in `values`. Pure.
//!
//! What is not here is refused, so an option that a later FFmpeg brings is refused until somebody
//! has looked at it. Not here, on purpose: everything that reads or writes a file by name, opens a
//! device, loads a value from a file (`-/name`), or listens.

/// Where an option stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Anywhere; for the whole program.
    Global,
    /// Before an `-i`.
    Input,
    /// Before the output.
    Output,
    /// Either of the last two.
    Both,
}

/// What an option takes, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// No value.
    Flag,
    /// Numbers, rates, times, sizes: `2500k`, `30000/1001`, `00:00:10`, `1280x720`, `-2`.
    Number,
    /// A name: `yuv420p`, `baseline`.
    Word,
    /// Flags, each by its name: `+global_header`, `nobuffer`. FFmpeg would take numbers and sums of
    /// them, too, and among the flags of an encoder is one that writes a file (`pass1`).
    Flags(&'static [&'static str]),
    /// One of these words and no other.
    OneOf(&'static [&'static str]),
    /// Any text that stays inside FFmpeg.
    Text,
    /// The same, and secret.
    Secret,
    /// `-authorization`: secret, and sent with our own DELETE too.
    Bearer,
    /// A codec: an encoder that WHIP can carry (output), a decoder (input).
    Codec,
    /// Width and height, or a name for them.
    Size,
    /// A filter graph.
    Filters,
    /// `0:v:0`, `0:a?`, `[out]`.
    Map,
    /// Bitstream filters.
    Bsf,
    /// x264's own options.
    X264,
    /// `-f`.
    Format,
    /// `-rtsp_transport`.
    Transport,
    /// A time-out: replaced where it is missing or can't work.
    Timeout,
    /// What lss sets itself, with a value.
    Ours,
    /// What lss sets itself, without a value.
    OurFlag,
    /// HTTP's `-reconnect*`, which no input here can take: dropped.
    Reconnect,
}

/// One line of the list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) kind: Kind,
    /// Takes a stream specifier: `-b:v`.
    pub(super) per_stream: bool,
}

const fn rule(name: &'static str, place: Place, kind: Kind) -> Rule {
    Rule {
        name,
        place,
        kind,
        per_stream: false,
    }
}

const fn per_stream(name: &'static str, place: Place, kind: Kind) -> Rule {
    Rule {
        name,
        place,
        kind,
        per_stream: true,
    }
}

use Kind::{
    Bearer, Bsf, Codec, Filters, Flag, Flags, Format, Map, Number, OneOf, OurFlag, Ours, Reconnect,
    Secret, Size, Text, Timeout, Transport, Word, X264,
};
use Place::{Both, Global, Input, Output};

use super::flags;

const RULES: &[Rule] = &[
    // Set by lss.
    rule("y", Global, OurFlag),
    rule("n", Global, OurFlag),
    rule("hide_banner", Global, OurFlag),
    rule("nostdin", Global, OurFlag),
    rule("stats", Global, OurFlag),
    rule("nostats", Global, OurFlag),
    rule("loglevel", Global, Ours),
    rule("v", Global, Ours),
    rule("stats_period", Global, Ours),
    rule("progress", Global, Ours),
    rule("protocol_whitelist", Both, Ours),
    rule("format_whitelist", Input, Ours),
    // Only HTTP has them.
    rule("reconnect", Both, Reconnect),
    rule("reconnect_at_eof", Both, Reconnect),
    rule("reconnect_streamed", Both, Reconnect),
    rule("reconnect_delay_max", Both, Reconnect),
    rule("reconnect_delay_total_max", Both, Reconnect),
    rule("reconnect_max_retries", Both, Reconnect),
    rule("reconnect_on_http_error", Both, Reconnect),
    rule("reconnect_on_network_error", Both, Reconnect),
    // The whole program.
    rule("copyts", Global, Flag),
    rule("start_at_zero", Global, Flag),
    rule("xerror", Global, Flag),
    rule("ignore_unknown", Global, Flag),
    rule("copy_unknown", Global, Flag),
    rule("filter_threads", Global, Number),
    rule("filter_complex_threads", Global, Number),
    rule("filter_complex", Global, Filters),
    rule("lavfi", Global, Filters),
    rule("dts_delta_threshold", Global, Number),
    rule("max_error_rate", Global, Number),
    // Both sides.
    rule("f", Both, Format),
    rule("t", Both, Number),
    rule("to", Both, Number),
    rule("ss", Both, Number),
    rule("timeout", Both, Timeout),
    rule("rw_timeout", Both, Timeout),
    rule("stimeout", Both, Timeout),
    rule("thread_queue_size", Both, Number),
    rule("fflags", Both, Flags(flags::FORMAT)),
    rule("max_delay", Both, Number),
    rule("avioflags", Both, Flags(flags::IO)),
    rule("an", Both, Flag),
    rule("vn", Both, Flag),
    rule("sn", Both, Flag),
    rule("dn", Both, Flag),
    per_stream("c", Both, Codec),
    per_stream("codec", Both, Codec),
    rule("vcodec", Both, Codec),
    rule("acodec", Both, Codec),
    per_stream("r", Both, Number),
    per_stream("flags", Both, Flags(flags::CODEC)),
    per_stream("flags2", Both, Flags(flags::CODEC2)),
    per_stream("threads", Both, Number),
    per_stream("thread_type", Both, Flags(flags::THREADS)),
    per_stream("strict", Both, OneOf(flags::STRICT)),
    per_stream("err_detect", Both, Flags(flags::ERRORS)),
    // Inputs.
    rule("re", Input, Flag),
    rule("readrate", Input, Number),
    rule("readrate_initial_burst", Input, Number),
    rule("stream_loop", Input, Number),
    rule("analyzeduration", Input, Number),
    rule("probesize", Input, Number),
    rule("fpsprobesize", Input, Number),
    rule("max_probe_packets", Input, Number),
    rule("itsoffset", Input, Number),
    rule("rtbufsize", Input, Number),
    rule("use_wallclock_as_timestamps", Input, Number),
    rule("guess_layout_max", Input, Number),
    per_stream("discard", Input, OneOf(flags::DISCARD)),
    per_stream("skip_frame", Input, OneOf(flags::DISCARD)),
    per_stream("ec", Input, Flags(flags::CONCEALMENT)),
    per_stream("hwaccel", Input, Word),
    per_stream("hwaccel_output_format", Input, Word),
    rule("rtsp_transport", Input, Transport),
    rule("rtsp_flags", Input, Flags(flags::RTSP)),
    rule("allowed_media_types", Input, Flags(flags::MEDIA)),
    rule("reorder_queue_size", Input, Number),
    rule("buffer_size", Input, Number),
    rule("user_agent", Input, Text),
    rule("tls_verify", Input, Number),
    rule("rtmp_live", Input, Word),
    rule("rtmp_buffer", Input, Number),
    rule("rtmp_app", Input, Secret),
    rule("rtmp_playpath", Input, Secret),
    rule("tcp_nodelay", Input, Number),
    rule("latency", Input, Number),
    rule("rcvlatency", Input, Number),
    rule("peerlatency", Input, Number),
    rule("connect_timeout", Input, Number),
    rule("recv_buffer_size", Input, Number),
    rule("payload_size", Input, Word),
    rule("mode", Input, OneOf(flags::SRT_MODE)),
    rule("transtype", Input, OneOf(flags::SRT_TYPE)),
    rule("passphrase", Input, Secret),
    rule("pbkeylen", Input, Number),
    rule("srt_streamid", Input, Secret),
    // The output.
    rule("map", Output, Map),
    rule("map_metadata", Output, Number),
    rule("map_chapters", Output, Number),
    per_stream("metadata", Output, Text),
    rule("shortest", Output, Flag),
    per_stream("frames", Output, Number),
    rule("vframes", Output, Number),
    rule("vf", Output, Filters),
    rule("af", Output, Filters),
    per_stream("filter", Output, Filters),
    per_stream("preset", Output, Word),
    per_stream("tune", Output, Word),
    per_stream("profile", Output, Word),
    per_stream("level", Output, Number),
    per_stream("pix_fmt", Output, Word),
    per_stream("b", Output, Number),
    rule("ab", Output, Number),
    per_stream("maxrate", Output, Number),
    per_stream("minrate", Output, Number),
    per_stream("bufsize", Output, Number),
    per_stream("crf", Output, Number),
    per_stream("qp", Output, Number),
    per_stream("qmin", Output, Number),
    per_stream("qmax", Output, Number),
    per_stream("q", Output, Number),
    per_stream("g", Output, Number),
    per_stream("keyint_min", Output, Number),
    per_stream("bf", Output, Number),
    per_stream("refs", Output, Number),
    per_stream("sc_threshold", Output, Number),
    per_stream("slices", Output, Number),
    per_stream("coder", Output, Word),
    per_stream("rc-lookahead", Output, Number),
    per_stream("nal-hrd", Output, Word),
    per_stream("forced-idr", Output, Number),
    per_stream("force_key_frames", Output, Text),
    per_stream("x264-params", Output, X264),
    per_stream("x264opts", Output, X264),
    per_stream("s", Output, Size),
    per_stream("aspect", Output, Number),
    per_stream("fpsmax", Output, Number),
    per_stream("fps_mode", Output, Word),
    per_stream("zerolatency", Output, Number),
    per_stream("delay", Output, Number),
    per_stream("rc", Output, Word),
    per_stream("color_range", Output, Word),
    per_stream("colorspace", Output, Word),
    per_stream("color_primaries", Output, Word),
    per_stream("color_trc", Output, Word),
    per_stream("ar", Output, Number),
    per_stream("ac", Output, Number),
    per_stream("sample_fmt", Output, Word),
    per_stream("frame_duration", Output, Number),
    per_stream("application", Output, Word),
    per_stream("vbr", Output, Word),
    per_stream("compression_level", Output, Number),
    per_stream("packet_loss", Output, Number),
    per_stream("fec", Output, Number),
    per_stream("cutoff", Output, Number),
    per_stream("bsf", Output, Bsf),
    rule("max_muxing_queue_size", Output, Number),
    rule("max_interleave_delta", Output, Number),
    rule("avoid_negative_ts", Output, Word),
    rule("flush_packets", Output, Number),
    rule("muxdelay", Output, Number),
    rule("muxpreload", Output, Number),
    rule("authorization", Output, Bearer),
    rule("whip_flags", Output, Flags(flags::WHIP)),
    rule("handshake_timeout", Output, Number),
    rule("pkt_size", Output, Number),
    rule("ts_buffer_size", Output, Number),
    rule("rtp_history", Output, Number),
];

/// The rule for an option as written, without its dash; `None` = not on the list.
pub(super) fn find(option: &str) -> Option<&'static Rule> {
    let (name, specifier) = match option.split_once(':') {
        Some((name, specifier)) => (name, Some(specifier)),
        None => (option, None),
    };
    let rule = RULES.iter().find(|r| r.name == name)?;
    match specifier {
        None => Some(rule),
        Some(text) => (rule.per_stream && is_specifier(text)).then_some(rule),
    }
}

/// `v`, `a:0`, `0`, `v:0`; not by metadata, which could hold anything.
fn is_specifier(text: &str) -> bool {
    let mut parts = text.split(':');
    let kind = parts.next().unwrap_or("");
    let index = parts.next();
    let number = |s: &str| !s.is_empty() && s.len() <= 3 && s.bytes().all(|b| b.is_ascii_digit());
    parts.next().is_none()
        && (matches!(kind, "v" | "V" | "a") && index.is_none_or(number)
            || (number(kind) && index.is_none()))
}

/// The whole list.
#[cfg(test)]
pub(super) fn all() -> &'static [Rule] {
    RULES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_once() {
        for (at, rule) in RULES.iter().enumerate() {
            assert!(
                !RULES[at + 1..].iter().any(|r| r.name == rule.name),
                "{}",
                rule.name
            );
        }
    }

    #[test]
    fn specifiers() {
        for option in ["b:v", "b:v:0", "c:a", "c:0", "filter:v", "b"] {
            assert!(find(option).is_some(), "{option}");
        }
        for option in [
            "b:m:key:value",
            "b:v:0:x",
            "map:v",
            "b:",
            "t:v",
            "b:p:1",
            "",
            ":v",
            "B",
        ] {
            assert!(find(option).is_none(), "{option}");
        }
    }

    #[test]
    fn what_names_files_or_listens_is_not_on_the_list() {
        for option in [
            "report",
            "dump",
            "attach",
            "dump_attachment",
            "vstats",
            "vstats_file",
            "sdp_file",
            "passlogfile",
            "pass",
            "stats_enc_pre",
            "stats_enc_post",
            "stats_mux_pre",
            "filter_complex_script",
            "filter_script",
            "/filter",
            "/vf",
            "init_hw_device",
            "vaapi_device",
            "qsv_device",
            "hwaccel_device",
            "filter_hw_device",
            "cert_file",
            "key_file",
            "ca_file",
            "print_graphs_file",
            "pre",
            "vpre",
            "fpre",
            "apre",
            "target",
            "listen",
            "rtmp_listen",
            "listen_timeout",
            "timelimit",
            "cpuflags",
            "headers",
            "http_proxy",
            "method",
            "post_data",
            "cookies",
            "content_type",
            "sources",
            "sinks",
            "h",
            "version",
            "i",
            "stdin",
            "streamid",
            "rtmp_swfverify",
            "rtmp_conn",
        ] {
            assert!(find(option).is_none(), "{option}");
        }
    }
}
