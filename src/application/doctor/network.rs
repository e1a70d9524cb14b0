//! The way out: names, TCP, TLS, UDP, and the time as others have it.

use std::time::SystemTime;

use super::{Check, Datum};
use crate::domain::checkup::{
    CertificateFacts, HostLook, NoConnection, TlsLook, TlsVerdict, UdpLook,
};
use crate::util::time::rfc3339;
use crate::util::url;

/// A clock off by more than this many seconds is worth a word (contract 1).
const CLOCK_WARN: u64 = 5;
/// By more than this many, logins and certificates fail.
const CLOCK_FAIL: u64 = 60;
/// A certificate that ends so soon, in seconds, should be known of.
const ENDS_SOON: u64 = 14 * 86_400;

/// Name, connection and certificate of one host.
pub fn host(look: &HostLook, now: SystemTime) -> Vec<Check> {
    let at = format!("{}:{}", look.host, look.port);
    // An address needs no name service.
    let mut checks = Vec::new();
    if url::literal_ip(&look.host).is_none() {
        checks.push(names(look));
    }
    if let Some(tcp) = &look.tcp {
        checks.push(match tcp {
            Ok(to) => Check::pass(
                "tcp",
                format!("port {} is open (by {})", look.port, to.ip()),
            ),
            Err(why) => tcp_failure(look.port, why),
        });
    }
    if let Some(tls_look) = &look.tls {
        checks.push(tls(&look.host, tls_look, now));
    }
    checks.into_iter().map(|c| c.about(&at)).collect()
}

fn names(look: &HostLook) -> Check {
    match &look.names {
        Ok(found) => {
            let list: Vec<String> = found.iter().map(ToString::to_string).collect();
            let shown = list.get(..list.len().min(3)).unwrap_or_default().join(", ");
            Check::pass("dns", format!("is {shown}")).with("addresses", Datum::List(list))
        }
        Err(why) => Check::fail(
            "dns",
            format!("the name {} has no address: {why}", look.host),
            "is there an internet connection, and a DNS server (`resolvectl status`)? is the name \
             spelled right?",
        ),
    }
}

fn tcp_failure(port: u16, why: &NoConnection) -> Check {
    let words = match why {
        NoConnection::Refused => format!("port {port} is closed: the connection is refused"),
        NoConnection::Silent => format!("nothing comes back from port {port}"),
        NoConnection::NoRoute => "this machine has no route to it".to_owned(),
        NoConnection::Other(words) => format!("no connection to port {port}: {words}"),
    };
    let advice = match why {
        NoConnection::Refused => {
            "a firewall refuses it, or the address in the configuration is wrong, or the service \
             is down"
                .to_owned()
        }
        NoConnection::NoRoute => {
            "is the cable in? has the machine a gateway (`ip route`)?".to_owned()
        }
        _ => format!("let outgoing TCP port {port} pass in the site's firewall"),
    };
    Check::fail("tcp", words, advice)
}

fn tls(host: &str, look: &TlsLook, now: SystemTime) -> Check {
    let shown = look.certificate.as_ref();
    let by = shown.map_or_else(String::new, |c| format!(", signed by “{}”", c.issuer));
    let ca_file = "ask the site's network people to leave this host alone (no TLS inspection); or, \
         if the authority is your own, name it in ca_file";
    let check = match &look.verdict {
        TlsVerdict::Good => good(shown, &by, now),
        TlsVerdict::Stranger => Check::fail(
            "tls",
            format!(
                "the certificate for {host} is signed by an authority that this machine does not \
                 trust{by}: a proxy that reads along, a login page, or an authority of your own"
            ),
            ca_file,
        ),
        TlsVerdict::NotNow => {
            let span = shown.map_or_else(String::new, validity);
            Check::fail(
                "tls",
                format!(
                    "the certificate of {host} is not valid now{span}; this machine's clock says \
                     {}",
                    rfc3339(now)
                ),
                "if the clock is wrong, set it right; if it is right, the server's certificate \
                 has to be renewed",
            )
        }
        TlsVerdict::OtherName => Check::fail(
            "tls",
            format!(
                "what answers for {host} shows a certificate for “{}”{by}: another server, or a \
                 login page",
                shown.map_or("another name", |c| c.subject.as_str())
            ),
            "open any web page from this network: does it ask for a login? is the host name in \
             the configuration right?",
        ),
        TlsVerdict::Refused(why) => Check::fail(
            "tls",
            format!("the certificate of {host} is refused: {why}{by}"),
            ca_file,
        ),
        TlsVerdict::NoTls(why) => Check::fail(
            "tls",
            format!("what answers for {host} does not speak TLS: {why}"),
            "a proxy or a login page stands in the way, or the port in the configuration is wrong",
        ),
        TlsVerdict::Silent(why) => Check::fail(
            "tls",
            format!("{host} takes the connection and then says nothing: {why}"),
            "a firewall cuts TLS off: let outgoing TLS to this host pass",
        ),
        TlsVerdict::Untried(why) => Check::fail("tls", why, "see ca_file in the configuration"),
    };
    match shown {
        Some(certificate) => check
            .with("issuer", Datum::Text(certificate.issuer.clone()))
            .with("subject", Datum::Text(certificate.subject.clone())),
        None => check,
    }
}

fn good(shown: Option<&CertificateFacts>, by: &str, now: SystemTime) -> Check {
    let until = shown.and_then(|c| c.until);
    match until.and_then(|u| u.duration_since(now).ok()) {
        Some(left) if left.as_secs() < ENDS_SOON => Check::warn(
            "tls",
            format!(
                "the certificate is good{by}, and ends in {} days",
                left.as_secs() / 86_400
            ),
            "tell whoever runs that server to renew it",
        ),
        _ => Check::pass("tls", format!("the certificate is good{by}")),
    }
}

fn validity(certificate: &CertificateFacts) -> String {
    let day = |at: SystemTime| rfc3339(at).chars().take(10).collect::<String>();
    match (certificate.from, certificate.until) {
        (Some(from), Some(until)) => format!(" (from {} to {})", day(from), day(until)),
        _ => String::new(),
    }
}

/// The time as others have it: who, and their clock less ours in seconds. The first counts.
pub fn clock(readings: &[(String, i64)]) -> Check {
    let Some((who, offset)) = readings.first() else {
        return Check::pass("clock", "not compared: nobody outside has told the time");
    };
    let off = offset.unsigned_abs();
    let side = if *offset > 0 { "behind" } else { "ahead" };
    let disputed = readings
        .iter()
        .any(|(_, other)| other.abs_diff(*offset) > CLOCK_FAIL);
    let set = "set the clock and keep it right: `timedatectl set-ntp true`, or chrony; let UDP \
               port 123 out";
    let check = if disputed {
        let list: Vec<String> = readings
            .iter()
            .map(|(who, offset)| format!("{who} {offset:+} s"))
            .collect();
        Check::warn(
            "clock",
            format!("others disagree about the time: {}", list.join(", ")),
            "compare `date -u` with a clock you trust; set it if it is wrong",
        )
    } else if off > CLOCK_FAIL {
        Check::fail(
            "clock",
            format!(
                "this machine's clock is {} {side} (by {who}): certificates of the cloud and \
                 logins of cameras (ONVIF) fail because of it",
                span(off)
            ),
            set,
        )
    } else if off > CLOCK_WARN {
        Check::warn(
            "clock",
            format!(
                "this machine's clock is {} {side} (by {who}): logins of cameras (ONVIF) may fail \
                 because of it",
                span(off)
            ),
            set,
        )
    } else {
        Check::pass("clock", format!("right within {CLOCK_WARN} s (by {who})"))
    };
    check
        .with("offsetSeconds", Datum::Whole(*offset))
        .with("by", Datum::Text(who.clone()))
}

/// `40 s`, `3 min`, `5 h`, `365 days`.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Whether UDP gets out and back. `None` = nobody is to be asked.
pub fn udp(server: Option<&str>, look: Option<&UdpLook>) -> Check {
    let (Some(server), Some(look)) = (server, look) else {
        return Check::pass(
            "udp",
            "not checked: no STUN server is asked (--stun HOST:PORT names one). WHIP needs UDP to \
             its receiver",
        );
    };
    let check = match look {
        UdpLook::Answered { ours, seen, took } => {
            let nat = if ours.ip() == seen.ip() {
                "no address translation".to_owned()
            } else {
                format!("seen from outside as {}", seen.ip())
            };
            Check::pass(
                "udp",
                format!(
                    "UDP gets out and back in {} ms ({nat}), as WHIP needs it",
                    took.as_millis()
                ),
            )
            .with("publicIp", Datum::Text(seen.ip().to_string()))
        }
        UdpLook::Silent => Check::fail(
            "udp",
            "no answer by UDP: streams start and never arrive",
            "let outgoing UDP pass in the site's firewall, to every address and port that the \
             WHIP receiver uses; if only this STUN server is blocked, try another by --stun",
        ),
        UdpLook::NoName(why) => Check::warn(
            "udp",
            format!("can't be told: the STUN server's name has no address: {why}"),
            "see the dns lines; or name another server by --stun HOST:PORT",
        ),
        UdpLook::Failed(why) => Check::fail(
            "udp",
            format!("UDP does not get out: {why}"),
            "has the machine a gateway (`ip route`)? does a firewall refuse outgoing UDP?",
        ),
    };
    check.about(server)
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
