//! The doors lss is spoken to through: the local REST API, and what it shares with the cloud's
//! commands. Turns wire shapes into requests to the application and its answers into wire
//! shapes. Knows no process, no camera protocol and no cloud socket.

pub mod camera_wire;
pub mod command;
pub mod decode;
pub mod doctor;
pub mod fit_wire;
pub mod rest;
mod shown_command;
pub mod wire;
