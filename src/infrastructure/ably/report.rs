//! What the client does, as log lines for an operator. No secret is in them: the machine's words
//! carry none.

use super::connection::Machine;
use super::connection::types::{ChannelState, ConnectionState, Output, StateChange};
use super::frame::ErrorInfo;

/// Logs what is worth it.
pub(super) fn report(output: &Output, machine: &Machine) {
    match output {
        Output::Connection(change) => log_connection(change, &machine.status().host),
        Output::Channel(name, change) => log_channel(name, change),
        Output::Note(text) => log::warn!(reason = text.as_str(); "Ably"),
        Output::ContinuityLost { rewinding, reason } => {
            log::warn!(reason = words(reason.as_ref()).as_str(), rewinding = *rewinding;
                "Ably did not keep every command for us");
        }
        Output::Refused {
            id, channel, why, ..
        } => {
            log::warn!(message = id.as_str(), channel = channel.as_str(),
                reason = why.to_string().as_str(); "a publish was refused");
        }
        Output::PresenceRefused(error) => {
            log::warn!(reason = error.to_string().as_str(), code = 91004;
                "our presence was refused");
        }
        Output::LinkLost => {
            log::warn!("the link to Ably does not answer while a camera is being moved");
        }
        Output::ClonedMachineId(true) => {
            log::error!("another node uses this node's machine id: both execute its commands");
        }
        Output::ClonedMachineId(false) => {
            log::info!("nobody else uses this node's machine id any more");
        }
        _ => {}
    }
}

fn words(reason: Option<&ErrorInfo>) -> String {
    reason.map_or_else(String::new, ToString::to_string)
}

fn log_connection(change: &StateChange<ConnectionState>, host: &str) {
    let reason = words(change.reason.as_ref());
    let state = change.state.name();
    match change.state {
        ConnectionState::Connecting => {
            log::debug!(state = state, host = host; "Ably connection");
        }
        ConnectionState::Failed => {
            log::error!(state = state, host = host, reason = reason.as_str();
                "Ably refuses us; it is tried again in a minute or more");
        }
        ConnectionState::Disconnected | ConnectionState::Suspended => {
            log::warn!(state = state, host = host, reason = reason.as_str(); "Ably connection");
        }
        _ => {
            log::info!(state = state, host = host, reason = reason.as_str(); "Ably connection");
        }
    }
}

fn log_channel(name: &str, change: &StateChange<ChannelState>) {
    let reason = words(change.reason.as_ref());
    let state = change.state.name();
    match change.state {
        ChannelState::Failed => {
            log::error!(channel = name, state = state, reason = reason.as_str(); "Ably channel");
        }
        ChannelState::Suspended => {
            log::warn!(channel = name, state = state, reason = reason.as_str(); "Ably channel");
        }
        ChannelState::Attached => {
            log::info!(channel = name, state = state, resumed = change.resumed,
                reason = reason.as_str(); "Ably channel");
        }
        _ => log::debug!(channel = name, state = state, reason = reason.as_str(); "Ably channel"),
    }
}
