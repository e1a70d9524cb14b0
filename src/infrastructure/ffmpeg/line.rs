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

    /// Whether it says how loud it is, as lss tells FFmpeg to.
    pub(super) fn has_level(&self) -> bool {
        !self.level.is_empty()
    }

    /// Of a line that names nobody: words that only the sending side has.
    pub(super) fn speaks_of_whip(&self) -> bool {
        const WORDS: [&str; 8] = [
            "Could not write header",
            "Muxer state=",
            "DTLS handshake timeout=",
            "DTLS session ",
            "Consent Freshness expired",
            "Invalid answer",
            "Failed to connect udp",
            "Failed to write packet",
        ];
        self.context.is_empty() && WORDS.iter().any(|word| self.text.starts_with(word))
    }

    /// Of a line that names nobody: words that only the reading side has.
    pub(super) fn speaks_of_source(&self) -> bool {
        const WORDS: [&str; 4] = [
            "method ",
            "Failed reading RTSP data: ",
            "Error opening input: ",
            "Error during demuxing: ",
        ];
        self.context.is_empty() && WORDS.iter().any(|word| self.text.starts_with(word))
    }

    pub(super) fn is_error(&self) -> bool {
        matches!(self.level, "error" | "fatal" | "panic")
    }

    /// The reading side. `[rtsp @ …]` is older FFmpeg's `[in#0 @ …]`.
    pub(super) fn is_source(&self) -> bool {
        let c = self.context.as_str();
        ["in#", "ist#", "vist#", "aist#"]
            .iter()
            .any(|p| c.starts_with(p))
            || matches!(c, "rtsp" | "rtmp" | "srt")
            || self.is_srt_library()
    }

    /// A line of the SRT library, which knows nothing of FFmpeg's form:
    /// `03:58:18.391823/SRT:RcvQ:w1!W:SRT.cn: @1037048512: …`
    fn is_srt_library(&self) -> bool {
        self.context.is_empty()
            && self.level.is_empty()
            && self.text.starts_with(|c: char| c.is_ascii_digit())
            && self.text.contains(":SRT.")
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
