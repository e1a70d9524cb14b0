//! What a WHIP endpoint's refusal means, and what to do about it: the same words, whoever published.
//!
//! Codes must not be tied to causes too closely (RFC 9725 4.1), so those that are not listed count by
//! their hundred.

use crate::domain::stream::Cause;

/// One answer, or all of a hundred.
#[derive(Debug)]
pub(in crate::infrastructure) struct Row {
    /// Status codes; one below 10 is a hundred of them.
    pub(in crate::infrastructure) statuses: &'static [u16],
    /// What they mean.
    pub(in crate::infrastructure) cause: Cause,
    /// In words. Behind a final blank the status follows in brackets.
    pub(in crate::infrastructure) says: &'static str,
}

const fn row(statuses: &'static [u16], cause: Cause, says: &'static str) -> Row {
    Row {
        statuses,
        cause,
        says,
    }
}

/// Of rows that fit, the first counts.
#[rustfmt::skip]
pub(in crate::infrastructure) const ROWS: &[Row] = {
    use Cause::{WhipAuth, WhipGone, WhipOffer, WhipStream, WhipUnreachable};
    &[
        row(&[400, 422], WhipOffer, "the WHIP endpoint refused the offer "),
        row(&[401], WhipAuth, "the WHIP endpoint refused the login (401)"),
        row(&[402], WhipStream, "the WHIP endpoint wants to be paid (402): is the account's quota used up, a bill open?"),
        row(&[403], WhipAuth, "the WHIP endpoint denied access (403)"),
        row(&[404], WhipGone, "there is no such WHIP endpoint (404)"),
        row(&[405], WhipStream, "nothing can be published there (405): is whipUrl a player's or a page's address?"),
        row(&[406], WhipStream, "the WHIP endpoint can't answer with a session description (406): is whipUrl right?"),
        row(&[408], WhipUnreachable, "the WHIP endpoint did not get the whole offer in time (408): is the uplink overloaded?"),
        row(&[409], WhipUnreachable, "the WHIP endpoint is taken by another publisher (409)"),
        row(&[410], WhipGone, "the WHIP endpoint is gone (410)"),
        row(&[413], WhipStream, "the offer is too long for the WHIP endpoint (413): is there a proxy in between?"),
        row(&[415], WhipStream, "the WHIP endpoint takes no session descriptions (415): is whipUrl right?"),
        row(&[429], WhipUnreachable, "the WHIP endpoint is asked too often (429)"),
        row(&[503], WhipUnreachable, "the WHIP endpoint is overloaded or being maintained (503)"),
        row(&[4], WhipStream, "the WHIP endpoint refused the stream "),
        row(&[5], WhipUnreachable, "the WHIP endpoint has trouble of its own "),
    ]
};

/// Its host has no address.
pub const NO_NAME: &str = "the WHIP endpoint's host name can't be resolved";
/// Its host refuses the connection.
pub const REFUSED: &str = "the WHIP endpoint refused the connection";
/// It is silent.
pub const SILENT: &str = "the WHIP endpoint does not answer (timed out)";
/// Its certificate is refused.
pub const NOT_TRUSTED: &str = "the WHIP endpoint's certificate is not trusted: is the clock right, \
                               are the system's certificates there?";
/// It hangs up.
pub const CLOSED: &str = "the WHIP endpoint closed the connection without an answer";
/// A portal's page came back.
pub const WEB_PAGE: &str = "a web page came back where the WHIP endpoint's answer should be: is a \
                            login page (captive portal, proxy) in between, is whipUrl right?";
/// What came back is no answer.
pub const NO_ANSWER: &str =
    "the WHIP endpoint answered with something that is no usable session description";

/// Of an answer that is no success; `None` for what is none of HTTP's refusals.
pub fn refused(status: u16) -> Option<(Cause, String)> {
    let row = ROWS.iter().find(|row| {
        row.statuses
            .iter()
            .any(|known| *known == status || (*known < 10 && *known == status / 100))
    })?;
    let says = if row.says.ends_with(' ') {
        format!("{}({status})", row.says)
    } else {
        row.says.to_owned()
    };
    Some((row.cause, says))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_counts_by_itself_and_else_by_its_hundred() {
        for (status, cause, words) in [
            (400, Cause::WhipOffer, "refused the offer (400)"),
            (401, Cause::WhipAuth, "(401)"),
            (404, Cause::WhipGone, "no such"),
            (409, Cause::WhipUnreachable, "another publisher"),
            (418, Cause::WhipStream, "refused the stream (418)"),
            (429, Cause::WhipUnreachable, "too often"),
            (500, Cause::WhipUnreachable, "trouble of its own (500)"),
            (503, Cause::WhipUnreachable, "maintained"),
        ] {
            let (found, says) = refused(status).unwrap();
            assert_eq!(found, cause, "{status}");
            assert!(says.contains(words), "{says}");
        }
        for odd in [0, 100, 201, 302, 600] {
            assert_eq!(refused(odd), None, "{odd}");
        }
    }
}
