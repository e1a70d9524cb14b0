//! Small tools that know nothing of lss: secrets, URLs, time, networks.

pub mod cidr;
pub mod secret;
pub mod time;
pub mod url;
