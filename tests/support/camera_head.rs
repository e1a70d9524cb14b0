//! The moving parts of a stand-in camera: speeds integrated into positions, so that a test reads
//! where the camera ended, and whether it ever ran on.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Time since the camera was switched on; real or moved by hand.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    /// The real time.
    pub fn real() -> Self {
        let start = Instant::now();
        Self(Arc::new(move || start.elapsed()))
    }

    /// Time that stands still until the other half moves it.
    pub fn by_hand() -> (Self, ClockHand) {
        let time = Arc::new(Mutex::new(Duration::ZERO));
        let hand = ClockHand(time.clone());
        (Self(Arc::new(move || *time.lock().unwrap())), hand)
    }

    pub fn now(&self) -> Duration {
        (self.0)()
    }
}

/// Moves a clock.
pub struct ClockHand(Arc<Mutex<Duration>>);

impl ClockHand {
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

/// The five motors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    Pan,
    Tilt,
    Zoom,
    Focus,
    Iris,
}

/// One motor: full speed is 1 a second.
#[derive(Debug, Clone, Copy, Default)]
struct Motor {
    position: f64,
    speed: f64,
    /// Stops by itself then.
    until: Option<Duration>,
    /// How far it has run in all, back and forth.
    travelled: f64,
}

impl Motor {
    /// Runs from `from` to `to`.
    fn run(&mut self, from: Duration, to: Duration) {
        let end = self.until.map_or(to, |until| until.min(to));
        let way = self.speed * end.saturating_sub(from).as_secs_f64();
        self.position += way;
        self.travelled += way.abs();
        if self.until.is_some_and(|until| until <= to) {
            self.speed = 0.0;
            self.until = None;
        }
    }
}

/// All motors.
#[derive(Debug, Clone, Default)]
pub struct Head {
    motors: [Motor; 5],
    at: Duration,
}

impl Head {
    /// Lets time pass.
    pub fn advance(&mut self, now: Duration) {
        for motor in &mut self.motors {
            motor.run(self.at, now);
        }
        self.at = self.at.max(now);
    }

    /// Sets a speed, −1 to 1, with an end of its own if one is given.
    pub fn drive(&mut self, axis: Axis, speed: f64, now: Duration, runs_for: Option<Duration>) {
        self.advance(now);
        let motor = &mut self.motors[axis as usize];
        motor.speed = speed;
        motor.until = runs_for.map(|d| now + d);
    }

    /// Jumps, as a camera does to a preset (only much faster).
    pub fn jump(&mut self, axis: Axis, position: f64, now: Duration) {
        self.drive(axis, 0.0, now, None);
        self.motors[axis as usize].position = position;
    }

    pub fn position(&mut self, axis: Axis, now: Duration) -> f64 {
        self.advance(now);
        self.motors[axis as usize].position
    }

    pub fn speed(&mut self, axis: Axis, now: Duration) -> f64 {
        self.advance(now);
        self.motors[axis as usize].speed
    }

    pub fn travelled(&mut self, axis: Axis, now: Duration) -> f64 {
        self.advance(now);
        self.motors[axis as usize].travelled
    }

    /// Whether any motor runs.
    pub fn moving(&mut self, now: Duration) -> bool {
        self.advance(now);
        self.motors.iter().any(|m| m.speed != 0.0)
    }
}
