//! Logins as strict cameras check them: Digest in all its forms, nonces that age, accounts that
//! lock. Written apart from lss's own Digest code, so that no mistake is made on both sides.

use std::collections::HashMap;
use std::fmt::Write as _;

use md5::Digest as _;

use super::camera_http::Incoming;

/// How a gate asks for a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    Basic,
    Md5,
    Md5Sess,
    Sha256,
    Sha256Sess,
}

impl Offer {
    fn name(self) -> &'static str {
        match self {
            Self::Basic => "",
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Sess => "SHA-256-sess",
        }
    }

    fn hash(self, text: &str) -> String {
        let bytes = match self {
            Self::Sha256 | Self::Sha256Sess => sha2::Sha256::digest(text).to_vec(),
            _ => md5::Md5::digest(text).to_vec(),
        };
        bytes.iter().fold(String::new(), |mut out, b| {
            let _ = write!(out, "{b:02x}");
            out
        })
    }
}

/// The rules of a gate. `Default` = MD5, qop, nonces good for ever and anywhere.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "independent quirks")]
pub struct GateRules {
    pub user: String,
    pub password: String,
    pub realm: String,
    /// In the order in which they are offered.
    pub offers: Vec<Offer>,
    /// All in one header instead of one each.
    pub one_header: bool,
    pub qop: bool,
    pub opaque: Option<String>,
    /// How often a nonce is taken.
    pub nonce_uses: Option<u32>,
    /// Whether an old nonce is called stale, or just refused.
    pub says_stale: bool,
    /// An old nonce gets 403 without a challenge.
    pub old_is_403: bool,
    /// A nonce is good on its connection only.
    pub bound_to_connection: bool,
    /// A nonce is good for one target only.
    pub bound_to_target: bool,
    /// Wrong passwords until the account is locked.
    pub lock_after: Option<u32>,
    /// More accounts: user and password.
    pub others: Vec<(String, String)>,
}

impl Default for GateRules {
    fn default() -> Self {
        Self {
            user: "admin".to_owned(),
            password: "p@ss \"w&ö<rd".to_owned(),
            realm: "IP Camera(F1598)".to_owned(),
            offers: vec![Offer::Md5],
            one_header: false,
            qop: true,
            opaque: None,
            nonce_uses: None,
            says_stale: true,
            old_is_403: false,
            bound_to_connection: false,
            bound_to_target: false,
            lock_after: None,
            others: Vec::new(),
        }
    }
}

impl GateRules {
    /// The password of an account.
    pub fn password_of(&self, user: &str) -> Option<&str> {
        if user == self.user {
            return Some(&self.password);
        }
        let other = self.others.iter().find(|(name, _)| name == user);
        other.map(|(_, password)| password.as_str())
    }
}

struct NonceState {
    offer: Offer,
    connection: usize,
    target: Option<String>,
    last_nc: u32,
    uses: u32,
}

/// Checks logins, strictly.
pub struct Gate {
    pub rules: GateRules,
    nonces: HashMap<String, NonceState>,
    issued: u32,
    /// Wrong passwords since the last right one.
    pub wrong: u32,
    /// All wrong passwords.
    pub refused: u32,
    /// Requests without any login.
    pub strangers: u32,
    /// Who was let in last.
    pub user: String,
    /// Answers to old nonces.
    pub stale: u32,
    /// Violations of the protocol by the client, in words. A test wants none.
    pub violations: Vec<String>,
}

/// What a gate says.
pub enum Verdict {
    Pass,
    /// 401 or 403, with its challenges; the protocol adds its body.
    Stop {
        status: u16,
        headers: Vec<(String, String)>,
        locked: bool,
        tries_left: Option<u32>,
    },
}

impl Gate {
    pub fn new(rules: GateRules) -> Self {
        Self {
            rules,
            nonces: HashMap::new(),
            issued: 0,
            wrong: 0,
            refused: 0,
            strangers: 0,
            user: String::new(),
            stale: 0,
            violations: Vec::new(),
        }
    }

    pub fn is_locked(&self) -> bool {
        self.rules.lock_after.is_some_and(|n| self.wrong >= n)
    }

    pub fn judge(&mut self, request: &Incoming) -> Verdict {
        if self.is_locked() {
            return Verdict::Stop {
                status: 401,
                headers: Vec::new(),
                locked: true,
                tries_left: Some(0),
            };
        }
        let Some(login) = request.header("Authorization").map(str::to_owned) else {
            self.strangers += 1;
            return self.challenge(request, false);
        };
        if let Some(encoded) = login.strip_prefix("Basic ") {
            return self.basic(encoded, request);
        }
        let Some(params) = login.strip_prefix("Digest ") else {
            return self.violation(request, "unknown scheme");
        };
        let params = split_params(params);
        self.digest(&params, request)
    }

    fn basic(&mut self, encoded: &str, request: &Incoming) -> Verdict {
        use base64::Engine as _;
        if !self.rules.offers.contains(&Offer::Basic) {
            return self.violation(request, "Basic sent to a camera that never offered it");
        }
        let expected = format!("{}:{}", self.rules.user, self.rules.password);
        let expected = base64::engine::general_purpose::STANDARD.encode(expected);
        if encoded == expected {
            self.wrong = 0;
            self.user = self.rules.user.clone();
            return Verdict::Pass;
        }
        self.refuse(request)
    }

    fn digest(&mut self, params: &HashMap<String, String>, request: &Incoming) -> Verdict {
        let get = |name: &str| params.get(name).map_or("", String::as_str);
        let nonce = get("nonce").to_owned();
        let Some(state) = self.nonces.get_mut(&nonce) else {
            return self.old(request);
        };
        let offer = state.offer;
        let spent = self.rules.nonce_uses.is_some_and(|n| state.uses >= n)
            || (self.rules.bound_to_connection && state.connection != request.connection)
            || (self.rules.bound_to_target
                && state.target.as_ref().is_some_and(|t| *t != request.target));
        if spent {
            return self.old(request);
        }
        if get("uri") != request.target {
            return self.violation(request, "uri is not the request target");
        }
        if get("realm") != self.rules.realm {
            return self.violation(request, "another realm");
        }
        if params.get("opaque").cloned() != self.rules.opaque {
            return self.violation(request, "opaque not echoed");
        }
        if offer != Offer::Md5 && get("algorithm") != offer.name() {
            return self.violation(request, "algorithm not named");
        }
        let sess = matches!(offer, Offer::Md5Sess | Offer::Sha256Sess);
        let mut middle = String::new();
        if self.rules.qop {
            let nc = get("nc");
            let count = u32::from_str_radix(nc, 16).unwrap_or(0);
            if nc.len() != 8 || get("qop") != "auth" || get("cnonce").is_empty() {
                return self.violation(request, "qop, nc or cnonce missing");
            }
            if count <= state.last_nc {
                return self.violation(request, "nc does not rise");
            }
            state.last_nc = count;
            middle = format!("{nc}:{}:auth:", get("cnonce"));
        } else if params.contains_key("qop") || params.contains_key("nc") {
            return self.violation(request, "qop where none was offered");
        }
        let user = get("username");
        let known = self.rules.password_of(user);
        let password = known.unwrap_or_default();
        let mut ha1 = offer.hash(&format!("{user}:{}:{password}", self.rules.realm));
        if sess {
            ha1 = offer.hash(&format!("{ha1}:{nonce}:{}", get("cnonce")));
        }
        let ha2 = offer.hash(&format!("{}:{}", request.method, request.target));
        let expected = offer.hash(&format!("{ha1}:{nonce}:{middle}{ha2}"));
        if known.is_none() || get("response") != expected {
            return self.refuse(request);
        }
        state.uses += 1;
        state.target = Some(request.target.clone());
        self.wrong = 0;
        user.clone_into(&mut self.user);
        Verdict::Pass
    }

    fn old(&mut self, request: &Incoming) -> Verdict {
        self.stale += 1;
        if self.rules.old_is_403 {
            return Verdict::Stop {
                status: 403,
                headers: Vec::new(),
                locked: false,
                tries_left: None,
            };
        }
        let stale = self.rules.says_stale;
        self.challenge(request, stale)
    }

    fn refuse(&mut self, request: &Incoming) -> Verdict {
        self.wrong += 1;
        self.refused += 1;
        let left = self.rules.lock_after.map(|n| n.saturating_sub(self.wrong));
        match self.challenge(request, false) {
            Verdict::Stop { headers, .. } => Verdict::Stop {
                status: 401,
                headers,
                locked: false,
                tries_left: left,
            },
            Verdict::Pass => unreachable!(),
        }
    }

    fn violation(&mut self, request: &Incoming, what: &str) -> Verdict {
        self.violations
            .push(format!("{} {}: {what}", request.method, request.target));
        self.refuse(request)
    }

    pub fn challenge(&mut self, request: &Incoming, stale: bool) -> Verdict {
        let mut challenges = Vec::new();
        for offer in self.rules.offers.clone() {
            if offer == Offer::Basic {
                challenges.push(format!("Basic realm=\"{}, x\"", self.rules.realm));
                continue;
            }
            self.issued += 1;
            let nonce = format!(
                "{:08x}{}",
                self.issued,
                offer.hash(&self.issued.to_string())
            );
            let mut text = format!("Digest realm=\"{}\", nonce=\"{nonce}\"", self.rules.realm);
            if self.rules.qop {
                text.push_str(", qop=\"auth,auth-int\"");
            }
            if offer != Offer::Md5 {
                let _ = write!(text, ", algorithm={}", offer.name());
            }
            if let Some(opaque) = &self.rules.opaque {
                let _ = write!(text, ", opaque=\"{opaque}\"");
            }
            let _ = write!(text, ", stale=\"{}\"", if stale { "TRUE" } else { "FALSE" });
            challenges.push(text);
            self.nonces.insert(
                nonce,
                NonceState {
                    offer,
                    connection: request.connection,
                    target: None,
                    last_nc: 0,
                    uses: 0,
                },
            );
        }
        if self.rules.one_header {
            challenges = vec![challenges.join(", ")];
        }
        Verdict::Stop {
            status: 401,
            headers: challenges
                .into_iter()
                .map(|c| ("WWW-Authenticate".to_owned(), c))
                .collect(),
            locked: false,
            tries_left: None,
        }
    }
}

/// `a="b, \"c", d=e` → a: b, "c; d: e
fn split_params(text: &str) -> HashMap<String, String> {
    let mut out = HashMap::new();
    let mut chars = text.chars().peekable();
    loop {
        let name: String = std::iter::from_fn(|| chars.next_if(|c| *c != '=')).collect::<String>();
        if chars.next().is_none() {
            return out;
        }
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                value.push(c);
            }
        }
        out.insert(name.trim_matches([' ', ',']).to_owned(), value);
    }
}
