//! The HTTP server's parameters: where it listens, and which hosts requests may name.

use std::net::SocketAddr;

use super::read::{Noted, Reader};
use super::table;

/// Where metrics and the page are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpParameters {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Names and addresses that requests may use for this device, besides the loopback's.
    pub allowed_hosts: Vec<String>,
}

/// `None` where nothing is served.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Option<HttpParameters>, Noted> {
    let listen = reader.optional(&table::HTTP_LISTEN, listen);
    let allowed_hosts = reader.optional(&table::HTTP_ALLOWED_HOSTS, hosts);
    let (listen, allowed_hosts) = (listen?, allowed_hosts?.unwrap_or_default());
    Ok(listen.map(|listen| HttpParameters {
        listen,
        allowed_hosts,
    }))
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "it is not an IP address and a port".to_owned())?;
    if address.port() == 0 {
        return Err("its port is 0, and nobody would know which one it became".to_owned());
    }
    Ok(address)
}

fn hosts(text: &str) -> Result<Vec<String>, String> {
    text.split(',').map(host).collect()
}

fn host(text: &str) -> Result<String, String> {
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if text.is_empty() {
        Err("it has an empty name in it".to_owned())
    } else if is_address || text.bytes().all(is_name_byte) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a host's name or address by itself (no scheme, no port, no spaces)"
        ))
    }
}
