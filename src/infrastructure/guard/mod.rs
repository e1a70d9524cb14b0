//! The guard: what stops cameras when the daemon itself has been killed.
//!
//! [`watched`] sees every movement that leaves and every stop that is obeyed, and tells [`child`]'s
//! thread what may be moving without an end that the camera itself keeps. That thread keeps a
//! process, `lss guard`, told over a pipe alone; [`tries`] and [`last`] are what that process does when
//! the pipe closes unasked. [`job`] is what stands on the pipe.
//!
//! The guard never acts while its daemon lives, and stops nothing that a later daemon has moved.

/// What a daemon says of a camera to the guard of one that was killed before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// A movement is about to leave: whether the camera takes it is not known yet.
    Begins,
    /// It has taken one, or may have: the camera is this daemon's.
    Holds,
    /// It has taken none.
    Fails,
}

pub mod child;
pub mod job;
pub mod last;
mod tries;
pub mod watched;
