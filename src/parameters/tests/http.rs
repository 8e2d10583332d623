//! The rows of the table about HTTP and the connector's own status.

use super::*;

#[test]
fn where_it_listens() {
    assert_eq!(with(&[]).unwrap().http, None, "nowhere unless it is said");
    for address in ["127.0.0.1:9477", "[::]:80", "192.0.2.7:65535"] {
        let http = good("HTTP_LISTEN", address).http.unwrap();
        assert_eq!(http.listen.to_string(), address);
        assert!(http.allowed_hosts.is_empty());
    }
    for wrong in [
        "9477",
        ":9477",
        "localhost:9477",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "::1:9477",
        " 127.0.0.1:9477",
        "http://127.0.0.1:9477",
    ] {
        bad("HTTP_LISTEN", wrong);
    }
}

#[test]
fn which_hosts_it_answers_for() {
    let hosts = "gateway.local,192.168.1.20,fe80::1";
    let parameters = with(&[
        ("HTTP_LISTEN", "0.0.0.0:9477"),
        ("HTTP_ALLOWED_HOSTS", hosts),
    ]);
    let http = parameters.unwrap().http.unwrap();
    assert_eq!(http.allowed_hosts.join(","), hosts);
    for wrong in [
        ",",
        "a,",
        "a, b",
        "gateway:80",
        "http://gateway",
        "[::1]",
        "*",
    ] {
        bad("HTTP_ALLOWED_HOSTS", wrong);
    }
}

#[test]
fn how_often_it_tells_of_itself() {
    let interval = |text| good("CONNECTOR_STATUS_INTERVAL", text).connector_status_interval;
    assert_eq!(interval("0"), None);
    assert_eq!(interval("86400"), Some(Duration::from_secs(86_400)));
    for wrong in ["86401", "-1", "1.5", "1m"] {
        bad("CONNECTOR_STATUS_INTERVAL", wrong);
    }
}
