//! The drives of one camera, side by side. Knows nothing of what they do.

use super::motor::Motor;
use crate::domain::ptz::Drive;

/// The drives of one camera.
#[derive(Debug)]
pub(super) struct Motors {
    head: Motor,
    focus: Motor,
    iris: Motor,
}

impl Motors {
    pub(super) fn new() -> Self {
        Self {
            head: Motor::new(),
            focus: Motor::new(),
            iris: Motor::new(),
        }
    }

    pub(super) fn get(&self, drive: Drive) -> &Motor {
        match drive {
            Drive::PanTiltZoom => &self.head,
            Drive::Focus => &self.focus,
            Drive::Iris => &self.iris,
        }
    }

    pub(super) fn get_mut(&mut self, drive: Drive) -> &mut Motor {
        match drive {
            Drive::PanTiltZoom => &mut self.head,
            Drive::Focus => &mut self.focus,
            Drive::Iris => &mut self.iris,
        }
    }

    /// In the order of [`Drive::ALL`].
    pub(super) fn iter(&self) -> impl Iterator<Item = &Motor> {
        [&self.head, &self.focus, &self.iris].into_iter()
    }
}
