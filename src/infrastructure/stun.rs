//! One question by UDP: STUN's binding request (RFC 8489), which a public server answers with the
//! address it saw. Shows whether UDP gets out and back, and nothing more. Messages are pure.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::domain::checkup::UdpLook;
use crate::infrastructure::http::names::Names;

/// RFC 8489, 5.
const MAGIC_COOKIE: u32 = 0x2112_A442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
/// RFC 8489, 14.1 and 14.2.
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Sent again after this long, doubling (RFC 8489, 6.2.1).
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// Ties an answer to its question.
pub type TransactionId = [u8; 12];

/// A binding request without attributes.
pub fn request(id: &TransactionId) -> [u8; 20] {
    let mut out = [0_u8; 20];
    let (head, rest) = out.split_at_mut(8);
    if let [t0, t1, _, _, c0, c1, c2, c3] = head {
        [*t0, *t1] = BINDING_REQUEST.to_be_bytes();
        [*c0, *c1, *c2, *c3] = MAGIC_COOKIE.to_be_bytes();
    }
    rest.copy_from_slice(id);
    out
}

/// The address in an answer to that request; `None` for anything else.
pub fn mapped_address(bytes: &[u8], id: &TransactionId) -> Option<SocketAddr> {
    let (head, body) = bytes.split_at_checked(20)?;
    let word = |at: usize| -> Option<u16> {
        Some(u16::from_be_bytes(head.get(at..at + 2)?.try_into().ok()?))
    };
    let cookie = MAGIC_COOKIE.to_be_bytes();
    if word(0)? != BINDING_SUCCESS || head.get(4..8)? != cookie || head.get(8..)? != id {
        return None;
    }
    let mut attributes = body.get(..usize::from(word(2)?))?;
    let mut plain = None;
    while let Some((kind, value, rest)) = attribute(attributes) {
        attributes = rest;
        match kind {
            XOR_MAPPED_ADDRESS => return address(value, Some(id)),
            MAPPED_ADDRESS => plain = plain.or_else(|| address(value, None)),
            _ => {}
        }
    }
    plain
}

fn attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(4)?;
    let kind = u16::from_be_bytes(head.get(..2)?.try_into().ok()?);
    let length = usize::from(u16::from_be_bytes(head.get(2..)?.try_into().ok()?));
    let (value, _) = rest.split_at_checked(length)?;
    // Values are padded to four bytes; the last one's padding may be missing.
    let rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, value, rest))
}

/// `xor` = the transaction, where the address is masked by cookie and transaction.
fn address(value: &[u8], xor: Option<&TransactionId>) -> Option<SocketAddr> {
    let (head, ip) = value.split_at_checked(4)?;
    let family = *head.get(1)?;
    let mut port = u16::from_be_bytes(head.get(2..)?.try_into().ok()?);
    let mut mask = [0_u8; 16];
    if let Some(id) = xor {
        let (first, rest) = mask.split_at_mut(4);
        first.copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        rest.copy_from_slice(id);
        // The cookie's upper half.
        port ^= 0x2112;
    }
    let unmasked = |ip: &[u8]| -> Vec<u8> { ip.iter().zip(mask).map(|(b, m)| b ^ m).collect() };
    let ip = match (family, ip.len()) {
        (1, 4) => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(unmasked(ip)).ok()?)),
        (2, 16) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(unmasked(ip)).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Asks a STUN server. The name's lookup ends by `within`, the question by `within` again.
pub fn look(host: &str, port: u16, within: Duration) -> UdpLook {
    let addresses = match Names::default().lookup(host, port, within) {
        Ok(addresses) => addresses,
        Err(why) => return UdpLook::NoName(why.to_string()),
    };
    // WHIP receivers are reached over IPv4 first, as FFmpeg does.
    let to = addresses
        .iter()
        .find(|a| a.is_ipv4())
        .or(addresses.first())
        .copied();
    match to {
        Some(to) => ask(to, within).unwrap_or_else(|why| failed(&why)),
        None => UdpLook::NoName("no address".to_owned()),
    }
}

fn failed(why: &io::Error) -> UdpLook {
    UdpLook::Failed(match why.kind() {
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "this machine has no route to it".to_owned()
        }
        io::ErrorKind::ConnectionRefused => "the server says that nobody listens there".to_owned(),
        io::ErrorKind::PermissionDenied => "this machine's own firewall refuses it".to_owned(),
        _ => why.to_string(),
    })
}

fn ask(to: SocketAddr, within: Duration) -> io::Result<UdpLook> {
    let any: SocketAddr = if to.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    // Connected: answers of others don't count, and a refusal is heard.
    socket.connect(to)?;
    let mut id = TransactionId::default();
    getrandom::fill(&mut id).map_err(|why| io::Error::other(why.to_string()))?;
    let message = request(&id);
    let begin = Instant::now();
    let deadline = begin + within;
    let mut pause = FIRST_RETRY;
    let mut buffer = [0_u8; 1500];
    loop {
        socket.send(&message)?;
        let next = deadline.min(Instant::now() + pause);
        pause *= 2;
        while let Some(left) = left(next) {
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut buffer) {
                Ok(n) => {
                    let bytes = buffer.get(..n).unwrap_or_default();
                    if let Some(seen) = mapped_address(bytes, &id) {
                        return Ok(UdpLook::Answered {
                            ours: socket.local_addr()?,
                            seen,
                            took: begin.elapsed(),
                        });
                    }
                }
                Err(why)
                    if matches!(
                        why.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::TimedOut
                            | io::ErrorKind::Interrupted
                    ) => {}
                Err(why) => return Err(why),
            }
        }
        if left(deadline).is_none() {
            return Ok(UdpLook::Silent);
        }
    }
}

fn left(until: Instant) -> Option<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    (left >= Duration::from_millis(1)).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 5769, 2.2 and 2.3: the sample answers over IPv4 and IPv6.
    const ID: TransactionId = [
        0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    ];

    fn answer(attributes: &[u8]) -> Vec<u8> {
        let mut out = vec![0x01, 0x01, 0, u8::try_from(attributes.len()).unwrap()];
        out.extend(MAGIC_COOKIE.to_be_bytes());
        out.extend(ID);
        out.extend(attributes);
        out
    }

    const SOFTWARE: [u8; 16] = *b"\x80\x22\x00\x0btest vector\x20";
    const XOR_V4: [u8; 12] = [
        0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43,
    ];

    #[test]
    fn a_request_is_twenty_bytes() {
        let bytes = request(&ID);
        assert_eq!(bytes[..8], [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42]);
        assert_eq!(bytes[8..], ID);
    }

    #[test]
    fn the_samples_of_rfc_5769() {
        let v4 = answer(&[&SOFTWARE[..], &XOR_V4].concat());
        assert_eq!(
            mapped_address(&v4, &ID),
            Some("192.0.2.1:32853".parse().unwrap())
        );
        let xor_v6 = [
            0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3,
            0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
        ];
        assert_eq!(
            mapped_address(&answer(&xor_v6), &ID),
            Some(
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
                    .parse()
                    .unwrap()
            )
        );
        let old = [0, 1, 0, 8, 0, 1, 0x80, 0x55, 192, 0, 2, 1];
        assert_eq!(
            mapped_address(&answer(&old), &ID),
            Some("192.0.2.1:32853".parse().unwrap())
        );
    }

    #[test]
    fn other_answers_are_none() {
        let good = answer(&XOR_V4);
        assert_eq!(mapped_address(&good, &[0; 12]), None, "another's");
        for cut in 0..good.len() {
            assert_eq!(mapped_address(&good[..cut], &ID), None, "{cut}");
        }
        let mut refused = good.clone();
        refused[1] = 0x11;
        assert_eq!(mapped_address(&refused, &ID), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = mapped_address(&bytes, &ID);
            let _ = mapped_address(&answer(&bytes), &ID);
        }
    }
}
