//! Communication between instances: events, and the invalidation of metadata that data planes cache
//! in Redis.

mod epoch;
pub mod events;
pub mod redis;
