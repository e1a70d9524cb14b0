//! The cloud: RCS, and Ably.

use super::{Check, Datum};
use crate::domain::checkup::{AblyLook, RcsLook};

/// What is said of a login page.
const PORTAL: &str = "open any web page from this network: does it ask for a login? then get this \
    machine through (its MAC address allowed); else check the address in the configuration";

/// RCS, asked without registering. `token` = one is configured.
pub fn rcs(at: &str, look: &RcsLook, token: bool) -> Check {
    let check = match look {
        // Some servers answer so to every GET, others only where the path is wrong.
        RcsLook::Answers { status: 404 } => Check::warn(
            "rcs",
            "something answers like a web server (HTTP 404), and whether it is RCS is not certain",
            "is the path in rcs.base_url right? the daemon's log tells at once whether it could \
             register",
        )
        .with("status", Datum::Whole(404)),
        RcsLook::Answers { status } => {
            let login = if token {
                "rcs.token is not refused"
            } else {
                "it asks for no token here"
            };
            // A GET at a door for POST: a server that checks logins does so before it looks at
            // the method, but it need not.
            Check::pass(
                "rcs",
                format!("RCS answers (HTTP {status}), {login}; nothing was registered"),
            )
            .with("status", Datum::Whole(i64::from(*status)))
        }
        RcsLook::RefusesLogin(words) if token => Check::fail(
            "rcs",
            format!("RCS refuses rcs.token: {words}"),
            "copy the token anew from RCS into rcs.token; is it this RCS's?",
        ),
        RcsLook::RefusesLogin(words) => Check::fail(
            "rcs",
            format!("RCS wants a login and rcs.token is not set: {words}"),
            "set rcs.token to the token that RCS has given out",
        ),
        RcsLook::Foreign(words) => Check::fail(
            "rcs",
            format!("what answers in the place of RCS is not RCS: {words}"),
            PORTAL,
        ),
        RcsLook::Trouble(words) => Check::fail(
            "rcs",
            format!("RCS is in trouble itself: {words}"),
            "nothing to do here: tell whoever runs RCS",
        ),
        RcsLook::Unreachable(words) => Check::fail(
            "rcs",
            words,
            "see the dns, tcp and tls lines of this host; is rcs.base_url right?",
        ),
    };
    check.about(at)
}

/// Ably's own page for "is there an internet".
pub fn internet(host: &str, found: &Result<(), String>) -> Check {
    match found {
        Ok(()) => Check::pass("internet", "there is an internet, with nothing in between"),
        Err(why) => Check::fail(
            "internet",
            format!("no answer as it should be from Ably's own test page: {why}"),
            PORTAL,
        ),
    }
    .about(host)
}

/// A connection with our own login.
pub fn ably(look: &AblyLook) -> Check {
    match look {
        AblyLook::Connected { host, took, missed } => {
            let words = format!(
                "connected with our login in {} ms, and closed again",
                took.as_millis()
            );
            match missed {
                None => Check::pass("ably", words),
                Some((primary, why)) => Check::warn(
                    "ably",
                    format!("{words}; the usual host {primary} is not reached: {why}"),
                    "it works this way, and each connect takes longer: see the dns, tcp and tls \
                     lines of the usual host, and have it let out",
                ),
            }
            .about(host)
        }
        AblyLook::Refused { code, words } => refused(*code, words),
        AblyLook::NoToken(why) => Check::fail(
            "ably",
            format!("ably.auth_url gives no token: {why}"),
            "check ably.auth_url and ably.auth_headers, and the service behind them",
        ),
        AblyLook::Foreign(why) => Check::fail(
            "ably",
            format!("what answers in the place of Ably is not Ably: {why}"),
            PORTAL,
        ),
        AblyLook::Unreachable(why) => Check::fail(
            "ably",
            format!("Ably is not reached: {why}"),
            "see the dns, tcp and tls lines; websockets (wss, port 443) must be let out",
        ),
    }
}

fn refused(code: u32, words: &str) -> Check {
    let advice = match code {
        40_100..=40_105 | 40_400 | 40_005 | 40_006 => {
            "the key is wrong: copy it whole from Ably's dashboard (appId.keyId:secret) into \
             ABLY_API_KEY or ably.api_key"
        }
        40_130..=40_133 => "the key is switched off: make a new one in Ably's dashboard",
        40_140..=40_149 => "the token is not good: check ably.auth_url, and the clock",
        40_160..=40_169 => "give the key its capabilities: publish, subscribe and presence",
        40_110..=40_119 | 42_900..=42_999 => {
            "the Ably account is over its limits: look at its dashboard"
        }
        _ => "look the code up at help.ably.io/error/ and the account in Ably's dashboard",
    };
    let what = if (40_100..40_150).contains(&code) {
        "Ably refuses our login"
    } else {
        "Ably refuses us"
    };
    Check::fail("ably", format!("{what}: {words} ({code})"), advice)
        .with("code", Datum::Whole(i64::from(code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::whip_fit::Grade;

    #[test]
    fn a_wrong_key_is_said_plainly() {
        let check = ably(&AblyLook::Refused {
            code: 40_101,
            words: "invalid credentials".to_owned(),
        });
        assert_eq!(check.status, Grade::Fail);
        assert!(check.words.contains("login") && check.words.contains("40101"));
        assert!(check.advice.unwrap().contains("ABLY_API_KEY"));
        let other = ably(&AblyLook::Refused {
            code: 80_000,
            words: String::new(),
        });
        assert!(other.words.starts_with("Ably refuses us"));
    }

    #[test]
    fn what_rcs_said_and_whether_a_token_is_set() {
        let refuses = RcsLook::RefusesLogin("HTTP 401".to_owned());
        let with = rcs("h", &refuses, true);
        let without = rcs("h", &refuses, false);
        assert!(with.words.contains("refuses rcs.token"));
        assert!(without.words.contains("is not set"));
        assert_eq!((with.status, without.status), (Grade::Fail, Grade::Fail));
        let foreign = rcs("h", &RcsLook::Foreign("a page".to_owned()), true);
        assert!(foreign.advice.unwrap().contains("login"));
        assert_eq!(
            rcs("h", &RcsLook::Answers { status: 405 }, true).status,
            Grade::Pass
        );
    }
}
