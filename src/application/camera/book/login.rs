//! User and password of a camera, and what may be said of them.

use std::fmt;

use crate::domain::error::{ErrorCode, Fault};
use crate::util::secret::Secret;

/// Longest user name and password, in bytes.
const MAX_LEN: usize = 256;

/// User and password. Shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password; may be empty.
    pub password: Secret,
}

impl Login {
    /// Checks what came from outside: 20003 for what no header could carry. The fault shows
    /// neither.
    pub fn parse(user: &str, password: &Secret) -> Result<Self, Fault> {
        for (field, text) in [("username", user), ("password", password.expose())] {
            if text.len() > MAX_LEN || text.chars().any(char::is_control) {
                return Err(Fault::new(
                    ErrorCode::ParamInvalid,
                    format!("{field} must be at most {MAX_LEN} bytes without control characters"),
                ));
            }
        }
        if user.is_empty() {
            return Err(Fault::new(ErrorCode::ParamMissing, "username is empty"));
        }
        Ok(Self {
            user: user.to_owned(),
            password: password.clone(),
        })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_pass_and_control_characters_do_not() {
        let password = Secret::new("p@ss:w/ö&<\"'>%#? x");
        let login = Login::parse("ad:m\"in é", &password).unwrap();
        assert_eq!(login.password, password);
        assert_eq!(format!("{login:?}"), "Login(***)");
        for (user, password) in [("a\r\nb", "x"), ("a", "x\0"), ("a", "x\u{7f}"), ("", "x")] {
            assert!(Login::parse(user, &Secret::new(password)).is_err());
        }
        assert!(Login::parse(&"u".repeat(257), &password).is_err());
    }
}
