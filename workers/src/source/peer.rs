//! Identifies the user at the other end of a loopback connection. FFmpeg's arguments contain a
//! secret path, and every user of the machine can read them, so the proxy serves only processes of
//! the worker's own user.

use std::net::SocketAddr;

use runtime::tcp_table::{self, Row, canonical};

/// Whether the process behind `peer` runs as the worker's user. Assumes so if the kernel does not
/// list it.
pub(super) fn is_ours(peer: SocketAddr, here: SocketAddr) -> bool {
    owner(&tcp_table::read(), peer, here).is_none_or(|uid| uid == nix::unistd::getuid().as_raw())
}

/// The user who owns the socket that is bound to `peer` and connected to `here`.
fn owner(rows: &[Row], peer: SocketAddr, here: SocketAddr) -> Option<u32> {
    let (peer, here) = (canonical(peer), canonical(here));
    rows.iter().find(|row| row.local == peer && row.remote == here).map(|row| row.uid)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use runtime::tcp_table::{self, Row};

    use super::{is_ours, owner};

    #[test]
    fn the_owner_of_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let near = TcpStream::connect(here).unwrap();
        let (_far, peer) = listener.accept().unwrap();
        assert_eq!(near.local_addr().unwrap(), peer);
        assert_eq!(owner(&tcp_table::read(), peer, here), Some(nix::unistd::getuid().as_raw()));
        assert!(is_ours(peer, here));
        let foreign = Row { local: peer, remote: here, unsent: 0, uid: 4711 };
        assert_eq!(owner(&[foreign], peer, here), Some(4711));
        assert_eq!(owner(&[foreign], here, peer), None);
    }
}
