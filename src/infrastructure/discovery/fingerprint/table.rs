//! Signs of vendors, as data: what strangers are told by a camera, and whose make that means.

use crate::domain::discovery::Certainty::{self, Likely, Weak};

/// Where a sign is looked for, the most telling first: of two that are equally certain, the one
/// higher up wins. All compare without regard to case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The hardware scope begins so.
    Hardware,
    /// A realm begins so.
    Realm,
    /// The `Server` of HTTP begins so.
    HttpServer,
    /// The `Server` of RTSP begins so.
    RtspServer,
    /// The home page's title begins so.
    Title,
    /// The home page, or a place that it leads to, holds this.
    Page,
    /// The hardware address begins so.
    Mac,
    /// These TCP ports are open, all of them.
    Ports,
}

/// A sign: where, what, whose, how sure.
pub type Row = (Kind, &'static str, &'static str, Certainty);

/// The table. Names of vendors in scopes, realms, servers and titles count by themselves and are
/// not listed again (see [`named_in`](crate::domain::vendor::named_in)).
pub const TABLE: &[Row] = &[
    (Kind::Hardware, "DS-", "HIKVISION", Likely),
    (Kind::Hardware, "TV-IP", "TRENDNET", Likely),
    (Kind::Hardware, "IPC-HDW", "DAHUA", Likely),
    (Kind::Hardware, "IPC-HFW", "DAHUA", Likely),
    (Kind::Hardware, "IPC-HDBW", "DAHUA", Likely),
    (Kind::Hardware, "DH-", "DAHUA", Likely),
    (Kind::Realm, "IP Camera(", "HIKVISION", Likely),
    (Kind::Realm, "DS-", "HIKVISION", Likely),
    (Kind::Realm, "Login to ", "DAHUA", Likely),
    (Kind::Realm, "AXIS_", "AXIS", Likely),
    (Kind::HttpServer, "App-webs/", "HIKVISION", Likely),
    (Kind::HttpServer, "Hikvision-Webs", "HIKVISION", Likely),
    (Kind::HttpServer, "DNVRS-Webs", "HIKVISION", Likely),
    (Kind::HttpServer, "DVRDVS-Webs", "HIKVISION", Likely),
    // A word that others use, too.
    (Kind::HttpServer, "webserver", "HIKVISION", Weak),
    (Kind::HttpServer, "uc-httpd", "XM", Likely),
    (Kind::RtspServer, "H264DVR", "XM", Likely),
    (Kind::RtspServer, "Rtsp Server/3.0", "DAHUA", Weak),
    (Kind::Page, "/doc/page/login.asp", "HIKVISION", Likely),
    (Kind::Title, "NETSurveillance WEB", "XM", Likely),
    (Kind::Title, "WEB SERVICE", "DAHUA", Likely),
    (Kind::Ports, "8000", "HIKVISION", Weak),
    (Kind::Ports, "8000", "REOLINK", Weak),
    (Kind::Ports, "9000", "REOLINK", Weak),
    (Kind::Ports, "37777", "DAHUA", Weak),
    (Kind::Ports, "34567", "XM", Weak),
    (Kind::Ports, "8899", "XM", Weak),
    (Kind::Ports, "2020+554", "TP-LINK", Weak),
];

/// First halves of hardware addresses (IEEE registry, not complete). Boards of other makers carry
/// other ones, and some of these are in other devices: each is a weak sign.
pub const OUIS: &[(&str, &[&str])] = &[
    (
        "HIKVISION",
        &[
            "44:19:B6", "C0:56:E3", "BC:AD:28", "44:47:CC", "A4:14:37", "4C:BD:8F", "28:57:BE",
            "18:68:CB", "C4:2F:90", "54:C4:15", "68:6D:BC", "08:A1:89", "24:0F:9B", "98:DF:82",
            "EC:C8:9C", "E0:BA:AD", "84:9A:40",
        ],
    ),
    (
        "DAHUA",
        &[
            "3C:EF:8C", "90:02:A9", "A0:BD:1D", "4C:11:BF", "14:A7:8B", "38:AF:29", "E0:50:8B",
            "9C:14:63", "08:ED:ED", "6C:1C:71", "BC:32:5F",
        ],
    ),
    ("AXIS", &["00:40:8C", "AC:CC:8E", "B8:A4:4F"]),
    ("UNIVIEW", &["48:EA:63", "6C:F1:7E", "C4:79:05"]),
    ("REOLINK", &["EC:71:DB"]),
    ("EZVIZ", &["64:F2:FB", "EC:97:E0", "78:A6:A0"]),
    ("AMCREST", &["9C:8E:CD"]),
];

/// What stands in a hardware scope where no model is told.
pub const NO_MODEL: &[&str] = &[
    "camera",
    "ip camera",
    "ipcamera",
    "ipc",
    "ipcam",
    "network camera",
    "nvt",
    "nvr",
    "dvr",
    "onvif",
    "general",
    "unknown",
    "hardware",
    "none",
    "1.0",
];
