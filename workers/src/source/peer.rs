//! Identifies the user at the other end of a loopback connection. FFmpeg's arguments contain a secret
//! path, and every user of the machine can read them, so the proxy serves only processes of the
//! worker's own user.

use std::{fs, net::SocketAddr};

/// The kernel's list of IPv4 connections.
const TABLE: &str = "/proc/net/tcp";

/// Whether the process behind `peer` runs as the worker's user. Assumes so if the kernel does not list it.
pub(super) fn is_ours(peer: SocketAddr, here: SocketAddr) -> bool {
    let Ok(table) = fs::read_to_string(TABLE) else { return true };
    owner(&table, peer, here).is_none_or(|uid| uid == nix::unistd::getuid().as_raw())
}

/// The user who owns the socket that is bound to `peer` and connected to `here`.
fn owner(table: &str, peer: SocketAddr, here: SocketAddr) -> Option<u32> {
    let (peer, here) = (listed(peer)?, listed(here)?);
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let found = fields.next()? == peer && fields.next()? == here;
        // State, queues, timer and retransmissions precede the user.
        if found { fields.nth(4)?.parse().ok() } else { None }
    })
}

/// An address in the table's format: the bytes in native order, in hex.
fn listed(addr: SocketAddr) -> Option<String> {
    let SocketAddr::V4(addr) = addr else { return None };
    let host = u32::from_ne_bytes(addr.ip().octets());
    Some(format!("{host:08X}:{:04X}", addr.port()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::{TABLE, is_ours, owner};

    #[test]
    fn the_own_connection_is_found_with_its_user() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let near = TcpStream::connect(here).unwrap();
        let (_far, peer) = listener.accept().unwrap();
        assert_eq!(near.local_addr().unwrap(), peer);
        let table = std::fs::read_to_string(TABLE).unwrap();
        assert_eq!(owner(&table, peer, here), Some(nix::unistd::getuid().as_raw()));
        assert!(is_ours(peer, here));
        let foreign =
            "  7: 0100007F:0BB8 0100007F:0FA0 01 00000000:00000000 00:00000000 00000000  4711 0 1";
        let (peer, here) = ("127.0.0.1:3000".parse().unwrap(), "127.0.0.1:4000".parse().unwrap());
        assert_eq!(owner(foreign, peer, here), Some(4711));
    }
}
