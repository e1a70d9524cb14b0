//! Small tools that know nothing of lss: secrets, foreign text, URLs, addresses, time, networks.

pub mod address;
pub mod cidr;
pub mod foreign;
pub mod places;
pub mod secret;
pub mod time;
pub mod url;
