//! Periodic background tasks: lease expiry, finalization, deletion, purges, key reloads.

pub mod deletion;
pub mod loops;
pub mod probes;
pub mod status;
pub mod uploads;
