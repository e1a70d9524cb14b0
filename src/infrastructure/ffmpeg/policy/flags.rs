//! The words that options with a fixed vocabulary take: what lss passes on of FFmpeg's flags, by
//! name. Not here, on purpose: what writes a file (`pass1`, `pass2`: x264's two-pass log in the
//! working directory), what listens (RTSP's `listen`, SRT's `listener` and `rendezvous`), and what
//! nobody needs for a live picture. Pure.

/// `-flags`, of encoders and decoders.
pub(super) const CODEC: &[&str] = &[
    "aic",
    "bitexact",
    "cgop",
    "drop_changed",
    "global_header",
    "gray",
    "ildct",
    "ilme",
    "loop",
    "low_delay",
    "mv4",
    "output_corrupt",
    "qpel",
    "unaligned",
];

/// `-flags2`.
pub(super) const CODEC2: &[&str] = &[
    "chunks",
    "fast",
    "ignorecrop",
    "local_header",
    "showall",
    "skip_manual",
];

/// `-fflags`, of demuxers and muxers.
pub(super) const FORMAT: &[&str] = &[
    "autobsf",
    "bitexact",
    "discardcorrupt",
    "fastseek",
    "flush_packets",
    "genpts",
    "igndts",
    "ignidx",
    "nobuffer",
    "nofillin",
    "noparse",
    "sortdts",
];

/// `-avioflags`.
pub(super) const IO: &[&str] = &["direct"];

/// `-err_detect`.
pub(super) const ERRORS: &[&str] = &[
    "aggressive",
    "bitstream",
    "buffer",
    "careful",
    "compliant",
    "crccheck",
    "explode",
    "ignore_err",
];

/// `-ec`, how decoders hide what is missing.
pub(super) const CONCEALMENT: &[&str] = &["deblock", "favor_inter", "guess_mvs"];

/// `-thread_type`.
pub(super) const THREADS: &[&str] = &["frame", "slice"];

/// `-rtsp_flags`; `listen` is not among them.
pub(super) const RTSP: &[&str] = &["filter_src", "prefer_tcp", "satip_raw"];

/// `-allowed_media_types`.
pub(super) const MEDIA: &[&str] = &["audio", "data", "subtitle", "video"];

/// `-whip_flags`.
pub(super) const WHIP: &[&str] = &["dtls_active"];

/// `-strict`.
pub(super) const STRICT: &[&str] = &[
    "very",
    "strict",
    "normal",
    "unofficial",
    "experimental",
    "2",
    "1",
    "0",
    "-1",
    "-2",
];

/// `-discard`, `-skip_frame`.
pub(super) const DISCARD: &[&str] = &[
    "none", "default", "noref", "bidir", "nointra", "nokey", "all",
];

/// SRT's `mode`: the others wait for whoever comes.
pub(in crate::infrastructure::ffmpeg) const SRT_MODE: &[&str] = &["caller"];

/// SRT's `transtype`.
pub(in crate::infrastructure::ffmpeg) const SRT_TYPE: &[&str] = &["live", "file"];
