//! Determines the client's address of a request: the peer of the connection, unless that is a
//! trusted proxy. In that case it is the right-most address of `X-Forwarded-For` that is not a
//! trusted proxy, because any client could have written the entries to the left of it.

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use runtime::client_network::{IPV6_PREFIX, client_network};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Maximum number of hops that are read; a longer list ends at the last of them.
const HOPS_MAX: usize = 32;

/// An entry of the list of proxies is not an address or network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" must be an address or a network, for example 10.0.0.0/8 or fd00::/8")]
pub(crate) struct NetworkError(String);

/// The proxies whose `X-Forwarded-For` is trusted.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Parses addresses and CIDR networks; empty entries are skipped.
    ///
    /// # Errors
    /// An entry is not an address or network; the error names it.
    pub(crate) fn parse(entries: &[String]) -> Result<Self, NetworkError> {
        let entries = entries.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty());
        let read = |entry: &str| network(entry).ok_or_else(|| NetworkError(entry.to_owned()));
        entries.map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The client's address, used for limits and address checks.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let mut hops = headers.get_all(FORWARDED_FOR).iter().rev().flat_map(|line| {
            // A line that is not text counts as one unreadable hop.
            line.to_str().unwrap_or("?").rsplit(',')
        });
        for _ in 0..HOPS_MAX {
            if !self.trusts(client) {
                return client;
            }
            // Without a readable address before it, the proxy itself is the closest known hop.
            let Some(hop) = hops.next().and_then(parse_hop) else { return client };
            client = hop;
        }
        client
    }

    /// Whether the address is that of a trusted proxy.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Parses an address or a network. A network of IPv4-mapped addresses becomes one of IPv4:
/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn network(entry: &str) -> Option<IpNet> {
    let network: IpNet =
        entry.parse().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from))?;
    match network.addr().to_canonical() {
        address if address == network.addr() => Some(network),
        address => IpNet::new(address, network.prefix_len().checked_sub(96)?).ok(),
    }
}

/// Parses an entry of `X-Forwarded-For`: an address, to which some proxies add a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let address = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| bare().map(IpAddr::V6))?;
    Some(address.to_canonical())
}

/// The key under which clients are limited together: an IPv4 address, or the network of an IPv6
/// address.
pub(crate) fn network_key(address: IpAddr) -> String {
    match client_network(address) {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{v6}/{IPV6_PREFIX}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(list: &str) -> Result<TrustedProxies, NetworkError> {
        TrustedProxies::parse(&list.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    fn client(trusted: &str, peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        proxies(trusted).unwrap().client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn without_trusted_proxies_the_peer_is_the_client() {
        assert_eq!(client("", "192.0.2.1", &["203.0.113.7"]), "192.0.2.1");
        assert_eq!(client("10.0.0.0/8", "192.0.2.1", &["203.0.113.7"]), "192.0.2.1");
        assert_eq!(client("", "::ffff:192.0.2.1", &[]), "192.0.2.1");
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_client() {
        let trusted = "10.0.0.0/8, 192.0.2.9,fd00::/8";
        for (lines, expected) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
            (&["1.1.1.1, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
            (&["1.1.1.1", "203.0.113.7", "10.1.2.3, 192.0.2.9"], "203.0.113.7"),
            (&["203.0.113.7:4711"], "203.0.113.7"),
            (&["2001:db8::7"], "2001:db8::7"),
            (&["[2001:db8::7]:443, fd00::1"], "2001:db8::7"),
            (&["[2001:db8::7]"], "2001:db8::7"),
            (&["::ffff:203.0.113.7"], "203.0.113.7"),
            // All are trusted: the first one started the chain.
            (&["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
            (&[], "10.0.0.1"),
            // Entries to the left of an unreadable one are not trusted.
            (&["203.0.113.7, unknown"], "10.0.0.1"),
            (&["203.0.113.7, unknown, 10.1.2.3"], "10.1.2.3"),
            (&["203.0.113.7, "], "10.0.0.1"),
        ] {
            assert_eq!(client(trusted, "10.0.0.1", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn long_lists_are_evaluated_to_a_bound() {
        let long = vec!["10.0.0.2"; 10_000].join(",");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &[&long]), "10.0.0.2");
    }

    #[test]
    fn networks_are_parsed_and_invalid_ones_are_named() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("0.0.0.0/0", "203.0.113.7", "::1"),
            ("::/0", "2001:db8::1", "203.0.113.7"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("::ffff:10.0.0.0/104", "10.1.1.1", "11.1.1.1"),
        ] {
            let trusted = proxies(network).unwrap();
            assert!(trusted.trusts(inside.parse().unwrap()), "{network} {inside}");
            assert!(!trusted.trusts(outside.parse().unwrap()), "{network} {outside}");
        }
        for bad in ["10.0.0.0/33", "::/129", "10.0.0/8", "x", "10.0.0.0/", "10.0.0.0/+8", "/8"] {
            assert_eq!(proxies(bad).unwrap_err(), NetworkError(bad.to_owned()));
        }
    }

    #[test]
    fn addresses_of_one_ipv6_network_have_one_key() {
        let name = |text: &str| network_key(text.parse().unwrap());
        assert_eq!(name("192.0.2.1"), "192.0.2.1");
        assert_eq!(name("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(name("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(name("2001:db8:1:2::"), "2001:db8:1:2::/64");
        assert_ne!(name("2001:db8:1:3::"), name("2001:db8:1:2::"));
    }
}
