//! The two addresses that `up` listens on: checked before anything starts, published once
//! everything is ready.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use tokio::time::sleep;

use crate::server::Target;

const HTTP_DEFAULT: &str = "127.0.0.1:8080";
const GRPC_DEFAULT: &str = "127.0.0.1:50051";
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The children of an `up` that was just killed need a moment to exit and free their ports.
const BIND_TRIES: u32 = 10;
const BIND_INTERVAL: Duration = Duration::from_millis(100);

/// The addresses to listen on; a port may be 0.
pub(crate) struct Addresses {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

impl Addresses {
    /// Reads both addresses and checks that both can be bound.
    pub(crate) fn check(target: &Target) -> Result<Self> {
        let http = resolve(target.http_addr.as_deref(), HTTP_DEFAULT, "STREAMING_HTTP_ADDR")?;
        let grpc = resolve(target.grpc_addr.as_deref(), GRPC_DEFAULT, "STREAMING_GRPC_ADDR")?;
        // Bound at the same time, so that one port given for both is detected, too.
        let _http = bind(http, "STREAMING_HTTP_ADDR")?;
        let _grpc = bind(grpc, "STREAMING_GRPC_ADDR")?;
        Ok(Self { http, grpc })
    }
}

fn resolve(given: Option<&str>, default: &str, variable: &str) -> Result<SocketAddr> {
    let text = given.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(default);
    let mut found = text.to_socket_addrs().with_context(|| format!("{variable}: read {text:?}"))?;
    found.next().ok_or_else(|| anyhow!("{variable}: {text:?} has no address"))
}

fn bind(addr: SocketAddr, variable: &str) -> Result<TcpListener> {
    for _ in 0..BIND_TRIES {
        match TcpListener::bind(addr) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => thread::sleep(BIND_INTERVAL),
            Err(error) => bail!("cannot listen on {variable}={addr}: {error}"),
        }
    }
    bail!("port {} is in use; free {addr} or set {variable} to another", addr.port())
}

/// Waits for the address that a plane writes once it listens.
pub(crate) async fn bound(file: &Path) -> Result<SocketAddr> {
    loop {
        match fs::read_to_string(file) {
            Ok(text) if !text.trim().is_empty() => {
                return text.trim().parse().with_context(|| format!("read {}", file.display()));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                bail!("read {}: {error}", file.display())
            }
            _ => sleep(POLL_INTERVAL).await,
        }
    }
}

/// The address at which clients on this machine reach a listener: loopback if it listens on all
/// addresses.
pub(crate) fn reachable(mut addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    addr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = holder.local_addr().unwrap();
        let error = bind(addr, "V").unwrap_err().to_string();
        assert!(error.contains(&addr.port().to_string()), "{error}");
        assert!(bind(taken.unwrap(), "V").is_ok());
    }

    #[test]
    fn wildcard_addresses_are_reached_on_loopback() {
        let here = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(here("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(here("[::]:1"), "[::1]:1");
        assert_eq!(here("10.0.0.1:1"), "10.0.0.1:1");
    }

    #[test]
    fn names_and_defaults_resolve() {
        assert_eq!(resolve(Some(" "), "127.0.0.1:7", "V").unwrap().port(), 7);
        assert_eq!(resolve(Some("localhost:9"), "", "V").unwrap().port(), 9);
        assert!(resolve(Some("nonsense"), "", "V").unwrap_err().to_string().contains('V'));
    }
}
