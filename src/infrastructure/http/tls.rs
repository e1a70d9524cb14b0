//! One root store for everything that speaks TLS to the cloud: ureq's agents and the websocket.
//!
//! Roots: `ca_file` (PEM) together with the system's, else the system's, else Mozilla's as bundled
//! in the binary (a bare firmware image). `SSL_CERT_FILE` and `SSL_CERT_DIR` choose the system's.
//! Loading takes tens of milliseconds on a small board, so nothing is read before the first
//! request that needs it, on that request's thread.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CipherSuite, ClientConfig, RootCertStore};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Why there are no roots.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `ca_file` can't be read.
    #[error("ca_file {path} can't be read: {reason}")]
    CaFile {
        /// As configured.
        path: PathBuf,
        /// In words.
        reason: String,
    },
    /// `ca_file` holds nothing that could vouch for a server.
    #[error("ca_file {path} holds no usable certificate; it must be PEM (BEGIN CERTIFICATE)")]
    NoCertificate {
        /// As configured.
        path: PathBuf,
    },
    /// A bug of ours or of the TLS library.
    #[error("TLS can't be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Where roots come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `ca_file` and the system's.
    CaFile,
    /// The system's.
    System,
    /// Those in the binary.
    Bundled,
}

/// The roots of one configuration, loaded once, when first asked for.
#[derive(Debug)]
pub struct TrustStore {
    ca_file: Option<PathBuf>,
    loaded: OnceLock<Arc<Roots>>,
}

impl TrustStore {
    /// Reads nothing yet.
    pub fn new(ca_file: Option<PathBuf>) -> Self {
        Self {
            ca_file,
            loaded: OnceLock::new(),
        }
    }

    /// The roots. A failure is not remembered: the file may be there the next time.
    pub fn roots(&self) -> Result<Arc<Roots>, TlsError> {
        if let Some(roots) = self.loaded.get() {
            return Ok(roots.clone());
        }
        // Two threads may load at the same time once; a lock held across the reading would be worse.
        let roots = Arc::new(Roots::load(self.ca_file.as_deref())?);
        Ok(self.loaded.get_or_init(|| roots).clone())
    }
}

/// Loaded roots. One copy (some 200 KB) serves every user for as long as the process lives.
pub struct Roots {
    /// Empty = bundled.
    certs: Arc<Vec<Certificate<'static>>>,
    origin: Origin,
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roots")
            .field("origin", &self.origin)
            .field("certs", &self.certs.len())
            .finish()
    }
}

impl Roots {
    /// Loads now.
    pub fn load(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let own = ca_file.map(read_pem).transpose()?;
        let system = rustls_native_certs::load_native_certs();
        if !system.errors.is_empty() {
            log::debug!(errors = system.errors.len(), first:? = system.errors.first(); "parts of the system's certificate store can't be read");
        }
        let mut certs = system.certs;
        let origin = match own {
            Some(own) => {
                certs.extend(own);
                Origin::CaFile
            }
            None if certs.is_empty() => Origin::Bundled,
            None => Origin::System,
        };
        log::debug!(origin:? = origin, certificates = certs.len(); "TLS roots loaded");
        let certs = certs
            .iter()
            .map(|der| Certificate::from_der(der).to_owned())
            .collect();
        Ok(Self {
            certs: Arc::new(certs),
            origin,
        })
    }

    /// Where they come from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// For ureq.
    pub fn ureq(&self) -> TlsConfig {
        let roots = if self.certs.is_empty() {
            RootCerts::WebPki
        } else {
            RootCerts::Specific(self.certs.clone())
        };
        TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(provider())
            .build()
    }

    /// As rustls keeps them.
    pub fn store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        if self.certs.is_empty() {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        } else {
            let certs = self.certs.iter().map(|c| CertificateDer::from(c.der()));
            store.add_parsable_certificates(certs);
        }
        store
    }

    /// For rustls itself, TLS 1.2 and 1.3.
    pub fn rustls(&self) -> Result<Arc<ClientConfig>, TlsError> {
        Ok(Arc::new(
            ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()?
                .with_root_certificates(self.store())
                .with_no_client_auth(),
        ))
    }
}

fn read_pem(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |reason: String| TlsError::CaFile {
        path: path.to_owned(),
        reason,
    };
    let certs = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| match why {
            rustls::pki_types::pem::Error::Io(io) => unreadable(io.to_string()),
            other => unreadable(format!("not PEM: {other}")),
        })?;
    // What rustls would pass over in silence must not look like trust.
    let mut trial = RootCertStore::empty();
    let (usable, _) = trial.add_parsable_certificates(certs.iter().cloned());
    if usable == 0 {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(certs)
}

/// ring, named explicitly: a process default that nobody has installed would panic. Without AES
/// instructions the ChaCha20 suites come first: there they are several times as fast.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| {
            let mut provider = rustls::crypto::ring::default_provider();
            let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            if !has_aes(&cpu) {
                // Stable: within each half rustls' own order stays.
                provider
                    .cipher_suites
                    .sort_by_key(|suite| !is_chacha(suite.suite()));
            }
            Arc::new(provider)
        })
        .clone()
}

fn is_chacha(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// Whether `/proc/cpuinfo` names AES among the first processor's flags (x86) or features (ARM).
fn has_aes(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| matches!(key.trim(), "flags" | "Features"))
        .is_some_and(|(_, flags)| flags.split_whitespace().any(|f| f == "aes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aes_is_read_from_either_cpuinfo() {
        assert!(has_aes("processor\t: 0\nflags\t\t: fpu sse2 aes avx\n"));
        assert!(has_aes("Features\t: fp asimd evtstrm aes pmull\n"));
        assert!(!has_aes("Features\t: half thumb neon vfpv4\n"));
        assert!(!has_aes(
            "model name : with aes in it\nFeatures : vaes_like\n"
        ));
        assert!(!has_aes(""));
    }

    #[test]
    fn a_ca_file_must_hold_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let missing = Roots::load(Some(&path)).unwrap_err();
        assert!(missing.to_string().contains("ca.pem"), "{missing}");
        for text in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let why = Roots::load(Some(&path)).unwrap_err();
            assert!(
                matches!(why, TlsError::NoCertificate { .. }),
                "{text:?}: {why}"
            );
        }
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n%%\n").unwrap();
        assert!(matches!(
            Roots::load(Some(&path)),
            Err(TlsError::CaFile { .. })
        ));
    }

    #[test]
    fn a_ca_file_is_added_and_a_failure_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let trust = TrustStore::new(Some(path.clone()));
        assert!(trust.roots().is_err());
        let ca = rcgen::generate_simple_self_signed(vec!["ca.test".to_owned()]).unwrap();
        std::fs::write(&path, ca.cert.pem()).unwrap();
        let roots = trust.roots().unwrap();
        assert_eq!(roots.origin(), Origin::CaFile);
        let der: &[u8] = ca.cert.der();
        assert!(roots.certs.iter().any(|c| c.der() == der));
        assert!(roots.rustls().is_ok());
        std::fs::remove_file(&path).unwrap();
        assert!(Arc::ptr_eq(&roots, &trust.roots().unwrap()));
    }

    #[test]
    fn bundled_roots_serve_where_there_are_no_others() {
        let roots = Roots {
            certs: Arc::default(),
            origin: Origin::Bundled,
        };
        assert!(roots.rustls().is_ok());
        assert!(matches!(roots.ureq().root_certs(), RootCerts::WebPki));
    }

    #[test]
    fn chacha_can_come_first() {
        let mut suites = rustls::crypto::ring::default_provider().cipher_suites;
        suites.sort_by_key(|s| !is_chacha(s.suite()));
        assert!(suites[..3].iter().all(|s| is_chacha(s.suite())));
    }
}
