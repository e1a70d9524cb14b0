//! What the lock-out guard keeps over a restart: which logins a camera has refused, without a login
//! in it.

use std::time::SystemTime;

/// A salted hash.
pub type Seal = [u8; 32];

/// All that is kept. Bounded by the guard that tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginMemory {
    /// Of the hashes; made once, and kept with them.
    pub salt: [u8; 16],
    /// When this was told, by the clock of then.
    pub written: SystemTime,
    /// Whose refusals still count.
    pub accounts: Vec<KeptAccount>,
}

/// A camera's address and a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAccount {
    /// Hash of address and user.
    pub who: Seal,
    /// Refusals that still count.
    pub refusals: Vec<SystemTime>,
    /// The camera has said so.
    pub locked_until: Option<SystemTime>,
    /// Passwords that are not to be tried.
    pub passwords: Vec<KeptPassword>,
}

/// A password of such an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptPassword {
    /// Hash of the account's hash and the password.
    pub which: Seal,
    /// It had worked before it was refused.
    pub worked: bool,
    /// Not tried before.
    pub until: Option<SystemTime>,
    /// Not tried by RTSP before.
    pub no_stream_until: Option<SystemTime>,
}
