//! What must hold at the end of a simulation.

use std::collections::{BTreeMap, BTreeSet};

use lss::infrastructure::ably::connection::ledger::PLACES;
use lss::infrastructure::ably::connection::types::{ChannelState, ConnectionState};

use super::sim::{CLIENT, MINUTE, REGISTRY, STATUS, Sim, millis};

impl Sim {
    pub fn check(&self) {
        assert_eq!(self.model.violations, Vec::<String>::new());

        // Commands: none lost, none twice, none from nowhere.
        let got: Vec<&str> = self
            .delivered
            .iter()
            .map(|(d, _)| d.message.id.as_deref().unwrap())
            .collect();
        let unique: BTreeSet<&str> = got.iter().copied().collect();
        assert_eq!(got.len(), unique.len(), "a command was delivered twice");
        let owed = self.owed();
        let lost: Vec<&&str> = owed.difference(&unique).collect();
        assert!(lost.is_empty(), "commands lost: {lost:?}");
        // In a storm that never ends nothing may be owed.
        assert!(!owed.is_empty() || self.weather.calm < MINUTE);

        // Results: none lost, none twice.
        let status = &self.model.channels[STATUS];
        let arrived: Vec<&str> = status
            .log
            .iter()
            .map(|(id, _)| id.as_str())
            .filter(|id| id.starts_with("r-"))
            .collect();
        let unique: BTreeSet<&str> = arrived.iter().copied().collect();
        assert_eq!(arrived.len(), unique.len(), "a result was published twice");
        assert_eq!(unique.len(), self.published.len(), "results were lost");
        let acked: BTreeSet<&String> = self
            .acked
            .iter()
            .filter(|id| id.starts_with("r-"))
            .collect();
        assert_eq!(acked.len(), self.published.len(), "results were not acked");

        // At the end: up, one member, nothing left over.
        let end = self.machine.status();
        assert_eq!(end.connection.state, ConnectionState::Connected);
        assert_eq!(end.commands.state, ChannelState::Attached);
        assert_eq!(end.registry.state, ChannelState::Attached);
        assert_eq!((end.results_waiting, end.publishes_waiting), (0, 0));
        assert_eq!((end.result_bytes, end.commands_held), (0, 0));
        assert!(end.present);
        let members = self.model.channels[REGISTRY].member_clients();
        assert_eq!(members, [CLIENT], "one presence member");
        assert!(self.most_waiting <= PLACES);

        // No tight reconnect loop: a round has three hosts at most.
        for (i, first) in self.attempts.iter().enumerate() {
            let burst = self.attempts[i..]
                .iter()
                .take_while(|at| **at < first + 10_000);
            assert!(burst.count() <= 18, "attempts: {:?}", &self.attempts[i..]);
        }
    }

    /// Ages, where they are known, are true.
    pub fn check_ages(&self) {
        let made: BTreeMap<&str, i64> = self
            .commands
            .iter()
            .map(|(id, at)| (id.as_str(), *at))
            .collect();
        for (delivery, at) in &self.delivered {
            let mono = self.start.mono + millis(*at);
            if let Some(age) = delivery.age(mono) {
                let truth = at - made[delivery.message.id.as_deref().unwrap()];
                let error = (i64::try_from(age.as_millis()).unwrap() - truth).abs();
                assert!(error <= self.weather.latency + 1, "age off by {error} ms");
            }
        }
    }
}
