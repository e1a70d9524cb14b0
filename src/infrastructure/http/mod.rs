//! HTTP as cameras need it: login schemes, and a client that knows how far a request got.

pub mod camera_client;
pub mod digest;
pub mod login_client;
pub mod response;
