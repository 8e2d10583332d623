//! The TCP connections of this device, as the kernel lists them for everyone (`/proc/net/tcp` and `tcp6`,
//! proc_net_tcp(5)): whether a client that a broker has is on this device, and whether it stays connected.
//! Where there is no such list, as in some containers, it is empty.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port that HTTPS has too: there the address must be the broker's as well.
const HTTPS: u16 = 443;

/// Where the kernel lists them, by the version of IP.
const LISTS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// State of a connection that is up (`TCP_ESTABLISHED`).
const ESTABLISHED: &str = "01";

/// Connections to a broker, by the inodes of their sockets: these are never the same for two at a time.
pub(super) type Connections = HashSet<u64>;

/// Whether there is a list: what is not in one that is not there may be on this device all the same.
pub(super) fn are_listed() -> bool {
    fs::read_to_string(LISTS[0]).is_ok()
}

/// Connections of this device to a broker at these addresses, those of this process left out. Names in the
/// DNS lead to more addresses than one answer has, so the port counts alone where it is nobody else's.
pub(super) fn to_broker(addresses: &[SocketAddr]) -> Connections {
    let own = own_sockets();
    LISTS
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|list| read(&list, addresses))
        .filter(|inode| !own.contains(inode))
        .collect()
}

fn read(list: &str, addresses: &[SocketAddr]) -> Vec<u64> {
    let connection = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        let remote = address(fields.next()?)?;
        let state = fields.next()?;
        let inode = fields.nth(5)?.parse().ok()?;
        let is_broker = |broker: &SocketAddr| {
            broker.port() == remote.port()
                && (remote.port() != HTTPS || broker.ip().to_canonical() == remote.ip())
        };
        (state == ESTABLISHED && addresses.iter().any(is_broker)).then_some(inode)
    };
    list.lines().skip(1).filter_map(connection).collect()
}

/// An address as it stands there: words of 32 bits in the machine's own order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for place in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(place..place + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::from(Ipv4Addr::from(bytes)),
        Err(_) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// The inodes of this process's own sockets.
fn own_sockets() -> Connections {
    let Ok(open) = fs::read_dir("/proc/self/fd") else {
        return Connections::new();
    };
    open.filter_map(|entry| {
        let target = fs::read_link(entry.ok()?.path()).ok()?;
        let inode = target
            .to_str()?
            .strip_prefix("socket:[")?
            .strip_suffix(']')?;
        inode.parse().ok()
    })
    .collect()
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const LIST: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   1: 0100007F:D2F0 0100007F:075B 01 00000000:00000000 00:00000000 00000000  1000        0 12 1 0 20 4 30 10 -1
   2: 0100007F:075B 0100007F:D2F0 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 20 4 30 10 -1
   3: 0100007F:D2F1 0100007F:075B 06 00000000:00000000 00:00000000 00000000     0        0 0 3 0
   4: 0200000A:D2F2 0500000A:01BB 01 00000000:00000000 00:00000000 00000000     0        0 14 1 0 20 4 30 10 -1
";

    #[test]
    fn connections_that_are_up_are_found_by_the_port_and_for_https_by_the_address_too() {
        let found = |broker: &str| read(LIST, &[broker.parse().unwrap()]);
        assert_eq!(found("127.0.0.1:1883"), [12]);
        assert_eq!(found("10.9.9.9:1883"), [12]);
        assert_eq!(found("10.0.0.5:443"), [14]);
        assert_eq!(found("10.0.0.6:443"), [0; 0]);
        assert_eq!(found("127.0.0.1:8883"), [0; 0]);
    }

    #[test]
    fn addresses_of_both_kinds() {
        let read = |text| address(text).map(|address| address.to_string());
        assert_eq!(read("0100007F:075B").unwrap(), "127.0.0.1:1883");
        let long = "00000000000000000000000001000000:075B";
        assert_eq!(read(long).unwrap(), "[::1]:1883");
        let mapped = "0000000000000000FFFF00000100007F:075B";
        assert_eq!(read(mapped).unwrap(), "127.0.0.1:1883");
        for wrong in ["", "0100007F", "01:075B", "0100007F:x", "0100007F01:1"] {
            assert_eq!(read(wrong), None);
        }
    }

    #[test]
    fn those_of_this_process_do_not_count() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _own = std::net::TcpStream::connect(address).unwrap();
        assert!(to_broker(&[address]).is_empty());
        let list = fs::read_to_string("/proc/net/tcp").unwrap();
        assert_eq!(read(&list, &[address]).len(), 1);
    }
}
