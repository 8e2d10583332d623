//! Ports for what a test starts, ends, and starts again in the same place.

use std::net::{Ipv4Addr, TcpStream};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that Linux gives by itself, to a listener on port 0 and to whatever connects
/// somewhere (32768 and up, `net.ipv4.ip_local_port_range`): a port of these stays free between the
/// end of what listened on it and the next that does.
const PORTS: Range<u16> = 12_000..32_000;

/// Where this process goes on. Processes that run side by side begin in different places.
static NEXT: LazyLock<AtomicU16> =
    LazyLock::new(|| AtomicU16::new((std::process::id().wrapping_mul(97) & 0xffff) as u16));

/// A port of loopback that nothing listens on, and that no other test of this process is given.
pub fn free_port() -> u16 {
    PORTS
        .map(|_| {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            PORTS.start + step % (PORTS.end - PORTS.start)
        })
        // Asked, and not listened on to see: a program that another test starts at that moment would hold the port.
        .find(|&port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err())
        .expect("loopback has a free port")
}
