//! Control against a real Postgres: every database function, then whole instances over gRPC.

mod calls;
mod claiming;
mod endings;
mod film;
mod instances;
mod migrations;
mod model;
mod plane;
mod postgres;
mod rows;
mod workers;
