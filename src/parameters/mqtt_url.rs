//! `MQTT_URL`: a small parser of `mqtt://` and `mqtts://` URLs, and the way to show such a URL, however
//! broken, without the password in it. Problems never quote the URL: who reports them shows it.

use std::net::Ipv6Addr;

/// What a URL says about the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MqttUrl {
    /// `mqtts` was the scheme.
    pub tls: bool,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// The port given, or the scheme's own.
    pub port: u16,
    /// The user, decoded; absent if empty.
    pub username: Option<String>,
    /// The password, decoded; absent if empty. Not yet a `Secret`, and this type is not shown anywhere.
    pub password: Option<String>,
}

/// Reads a URL. An error says what is wrong with it.
pub(super) fn parse(url: &str) -> Result<MqttUrl, String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err("it does not begin with mqtt:// or mqtts://".to_owned());
    };
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "mqtt" => false,
        "mqtts" => true,
        _ => return Err("it does not begin with mqtt:// or mqtts://".to_owned()),
    };
    let (authority, tail) = match rest.find(['/', '?', '#']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    if tail.contains('@') {
        return Err("a \"/\", \"?\" or \"#\" stands before the \"@\": write %2F, %3F or %23 in the user and \
                    the password"
            .to_owned());
    }
    if !matches!(tail, "" | "/") {
        return Err(
            "it has a path, a query or a fragment, and none of them means anything here".to_owned(),
        );
    }
    // A host has no "@", so whatever stands before the last one is user and password.
    let (user, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (username, password) = user.split_once(':').unwrap_or((user, ""));
    let (host, port) = host_and_port(address)?;
    Ok(MqttUrl {
        tls,
        host,
        port: match port {
            Some(port) => port_number(port)?,
            None if tls => 8883,
            None => 1883,
        },
        username: decoded(username, "user")?,
        password: decoded(password, "password")?,
    })
}

fn host_and_port(address: &str) -> Result<(String, Option<&str>), String> {
    if let Some(rest) = address.strip_prefix('[') {
        let literal = rest.split_once(']').and_then(|(literal, port)| {
            literal.parse::<Ipv6Addr>().ok()?;
            Some((literal.to_owned(), port))
        });
        return match literal {
            Some((literal, "")) => Ok((literal, None)),
            Some((literal, port)) if port.starts_with(':') => Ok((literal, Some(&port[1..]))),
            Some(_) => {
                Err("something other than a port follows the brackets of the host".to_owned())
            }
            None => Err("there is no IPv6 address in the brackets of the host".to_owned()),
        };
    }
    let (host, port) = match address.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (address, None),
    };
    if port.is_some_and(|port| port.contains(':')) {
        return Err(
            "the host has several colons: an IPv6 address stands in brackets, [::1]".to_owned(),
        );
    }
    if host.is_empty() {
        return Err("it has no host".to_owned());
    }
    // What DNS carries (RFC 1035 length), with the underscore that local networks use.
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.len() > 253 || !host.bytes().all(valid) {
        return Err(
            "the host is neither an address nor a name of letters, digits, \"-\", \"_\" and \".\" \
                    (an international name is written in its xn-- form)"
                .to_owned(),
        );
    }
    Ok((host.to_owned(), port))
}

fn port_number(text: &str) -> Result<u16, String> {
    let digits =
        !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err("the port is not a number from 1 to 65535".to_owned()),
    }
}

/// Undoes percent escapes. Empty is absent, as with every parameter.
fn decoded(text: &str, part: &str) -> Result<Option<String>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(format!(
                "a \"%\" in the {part} is not followed by two hexadecimal digits: write %25 for a \"%\""
            ));
        };
        // Two hexadecimal digits make one byte.
        bytes.push((high * 16 + low) as u8);
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("the percent escapes in the {part} do not make valid UTF-8"))?;
    if text.len() > usize::from(u16::MAX) {
        return Err(format!(
            "the {part} has more than 65535 bytes, which MQTT cannot carry"
        ));
    }
    if part == "user" && text.chars().any(char::is_control) {
        return Err("the user has a control character in it".to_owned());
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The URL with `***` for whatever may be a password in it, and for a query. Made for URLs that did not
/// parse, so it hides too much rather than too little.
pub(super) fn without_password(url: &str) -> String {
    let scheme = |before: &str| {
        !before.is_empty() && before.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let start = match url.find("://") {
        Some(end) if scheme(&url[..end]) => end + "://".len(),
        _ => 0,
    };
    let (scheme, rest) = url.split_at(start);
    let Some(at) = rest.rfind('@') else {
        // Without an "@" what follows a colon is a port, or the password of a URL that lost its host.
        let literal = rest.split_once(']').map_or("", |(literal, _)| literal);
        let address = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'[' | b':' | b'.');
        let tail = if literal.bytes().all(address) {
            literal.len()
        } else {
            0
        };
        let port_start = rest[tail..].find(':').map(|colon| tail + colon + 1);
        return match port_start {
            Some(start) if !harmless(&rest[start..]) => {
                format!("{scheme}{}***", without_query(&rest[..start]))
            }
            _ => format!("{scheme}{}", without_query(rest)),
        };
    };
    let (user, address) = rest.split_at(at);
    let address = without_query(address);
    match user.split_once(':') {
        Some((user, _)) => format!("{scheme}{user}:***{address}"),
        None => format!("{scheme}{user}{address}"),
    }
}

/// Whether what follows a colon can be nothing but a port (and the end of the URL).
fn harmless(text: &str) -> bool {
    let port = text.strip_suffix('/').unwrap_or(text);
    port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
}

fn without_query(text: &str) -> String {
    match text.find(['?', '#']) {
        Some(start) => format!("{}***", &text[..=start]),
        None => text.to_owned(),
    }
}
