//! HTTP Digest and Basic logins (RFC 7616, RFC 2617, RFC 7617), without I/O.
//!
//! Owns challenges, nonces and their counts. Knows no socket, no clock and no random source:
//! client nonces are passed in. Serves HTTP and RTSP alike.

use std::io::Write as _;

use base64::Engine as _;
use md5::Md5;
use sha2::Sha256;

/// Most challenges taken from one response.
const MAX_CHALLENGES: usize = 16;

/// Hash and session form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5; also where the challenge names none.
    Md5,
    /// MD5 with a session key.
    Md5Sess,
    /// SHA-256.
    Sha256,
    /// SHA-256 with a session key.
    Sha256Sess,
}

impl Algorithm {
    fn parse(name: &[u8]) -> Option<Self> {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        match name.as_str() {
            "md5" => Some(Self::Md5),
            "md5-sess" => Some(Self::Md5Sess),
            // Without the dash: seen on cameras.
            "sha-256" | "sha256" => Some(Self::Sha256),
            "sha-256-sess" | "sha256-sess" => Some(Self::Sha256Sess),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Sess => "SHA-256-sess",
        }
    }

    fn is_sess(self) -> bool {
        matches!(self, Self::Md5Sess | Self::Sha256Sess)
    }

    /// Lower-case hex of the parts joined with `:`.
    fn hash(self, parts: &[&[u8]]) -> String {
        match self {
            Self::Md5 | Self::Md5Sess => hash_joined::<Md5>(parts),
            Self::Sha256 | Self::Sha256Sess => hash_joined::<Sha256>(parts),
        }
    }
}

fn hash_joined<D: sha2::Digest>(parts: &[&[u8]]) -> String {
    let mut hasher = D::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            hasher.update(b":");
        }
        hasher.update(part);
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a String can't fail.
        let _ = std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
    }
    hex
}

/// A Digest challenge. Realm, nonce and opaque are bytes: cameras send them in any encoding, and
/// they go back as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestChallenge {
    /// What the login is for.
    pub realm: Vec<u8>,
    /// The server's nonce.
    pub nonce: Vec<u8>,
    /// Echoed if it was there, also when empty.
    pub opaque: Option<Vec<u8>>,
    /// Hash.
    pub algorithm: Algorithm,
    /// Whether the challenge named the algorithm: then the answer does too.
    pub algorithm_named: bool,
    /// `qop=auth` is offered; else the answer has the form of RFC 2069.
    pub qop_auth: bool,
    /// The nonce of the last request was too old, the password was not wrong.
    pub stale: bool,
}

/// One way to log in that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Digest.
    Digest(DigestChallenge),
    /// Basic: the password all but in clear.
    Basic,
}

/// The schemes that a response asks for, as they stand in its headers: for telling which of them
/// nobody here can answer.
pub fn schemes<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    headers
        .into_iter()
        .flat_map(split_challenges)
        .take(MAX_CHALLENGES)
        .map(|raw| String::from_utf8_lossy(&raw.scheme).into_owned())
        .collect()
}

/// Every challenge that can be answered, from all `WWW-Authenticate` headers of a response.
/// Schemes, algorithms and qops that are not known are left out. Never fails: what can't be read
/// is no challenge.
pub fn parse_challenges<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Vec<Challenge> {
    let mut out = Vec::new();
    for header in headers {
        for raw in split_challenges(header) {
            if out.len() >= MAX_CHALLENGES {
                return out;
            }
            out.extend(raw.judge());
        }
    }
    out
}

/// SHA-256 before MD5, a session key before none, Digest before Basic; among equals the first.
pub fn strongest(challenges: &[Challenge]) -> Option<&Challenge> {
    // The first of the best: `max_by_key` would take the last.
    challenges.iter().rev().max_by_key(|c| match c {
        Challenge::Digest(d) => (1, Some(d.algorithm)),
        Challenge::Basic => (0, None),
    })
}

/// A scheme with its parameters, as they stand in the header.
struct RawChallenge {
    scheme: Vec<u8>,
    params: Vec<(Vec<u8>, Vec<u8>)>,
}

impl RawChallenge {
    fn param(&self, name: &str) -> Option<&[u8]> {
        self.params
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, v)| v.as_slice())
    }

    fn judge(&self) -> Option<Challenge> {
        if self.scheme.eq_ignore_ascii_case(b"basic") {
            return Some(Challenge::Basic);
        }
        if !self.scheme.eq_ignore_ascii_case(b"digest") {
            return None;
        }
        let named = self.param("algorithm").unwrap_or_default();
        // Where one challenge lists several, the first is what its server makes of a nonce: those
        // that take others, too, say so in challenges of their own.
        let algorithm = match items(named).next() {
            None => Algorithm::Md5,
            Some(_) => items(named).find_map(Algorithm::parse)?,
        };
        let qops = self.param("qop").unwrap_or_default();
        // An empty list offers nothing, as a missing one.
        let qop_auth = items(qops).any(|q| q.eq_ignore_ascii_case(b"auth"));
        if !qop_auth && items(qops).next().is_some() {
            // auth-int alone: no camera is known to ask for it.
            return None;
        }
        let nonce = self.param("nonce").filter(|n| !n.is_empty())?;
        Some(Challenge::Digest(DigestChallenge {
            realm: self.param("realm").unwrap_or_default().to_vec(),
            nonce: nonce.to_vec(),
            opaque: self.param("opaque").map(<[u8]>::to_vec),
            algorithm,
            algorithm_named: items(named).next().is_some(),
            qop_auth,
            stale: self
                .param("stale")
                .is_some_and(|s| s.eq_ignore_ascii_case(b"true")),
        }))
    }
}

/// The items of a list in any of the forms that cameras write: `a,b`, `a; b`, `a/b`, `a b`.
fn items(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|b| is_separator(*b) || *b == b'/')
        .filter(|item| !item.is_empty())
}

/// The comma that the RFCs have, and the semicolon that some cameras write for it.
fn is_separator(byte: u8) -> bool {
    matches!(byte, b',' | b';') || byte.is_ascii_whitespace()
}

/// Whether a token without a value goes on with the list that a parameter of this name began:
/// `qop=auth,auth-int` is one parameter to cameras that forget the quotes.
fn continues_list(name: &[u8], token: &[u8]) -> bool {
    if name.eq_ignore_ascii_case(b"qop") {
        token.eq_ignore_ascii_case(b"auth") || token.eq_ignore_ascii_case(b"auth-int")
    } else {
        name.eq_ignore_ascii_case(b"algorithm")
            && (Algorithm::parse(token).is_some()
                || token
                    .get(..3)
                    .is_some_and(|start| start.eq_ignore_ascii_case(b"sha")))
    }
}

/// Splits one header: a token followed by `=` is a parameter, any other token begins a challenge,
/// if it does not go on with a list. A separator inside quotes is data.
fn split_challenges(header: &[u8]) -> Vec<RawChallenge> {
    let mut out: Vec<RawChallenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = skip(rest, is_separator);
        if rest.is_empty() || out.len() > MAX_CHALLENGES {
            return out;
        }
        let (token, after) = split_while(rest, |b| !is_separator(b) && b != b'=' && b != b'"');
        let behind = skip(after, |b| b.is_ascii_whitespace());
        if let Some((b'=', value)) = behind.split_first() {
            let value = skip(value, |b| b.is_ascii_whitespace());
            let (text, next) = match value.split_first() {
                Some((b'"', quoted)) => quoted_string(quoted, b'"'),
                Some((b'\'', quoted)) if quoted.contains(&b'\'') => quoted_string(quoted, b'\''),
                _ => {
                    let (text, next) = split_while(value, |b| !is_separator(b));
                    (text.to_vec(), next)
                }
            };
            if let Some(current) = out.last_mut() {
                current.params.push((token.to_vec(), text));
            }
            rest = next;
        } else if token.is_empty() {
            // A stray quote: step over it.
            rest = after.split_first().map_or(&[], |(_, tail)| tail);
        } else if let Some((_, list)) = out
            .last_mut()
            .and_then(|challenge| challenge.params.last_mut())
            .filter(|(name, _)| continues_list(name, token))
        {
            list.push(b',');
            list.extend_from_slice(token);
            rest = after;
        } else {
            out.push(RawChallenge {
                scheme: token.to_vec(),
                params: Vec::new(),
            });
            rest = after;
        }
    }
}

fn skip(bytes: &[u8], what: impl Fn(u8) -> bool) -> &[u8] {
    split_while(bytes, what).1
}

fn split_while(bytes: &[u8], what: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|b| !what(*b)).unwrap_or(bytes.len());
    bytes.split_at(end)
}

/// Reads up to the closing quote, which may be missing.
fn quoted_string(mut rest: &[u8], quote: u8) -> (Vec<u8>, &[u8]) {
    let mut text = Vec::new();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            end if end == quote => break,
            b'\\' => {
                if let Some((&escaped, tail)) = rest.split_first() {
                    text.push(escaped);
                    rest = tail;
                }
            }
            other => text.push(other),
        }
    }
    (text, rest)
}

/// One nonce and how often it was used.
#[derive(Debug, Clone)]
pub struct Session {
    challenge: DigestChallenge,
    nc: u32,
    /// The client nonce of the session key (RFC 7616 3.4.2: made once for a nonce).
    sess_cnonce: Option<String>,
}

impl Session {
    /// Begins with the nonce of a challenge.
    pub fn new(challenge: DigestChallenge) -> Self {
        Self {
            challenge,
            nc: 0,
            sess_cnonce: None,
        }
    }

    /// How many requests have carried this nonce.
    pub fn used(&self) -> u32 {
        self.nc
    }

    /// The value of an `Authorization` header for one request; every call counts the nonce up.
    /// `uri` = the request target exactly as it is sent, query included. `cnonce` = fresh
    /// random text without quotes.
    pub fn authorization(
        &mut self,
        username: &str,
        password: &str,
        method: &str,
        uri: &str,
        cnonce: &str,
    ) -> Vec<u8> {
        self.nc = self.nc.saturating_add(1);
        let c = &self.challenge;
        let algorithm = c.algorithm;
        let cnonce = if algorithm.is_sess() {
            // Servers differ in which client nonce they take for the session key, the first or
            // the current one: with one and the same both are right.
            self.sess_cnonce
                .get_or_insert_with(|| cnonce.to_owned())
                .as_str()
        } else {
            cnonce
        };
        let mut ha1 = algorithm.hash(&[username.as_bytes(), &c.realm, password.as_bytes()]);
        if algorithm.is_sess() {
            ha1 = algorithm.hash(&[ha1.as_bytes(), &c.nonce, cnonce.as_bytes()]);
        }
        let ha2 = algorithm.hash(&[method.as_bytes(), uri.as_bytes()]);
        let nc = format!("{:08x}", self.nc);
        let response = if c.qop_auth {
            algorithm.hash(&[
                ha1.as_bytes(),
                &c.nonce,
                nc.as_bytes(),
                cnonce.as_bytes(),
                b"auth",
                ha2.as_bytes(),
            ])
        } else {
            algorithm.hash(&[ha1.as_bytes(), &c.nonce, ha2.as_bytes()])
        };

        let mut out = b"Digest username=".to_vec();
        quote(&mut out, username.as_bytes());
        for (name, value) in [
            ("realm", c.realm.as_slice()),
            ("nonce", c.nonce.as_slice()),
            ("uri", uri.as_bytes()),
            ("response", response.as_bytes()),
        ] {
            // Writing to a Vec can't fail.
            let _ = write!(out, ", {name}=");
            quote(&mut out, value);
        }
        if c.algorithm_named {
            let _ = write!(out, ", algorithm={}", algorithm.name());
        }
        if c.qop_auth {
            let _ = write!(out, ", qop=auth, nc={nc}, cnonce=\"{cnonce}\"");
        } else if algorithm.is_sess() {
            // The server needs it for the session key.
            let _ = write!(out, ", cnonce=\"{cnonce}\"");
        }
        if let Some(opaque) = &c.opaque {
            out.extend_from_slice(b", opaque=");
            quote(&mut out, opaque);
        }
        out
    }
}

/// A quoted-string. Control characters would end the header: they are left out, and the login
/// fails rather than the message.
fn quote(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        if !byte.is_ascii_control() {
            out.push(byte);
        }
    }
    out.push(b'"');
}

/// The value of an `Authorization` header for Basic.
pub fn basic_authorization(username: &str, password: &str) -> Vec<u8> {
    let both = format!("{username}:{password}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(both);
    format!("Basic {encoded}").into_bytes()
}

#[cfg(test)]
mod tests;
