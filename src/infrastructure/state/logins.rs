//! The file of refused logins. Knows the format; what it means is the guard's.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::domain::login_memory::{KeptAccount, KeptPassword, LoginMemory, Seal};

/// Its name in the state directory.
pub const FILE: &str = "logins.json";
/// Longest that is read: many times what is written.
const MAX_FILE: u64 = 1024 * 1024;
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    version: u32,
    salt: String,
    written: u64,
    accounts: Vec<AccountShape>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountShape {
    who: String,
    refusals: Vec<u64>,
    locked_until: Option<u64>,
    passwords: Vec<PasswordShape>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PasswordShape {
    which: String,
    worked: bool,
    until: Option<u64>,
    no_stream_until: Option<u64>,
}

/// What is kept; `None` where nothing is yet, and in words why it can't be used.
pub fn read(dir: &Path) -> Result<Option<LoginMemory>, String> {
    let bytes = super::read(dir, FILE, MAX_FILE).map_err(|why| why.to_string())?;
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let shape: Shape = serde_json::from_slice(&bytes).map_err(|why| format!("damaged: {why}"))?;
    if shape.version != VERSION {
        return Err(format!("of another version ({})", shape.version));
    }
    memory(&shape).map(Some).ok_or("damaged".to_owned())
}

/// Keeps it.
pub fn write(dir: &Path, memory: &LoginMemory) -> io::Result<()> {
    let shape = Shape {
        version: VERSION,
        salt: hex(&memory.salt),
        written: millis(memory.written),
        accounts: memory.accounts.iter().map(account_shape).collect(),
    };
    super::write(dir, FILE, &serde_json::to_vec(&shape)?)
}

/// The beginning: a salt, and nothing kept.
pub fn fresh(now: SystemTime) -> io::Result<LoginMemory> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(io::Error::other)?;
    Ok(LoginMemory {
        salt,
        written: now,
        accounts: Vec::new(),
    })
}

fn account_shape(account: &KeptAccount) -> AccountShape {
    AccountShape {
        who: hex(&account.who),
        refusals: account.refusals.iter().map(|at| millis(*at)).collect(),
        locked_until: account.locked_until.map(millis),
        passwords: account
            .passwords
            .iter()
            .map(|password| PasswordShape {
                which: hex(&password.which),
                worked: password.worked,
                until: password.until.map(millis),
                no_stream_until: password.no_stream_until.map(millis),
            })
            .collect(),
    }
}

fn memory(shape: &Shape) -> Option<LoginMemory> {
    let accounts: Option<Vec<KeptAccount>> = shape.accounts.iter().map(account).collect();
    Some(LoginMemory {
        salt: unhex(&shape.salt)?,
        written: moment(shape.written)?,
        accounts: accounts?,
    })
}

fn account(shape: &AccountShape) -> Option<KeptAccount> {
    let refusals: Option<Vec<SystemTime>> = shape.refusals.iter().copied().map(moment).collect();
    let passwords: Option<Vec<KeptPassword>> = shape.passwords.iter().map(password).collect();
    Some(KeptAccount {
        who: unhex(&shape.who)?,
        refusals: refusals?,
        locked_until: optional(shape.locked_until).ok()?,
        passwords: passwords?,
    })
}

fn password(shape: &PasswordShape) -> Option<KeptPassword> {
    let which: Seal = unhex(&shape.which)?;
    Some(KeptPassword {
        which,
        worked: shape.worked,
        until: optional(shape.until).ok()?,
        no_stream_until: optional(shape.no_stream_until).ok()?,
    })
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `None` for what no clock shows.
fn moment(millis: u64) -> Option<SystemTime> {
    // The year 10000.
    (millis < 253_402_300_800_000).then(|| UNIX_EPOCH + Duration::from_millis(millis))
}

/// `Err` for what no clock shows.
fn optional(millis: Option<u64>) -> Result<Option<SystemTime>, ()> {
    millis.map(|m| moment(m).ok_or(())).transpose()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut out = [0; N];
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some() -> LoginMemory {
        let at = UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        LoginMemory {
            written: at,
            accounts: vec![KeptAccount {
                who: [0xAB; 32],
                refusals: vec![at, at],
                locked_until: Some(at),
                passwords: vec![KeptPassword {
                    which: [1; 32],
                    worked: true,
                    until: None,
                    no_stream_until: Some(at),
                }],
            }],
            ..fresh(at).unwrap()
        }
    }

    #[test]
    fn what_is_kept_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), Ok(None));
        write(dir.path(), &some()).unwrap();
        let back = read(dir.path()).unwrap().unwrap();
        assert_eq!(back.accounts, some().accounts);
        assert_eq!(back.written, some().written);
        assert_ne!(
            fresh(back.written).unwrap().salt,
            fresh(back.written).unwrap().salt
        );
    }

    #[test]
    fn what_is_damaged_is_said() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &some()).unwrap();
        let good = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        for bad in [
            "",
            "{}",
            "null",
            &good[..good.len() / 2],
            &good.replace("\"version\":1", "\"version\":2"),
            &good.replace("abab", "abxx"),
            &good.replace("1800000000123", "18446744073709551615"),
            &good.replace("1800000000123", "-1"),
            &"x".repeat(2_000_000),
        ] {
            std::fs::write(dir.path().join(FILE), bad).unwrap();
            assert!(read(dir.path()).is_err(), "{}", &bad[..bad.len().min(200)]);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_make_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(FILE), bytes).unwrap();
            let _ = read(dir.path());
        }
    }
}
