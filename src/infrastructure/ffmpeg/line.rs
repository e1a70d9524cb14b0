//! One line of FFmpeg's stderr taken apart: who says it, how loud, what. Pure.

/// A line taken apart: `[WHIP muxer @ 0x55e9] [error] text`.
pub(super) struct Line<'a> {
    /// Of the first bracket that is no level, lower case.
    pub(super) context: String,
    level: &'a str,
    /// What it says.
    pub(super) text: &'a str,
}

impl<'a> Line<'a> {
    pub(super) fn parse(line: &'a str) -> Self {
        let mut rest = line.trim_start();
        let mut context = None;
        let mut level = "";
        while let Some(inner) = rest.strip_prefix('[')
            && let Some((inside, after)) = inner.split_once(']')
        {
            rest = after.trim_start();
            if matches!(
                inside,
                "panic" | "fatal" | "error" | "warning" | "info" | "verbose" | "debug" | "trace"
            ) {
                level = inside;
                break;
            }
            let name = inside.split(" @ ").next().unwrap_or(inside);
            context.get_or_insert_with(|| name.to_ascii_lowercase());
        }
        Self {
            context: context.unwrap_or_default(),
            level,
            text: rest,
        }
    }

    pub(super) fn is_error(&self) -> bool {
        matches!(self.level, "error" | "fatal" | "panic")
    }

    /// The reading side. `[rtsp @ …]` is older FFmpeg's `[in#0 @ …]`.
    pub(super) fn is_source(&self) -> bool {
        let c = self.context.as_str();
        c.starts_with("in#") || c.starts_with("ist#") || matches!(c, "rtsp" | "rtmp" | "srt")
    }

    /// The sending side, encoders' output included.
    pub(super) fn is_whip(&self) -> bool {
        let c = self.context.as_str();
        c.contains("whip")
            || ["out#", "vost#", "aost#", "ost#"]
                .iter()
                .any(|p| c.starts_with(p))
    }

    /// Layers that serve both sides.
    pub(super) fn is_network(&self) -> bool {
        matches!(
            self.context.as_str(),
            "tcp" | "tls" | "udp" | "dtls" | "http" | "https" | "tls_openssl" | "tls_gnutls"
        )
    }
}
