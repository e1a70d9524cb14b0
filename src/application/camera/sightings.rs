//! What discovery asks of cameras: under the guard, in their lanes, with the login that belongs to
//! an address and no other.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Sent;
use super::address::AddressRules;
use super::book::CameraAsk;
use super::directory::Sighting;
use super::login::Login;
use super::order::{CameraDone, Order, Origin, Query};
use super::service::CameraService;
use crate::domain::camera::Credentials;
use crate::domain::discovery::StreamDescription;
use crate::domain::error::{ErrorCode, Fault};
use crate::domain::gateway::LoginEnd;
use crate::util::secret::Secret;

impl CameraService {
    /// What discovery sees, and addresses where it sees nothing any more.
    pub fn sighted(&self, seen: &[Sighting], gone: &[IpAddr]) {
        self.shared.parts.book.sighted(seen, gone);
    }

    /// The login that belongs to an address, if anybody has told one.
    pub fn login_at(&self, ip: IpAddr) -> Option<Login> {
        self.shared.parts.book.login_at(ip)
    }

    /// The rules for addresses, with this machine's own.
    pub fn address_rules(&self) -> AddressRules {
        self.shared.parts.book.rules()
    }

    /// Asks what is at an address, in its camera's lane and with the login that belongs there.
    pub fn ask_at(&self, ip: IpAddr, query: Query) -> Result<CameraDone, Fault> {
        let ask = CameraAsk {
            camera_id: Some(self.shared.parts.book.introduce(ip)?),
            ..CameraAsk::default()
        };
        let order = Order::Query(query);
        self.submit(&ask, Origin::Internal, Sent::now(), order)
    }

    /// What a stream at an address is. `url` has no login; where the server asks for one, it gets
    /// the address's own, if the camera has taken that before and the guard lets it pass. Waits,
    /// at most for `timeout`.
    pub fn describe(
        &self,
        at: SocketAddr,
        url: &Secret,
        timeout: Duration,
    ) -> Result<StreamDescription, Fault> {
        let parts = &self.shared.parts;
        let ip = parts.book.check(at.ip())?;
        let at = SocketAddr::new(ip, at.port());
        let login = parts
            .book
            .login_at(ip)
            .filter(|login| parts.book.may_repeat(ip, login));
        let Some(login) = login else {
            return parts.rtsp.describe(at, url, None, timeout);
        };
        let described = Credentials::new(login.user.clone(), login.password.clone())
            .and_then(|login| parts.rtsp.describe(at, url, Some(&login), timeout));
        match &described {
            Err(fault) if fault.code == ErrorCode::Unauthorized => {
                log::warn!(camera:% = at, user = login.user.as_str(); "the camera refused over RTSP a login that it takes over HTTP");
                parts.book.stream_login(ip, &login, LoginEnd::Refused);
            }
            _ => parts.book.nothing_heard(ip, &login),
        }
        described
    }
}
