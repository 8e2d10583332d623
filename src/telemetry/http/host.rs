//! Which hosts a request may name. A page on the internet can have a browser on this network ask a name of
//! its own that leads here (DNS rebinding); such requests name a host that is none of ours.

use std::net::{IpAddr, SocketAddr};

/// The hosts that requests may name, besides those of the loopback.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedHosts {
    /// In lower case, without ports.
    names: Vec<String>,
}

impl AllowedHosts {
    /// These names or addresses, in any letter case, and the address that is listened on, unless it stands for
    /// all.
    pub fn new(names: impl IntoIterator<Item = String>, listen: SocketAddr) -> Self {
        let own = Some(listen.ip()).filter(|address| !address.is_unspecified());
        let names = names.into_iter().map(|name| canonical(&name));
        AllowedHosts {
            names: names
                .chain(own.map(|address| address.to_string()))
                .collect(),
        }
    }

    /// Whether a request that names this host, with a port or without, may be answered.
    pub fn allows(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else {
            return false;
        };
        let name = canonical(name);
        let address = name.parse::<IpAddr>();
        name == "localhost"
            || address.is_ok_and(|address| address.is_loopback())
            || self.names.contains(&name)
    }
}

/// A name in lower case without the dot at its end, an address as addresses are written.
fn canonical(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => name.trim_end_matches('.').to_ascii_lowercase(),
    }
}

/// The host without its port, an IPv6 address without its brackets; `None` where it is none.
fn without_port(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => match host.split_once(':') {
            Some((name, _)) => (name, &host[name.len()..]),
            None => (host, ""),
        },
    };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    let is_port = rest.is_empty() || (rest.starts_with(':') && port.parse::<u16>().is_ok());
    (!name.is_empty() && is_port).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(listen: &str) -> AllowedHosts {
        let names = ["Gateway.example.", "FE80:0::1"];
        AllowedHosts::new(names.map(str::to_owned), listen.parse().unwrap())
    }

    #[test]
    fn loopback_the_own_address_and_what_is_listed() {
        let hosts = hosts("192.0.2.7:9477");
        for host in [
            "localhost",
            "LOCALHOST:9477",
            "127.0.0.1:9477",
            "127.9.9.9",
            "[::1]:9477",
            "gateway.EXAMPLE:80",
            "localhost.",
            "[fe80::1]:9477",
            "192.0.2.7:9477",
        ] {
            assert!(hosts.allows(host), "{host}");
        }
    }

    #[test]
    fn nobody_else() {
        let hosts = hosts("0.0.0.0:9477");
        for host in [
            "",
            ":9477",
            "attacker.example",
            "localhost.attacker.example",
            "127.0.0.1.attacker.example:9477",
            "localhost:9477@attacker.example",
            "192.0.2.7",
            "0.0.0.0:9477",
            "[::1",
            "[::1]x",
            "localhost:port",
            "::1",
            "gateway.example.attacker.example",
        ] {
            assert!(!hosts.allows(host), "{host}");
        }
    }
}
