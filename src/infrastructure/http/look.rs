//! A look at one host: its name, whether it takes connections, what its certificate is like, and
//! what time it has. Sends no login and nothing but `HEAD /`.
//!
//! The certificate is judged as every client of lss judges it, but the conversation goes on
//! whatever the judgement: a wrong clock makes every certificate look bad, and the server's `Date`
//! is what tells so.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    StreamOwned,
};

use super::agent::USER_AGENT;
use super::bounded::Bounded;
use super::certificate;
use super::names::Names;
use super::response::is_timeout;
use super::tls::{Roots, TlsError, TrustStore, provider};
use crate::domain::checkup::{CertificateFacts, HostLook, NoConnection, TlsLook, TlsVerdict};

/// The head of an answer is read up to so many bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Looks at a host. `trust` = with TLS. Each step ends by `within`, all by three times that.
pub fn look(host: &str, port: u16, trust: Option<&TrustStore>, within: Duration) -> HostLook {
    let mut seen = HostLook {
        host: host.to_owned(),
        port,
        names: Ok(Vec::new()),
        tcp: None,
        tls: None,
        clock: None,
    };
    let addresses = match Names::default().lookup(host, port, within) {
        Ok(addresses) => addresses,
        Err(why) => {
            seen.names = Err(why.to_string());
            return seen;
        }
    };
    let mut ips: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
    ips.dedup();
    seen.names = Ok(ips);
    let tcp = Bounded::connect(&addresses, Instant::now() + within);
    seen.tcp = Some(match &tcp {
        Ok((_, address)) => Ok(*address),
        Err(why) => Err(no_connection(why)),
    });
    let (Ok((_, address)), Some(trust)) = (tcp, trust) else {
        return seen;
    };
    // A connection of its own, with its own time.
    match Bounded::connect(&[address], Instant::now() + within) {
        Ok((tcp, _)) => {
            let (tls, clock) = look_at_tls(host, tcp, trust);
            seen.tls = Some(tls);
            seen.clock = clock;
        }
        Err(why) => {
            seen.tls = Some(TlsLook {
                verdict: TlsVerdict::Silent(why.to_string()),
                certificate: None,
            });
        }
    }
    seen
}

fn no_connection(why: &io::Error) -> NoConnection {
    match why.kind() {
        io::ErrorKind::ConnectionRefused => NoConnection::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => NoConnection::NoRoute,
        _ if is_timeout(why) => NoConnection::Silent,
        _ => NoConnection::Other(why.to_string()),
    }
}

fn look_at_tls(host: &str, tcp: Bounded, trust: &TrustStore) -> (TlsLook, Option<i64>) {
    let without = |verdict| TlsLook {
        verdict,
        certificate: None,
    };
    let untried = |why: &dyn std::fmt::Display| without(TlsVerdict::Untried(why.to_string()));
    let witness = match trust.roots().and_then(|roots| Witness::new(&roots)) {
        Ok(witness) => Arc::new(witness),
        Err(why) => return (untried(&why), None),
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map(|builder| {
            builder
                .dangerous()
                .with_custom_certificate_verifier(witness.clone())
                .with_no_client_auth()
        });
    let connection = config.and_then(|config| {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| rustls::Error::General(format!("{host} is no name for TLS")))?;
        ClientConnection::new(Arc::new(config), name)
    });
    let connection = match connection {
        Ok(connection) => connection,
        Err(why) => return (untried(&why), None),
    };
    let mut stream = StreamOwned::new(connection, tcp);
    let date = ask_date(host, &mut stream);
    match (witness.take(), date) {
        (Some((verdict, facts)), date) => {
            let look = TlsLook {
                verdict,
                certificate: facts,
            };
            (look, date.ok().flatten())
        }
        (None, Err(why)) => (without(no_tls(&why)), None),
        (None, Ok(_)) => (
            without(TlsVerdict::Refused("it showed no certificate".to_owned())),
            None,
        ),
    }
}

fn no_tls(why: &io::Error) -> TlsVerdict {
    let tls = why
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidMessage(_)) => {
            TlsVerdict::NoTls("its answer is no TLS".to_owned())
        }
        Some(other) => TlsVerdict::Refused(other.to_string()),
        None if is_timeout(why) => TlsVerdict::Silent("no answer in time".to_owned()),
        None => TlsVerdict::Silent("it closes the connection".to_owned()),
    }
}

/// The offset of the server's clock in seconds, if it tells its time. Shakes hands on the way.
fn ask_date(
    host: &str,
    stream: &mut StreamOwned<ClientConnection, Bounded>,
) -> io::Result<Option<i64>> {
    write!(
        stream,
        "HEAD / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nConnection: close\r\n\r\n"
    )?;
    stream.flush()?;
    let mut head = Vec::new();
    let mut buffer = [0_u8; 2048];
    while head.len() < MAX_HEAD && !head.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => head.extend_from_slice(buffer.get(..n).unwrap_or_default()),
        }
    }
    Ok(date_offset(&head, SystemTime::now()))
}

/// The `Date` of an answer's head less `now`, in seconds.
pub fn date_offset(head: &[u8], now: SystemTime) -> Option<i64> {
    let text = String::from_utf8_lossy(head);
    let date = text.lines().skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| value.trim())
    })?;
    offset(httpdate::parse_http_date(date).ok()?, now)
}

/// `theirs` less `ours` in whole seconds.
pub fn offset(theirs: SystemTime, ours: SystemTime) -> Option<i64> {
    match theirs.duration_since(ours) {
        Ok(ahead) => i64::try_from(ahead.as_secs()).ok(),
        Err(behind) => i64::try_from(behind.duration().as_secs()).ok().map(|s| -s),
    }
}

type Testimony = (TlsVerdict, Option<CertificateFacts>);

/// Judges a certificate, keeps the judgement, and lets the handshake go on.
#[derive(Debug)]
struct Witness {
    judge: Arc<WebPkiServerVerifier>,
    seen: Mutex<Option<Testimony>>,
}

impl Witness {
    fn new(roots: &Roots) -> Result<Self, TlsError> {
        let judge =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots.store()), provider())
                .build()
                .map_err(|why| TlsError::Setup(rustls::Error::General(why.to_string())))?;
        Ok(Self {
            judge,
            seen: Mutex::new(None),
        })
    }

    fn take(&self) -> Option<Testimony> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judged = self.judge.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let verdict = match judged {
            Ok(_) => TlsVerdict::Good,
            Err(rustls::Error::InvalidCertificate(why)) => verdict(&why),
            Err(other) => TlsVerdict::Refused(other.to_string()),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((verdict, certificate::facts(end_entity)));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

fn verdict(why: &CertificateError) -> TlsVerdict {
    use CertificateError as Bad;
    match why {
        Bad::UnknownIssuer => TlsVerdict::Stranger,
        Bad::Expired
        | Bad::ExpiredContext { .. }
        | Bad::NotValidYet
        | Bad::NotValidYetContext { .. } => TlsVerdict::NotNow,
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => TlsVerdict::OtherName,
        // A self-signed server: rustls calls it this, people call it a stranger.
        Bad::Other(inner) if inner.to_string().contains("CaUsedAsEndEntity") => {
            TlsVerdict::Stranger
        }
        other => TlsVerdict::Refused(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer() {
        let head = b"HTTP/1.1 301 x\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nA: b\r\n\r\n";
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(date_offset(head, at), Some(0));
        assert_eq!(date_offset(head, at + Duration::from_secs(90)), Some(-90));
        assert_eq!(date_offset(head, at - Duration::from_secs(90)), Some(90));
        assert_eq!(
            date_offset(b"HTTP/1.1 200 OK\r\nDate: never\r\n\r\n", at),
            None
        );
        assert_eq!(date_offset(b"\xFF\xFE", at), None);
    }
}
