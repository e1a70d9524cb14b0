//! What differs between two configurations, and what of it a running daemon can take (contract 2).

use super::row::{Change, Keys as _};
use super::{Config, Takes};

/// What a reload from `old` to `new` changes, in the file's order.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut out = Vec::new();
    Config::changes(old, new, &mut out);
    if is_elsewhere(old, new) {
        for change in out.iter_mut().filter(|change| change.key == "rcs.token") {
            change.takes = Takes::Restart;
        }
    }
    out
}

/// RCS is to be found elsewhere, after a restart: a token for there is none for here.
fn is_elsewhere(old: &Config, new: &Config) -> bool {
    old.rcs.base_url != new.rcs.base_url
}

impl Config {
    /// Swaps in what can change in a running daemon. What waits for a restart keeps its old value,
    /// so that the next reload names it again.
    pub fn take_over(&mut self, new: &Self) -> Vec<Change> {
        let changes = changes(self, new);
        let token = is_elsewhere(self, new).then(|| self.rcs.token.clone());
        self.reload(new);
        if let Some(token) = token {
            self.rcs.token = token;
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Input, parse};

    fn config(yaml: &str) -> Config {
        let mut input = Input::new("lss.yaml", yaml.as_bytes());
        input.standalone = true;
        parse(&input).unwrap().config
    }

    fn between(old: &str, new: &str) -> Vec<(&'static str, Takes)> {
        changes(&config(old), &config(new))
            .into_iter()
            .map(|change| (change.key, change.takes))
            .collect()
    }

    #[test]
    fn nothing_changed_is_nothing() {
        let yaml =
            "server: { api_token: canary-token-0123456789 }\ncamera: { scan_enabled: false }\n";
        assert_eq!(between(yaml, yaml), []);
    }

    #[test]
    fn what_changes_now_and_what_waits() {
        assert_eq!(
            between(
                "camera: { scan_enabled: false }\n",
                "server: { port: 9999 }\nlss: { ffmpeg: { max_retries: 7 } }\ncamera: { scan_enabled: false }\nlog: { level: debug }\n",
            ),
            [
                ("server.port", Takes::Restart),
                ("lss.ffmpeg.max_retries", Takes::Now),
                ("log.level", Takes::Now),
            ]
        );
    }

    #[test]
    fn a_token_changes_now_but_does_not_vanish() {
        let with = |token: &str| format!("server: {{ api_token: '{token}' }}\n");
        let (one, two) = ("canary-token-0123456789", "canary-token-9876543210");
        assert_eq!(
            between(&with(one), &with(two)),
            [("server.api_token", Takes::Now)]
        );
        assert_eq!(
            between(&with(one), "mode: standalone\n"),
            [("server.api_token", Takes::Restart)]
        );
    }

    #[test]
    fn a_token_for_another_rcs_waits_with_its_address() {
        let with = |url: &str, token: &str| {
            config(&format!("rcs: {{ base_url: '{url}', token: '{token}' }}\n"))
        };
        let mut runs = with("https://one.example", "canary-token-1");
        let new = with("https://two.example", "canary-token-2");
        let told: Vec<_> = runs.take_over(&new);
        let told: Vec<_> = told.into_iter().map(|c| (c.key, c.takes)).collect();
        let waits = [
            ("rcs.base_url", Takes::Restart),
            ("rcs.token", Takes::Restart),
        ];
        assert_eq!(told, waits);
        let token = |config: &Config| config.rcs.token.as_ref().map(|t| t.expose().to_owned());
        assert_eq!(token(&runs).as_deref(), Some("canary-token-1"));
        let new = with("https://one.example", "canary-token-3");
        runs.take_over(&new);
        assert_eq!(token(&runs).as_deref(), Some("canary-token-3"));
    }

    #[test]
    fn what_waits_for_a_restart_is_named_at_every_reload_until_then() {
        let token = "canary-token-0123456789";
        let mut runs = config(&format!("server: {{ api_token: '{token}' }}"));
        let new = config("server: { port: 9999 }\nlog: { level: debug }\n");
        let waits = [
            ("server.port", Takes::Restart),
            ("server.api_token", Takes::Restart),
        ];
        for now in [vec![("log.level", Takes::Now)], vec![]] {
            let told: Vec<_> = runs
                .take_over(&new)
                .into_iter()
                .map(|change| (change.key, change.takes))
                .collect();
            assert_eq!(told, [waits.to_vec(), now].concat());
            assert_eq!(runs.server.port, 10_060);
            assert_eq!(runs.server.api_token.as_ref().unwrap().expose(), token);
            assert_eq!(runs.log.level, log::LevelFilter::Debug);
        }
    }
}
