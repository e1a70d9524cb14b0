//! Small tools that know nothing of lss: secrets, URLs, time, networks, addresses.

pub mod address;
pub mod cidr;
pub mod secret;
pub mod time;
pub mod url;
