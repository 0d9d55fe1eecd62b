//! The kernel's tables of TCP connections, `/proc/net/tcp` and `/proc/net/tcp6`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// One connection as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The address to which the socket is bound.
    pub local: SocketAddr,
    /// The address to which it is connected.
    pub remote: SocketAddr,
    /// Bytes that are not sent or not acknowledged.
    pub unsent: u64,
    /// The user who owns the socket.
    pub uid: u32,
}

/// Reads both tables; empty where the system has none. Blocks for a moment.
pub fn read() -> Vec<Row> {
    let texts = TABLES.map(|table| std::fs::read_to_string(table).unwrap_or_default());
    texts.iter().flat_map(|text| text.lines().filter_map(row)).collect()
}

/// Converts an IPv4-mapped IPv6 address to IPv4, so that both forms compare equal.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Parses `sl local remote st tx:rx tr:when retransmissions uid …`; the numbers before `uid` are
/// hexadecimal.
fn row(line: &str) -> Option<Row> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    let (unsent, _) = fields.nth(1)?.split_once(':')?;
    let unsent = u64::from_str_radix(unsent, 16).ok()?;
    Some(Row { local, remote, unsent, uid: fields.nth(2)?.parse().ok()? })
}

/// An address is printed as 32-bit words, each in the machine's byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words = ip.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::{read, row};

    #[test]
    fn rows_are_parsed() {
        let line =
            "  7: 0100007F:0BB8 0100007F:0FA0 01 0000002A:00000000 00:00000000 00000000  4711 0 1";
        let found = row(line).unwrap();
        assert_eq!(found.local, "127.0.0.1:3000".parse().unwrap());
        assert_eq!(found.remote, "127.0.0.1:4000".parse().unwrap());
        assert_eq!((found.unsent, found.uid), (42, 4711));
        let heading =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid";
        assert_eq!(row(heading), None);
    }

    #[test]
    fn connections_of_this_process_are_listed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, remote) = (near.local_addr().unwrap(), near.peer_addr().unwrap());
        assert!(read().iter().any(|row| row.local == local && row.remote == remote));
    }
}
