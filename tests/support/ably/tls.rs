//! TLS in front of a stand-in: takes TLS off and passes the bytes on.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// A TLS listener with a certificate of its own for `localhost`.
pub struct TlsFront {
    /// Where it listens.
    pub address: SocketAddr,
    certificate: CertificateDer<'static>,
    stop: Arc<AtomicBool>,
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl TlsFront {
    /// In front of `behind`.
    pub fn start(behind: SocketAddr) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            for tcp in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(tcp) = tcp else { continue };
                let config = Arc::clone(&config);
                thread::spawn(move || {
                    let _ = pump(tcp, behind, config);
                });
            }
        });
        Self {
            address,
            certificate,
            stop,
        }
    }

    /// A client configuration that trusts it; or one that trusts nobody.
    pub fn client(&self, trust: bool) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        if trust {
            roots.add(self.certificate.clone()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// The certificate, as PEM.
    pub fn pem(&self) -> ureq::tls::Certificate<'static> {
        ureq::tls::Certificate::from_der(self.certificate.as_ref()).to_owned()
    }
}

fn pump(front: TcpStream, behind: SocketAddr, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let behind = TcpStream::connect(behind)?;
    for tcp in [&front, &behind] {
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_millis(1)))?;
    }
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut tls = StreamOwned::new(connection, front);
    let mut plain = behind;
    let mut buffer = [0; 16 * 1024];
    let end = |tls: &mut StreamOwned<ServerConnection, TcpStream>, plain: &TcpStream| {
        tls.conn.send_close_notify();
        let _ = tls.flush();
        let _ = tls.sock.shutdown(Shutdown::Both);
        let _ = plain.shutdown(Shutdown::Both);
    };
    loop {
        let read = tls.read(&mut buffer);
        match passed(read) {
            Some(0) => break,
            Some(read) => plain.write_all(&buffer[..read])?,
            None => {}
        }
        let read = plain.read(&mut buffer);
        match passed(read) {
            Some(0) => break,
            Some(read) => {
                tls.write_all(&buffer[..read])?;
                tls.flush()?;
            }
            None => {}
        }
    }
    end(&mut tls, &plain);
    Ok(())
}

/// Bytes that were read; `Some(0)` = the end; `None` = nothing yet.
fn passed(read: std::io::Result<usize>) -> Option<usize> {
    match read {
        Ok(read) => Some(read),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        Err(_) => Some(0),
    }
}
