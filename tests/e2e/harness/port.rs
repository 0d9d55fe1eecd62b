//! Addresses for servers whose address must be known before they listen, or that listen on it again
//! later.
//!
//! The kernel gives a port of its own choice to another socket as soon as it is free: before its
//! server listens, or while the server is stopped. These ports lie outside the range that the
//! kernel chooses from.

use std::{
    net::TcpListener,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// The kernel chooses from 32768 on (`net.ipv4.ip_local_port_range`).
const PORT_MIN: u32 = 12_000;
const PORTS: u32 = 20_000;

/// How many ports this process has tried.
static TRIED: AtomicU32 = AtomicU32::new(0);

/// An address on the loopback interface that this process returns only once.
pub(crate) fn free_address() -> String {
    // Test programs that run at the same time begin at different ports.
    let first = process::id().wrapping_mul(101);
    for _ in 0..PORTS {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.0.0.1:{}", PORT_MIN + first.wrapping_add(tried) % PORTS);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
    panic!("no port from {PORT_MIN} on is free");
}
