//! The network under which one client's requests are counted together.

use std::net::{IpAddr, Ipv6Addr};

/// Length of the prefix that an IPv6 customer usually controls; all addresses of one such network
/// count as one client.
pub const IPV6_PREFIX: u8 = 64;

/// The client's IPv4 address, or the first address of its IPv6 network of [`IPV6_PREFIX`] bits.
pub fn client_network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => {
            let host_bits = 128 - IPV6_PREFIX;
            Ipv6Addr::from_bits(ip.to_bits() >> host_bits << host_bits).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::client_network;

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let network = |text: &str| client_network(text.parse::<IpAddr>().unwrap()).to_string();
        assert_eq!(network("2001:db8::1"), "2001:db8::");
        assert_eq!(network("2001:db8::9:9:9:9"), "2001:db8::");
        assert_eq!(network("2001:db8:0:1::1"), "2001:db8:0:1::");
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(network("192.0.2.1"), "192.0.2.1");
    }
}
