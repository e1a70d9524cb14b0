//! Small tools that know nothing of lss: secrets, URLs, time.

pub mod secret;
pub mod time;
pub mod url;
