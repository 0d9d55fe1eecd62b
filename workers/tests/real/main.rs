//! The worker as a process of its own, with real FFmpeg behind its real fence, against a control plane
//! that the tests play themselves.

#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

mod awkward;
mod clip;
mod control;
mod encodes;
mod faults;
mod fence;
mod hostile;
mod probes;
mod worker;
