//! The broker's URL, credentials and files: each by itself, against each other, and never shown.

use super::super::mqtt::default_client_id;
use super::super::mqtt_url::without_password;
use super::*;

const SECRET: &str = "hunter2";

/// The names of the faulty parameters, after checking that nothing told the secret.
fn faulty(set: &[(&str, &str)]) -> Vec<&'static str> {
    let faults = with(set).expect_err(&format!("{set:?}"));
    let shown = format!("{faults} {faults:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    faults.0.iter().map(|fault| fault.parameter).collect()
}

#[test]
fn urls() {
    let cases = [
        ("mqtt://h", false, "h", 1883),
        ("mqtts://h", true, "h", 8883),
        ("MQTTS://h", true, "h", 8883),
        ("mqtt://h/", false, "h", 1883),
        ("mqtt://127.0.0.1:1884", false, "127.0.0.1", 1884),
        (
            "mqtt://broker_1.local:65535/",
            false,
            "broker_1.local",
            65535,
        ),
        (
            "mqtts://abc-ats.iot.us-east-1.amazonaws.com:443",
            true,
            "abc-ats.iot.us-east-1.amazonaws.com",
            443,
        ),
        ("mqtt://[::1]", false, "::1", 1883),
        ("mqtts://[2001:db8::7]:1", true, "2001:db8::7", 1),
        (
            "mqtt://[::ffff:192.0.2.1]/",
            false,
            "::ffff:192.0.2.1",
            1883,
        ),
        ("mqtt://@h", false, "h", 1883),
        ("mqtt://:@h", false, "h", 1883),
    ];
    for (url, tls, host, port) in cases {
        let mqtt = good("MQTT_URL", url).mqtt;
        assert_eq!(
            (mqtt.tls, &*mqtt.host, mqtt.port),
            (tls, host, port),
            "{url}"
        );
        assert_eq!((mqtt.username, mqtt.password), (None, None), "{url}");
    }
    let cases = [
        ("h:1883", "mqtt://"),
        ("mqtt:h", "mqtt://"),
        ("mqtt:/h", "mqtt://"),
        ("tcp://h", "mqtt://"),
        ("ws://h", "mqtt://"),
        ("ssl://h", "mqtt://"),
        ("http://h", "mqtt://"),
        ("://h", "mqtt://"),
        (" mqtt://h", "mqtt://"),
        ("mqtt://", "no host"),
        ("mqtt:///", "no host"),
        ("mqtt://:1883", "no host"),
        ("mqtt://u@", "no host"),
        ("mqtt://h:", "port"),
        ("mqtt://h:0", "port"),
        ("mqtt://h:65536", "port"),
        ("mqtt://h:99999999999", "port"),
        ("mqtt://h:+1883", "port"),
        ("mqtt://h:-1", "port"),
        ("mqtt://h:1883x", "port"),
        ("mqtt://h:000001", "port"),
        ("mqtt://[::1]:", "port"),
        ("mqtt://::1", "brackets"),
        ("mqtt://[::1", "brackets"),
        ("mqtt://[h]", "brackets"),
        ("mqtt://[127.0.0.1]", "brackets"),
        ("mqtt://[::1]1883", "brackets"),
        ("mqtt://h/topic", "path"),
        ("mqtt://h//", "path"),
        ("mqtt://h?x=1", "path"),
        ("mqtt://h/?x=1", "path"),
        ("mqtt://h#x", "path"),
        ("mqtt://a b", "name of letters"),
        ("mqtt://h\n", "name of letters"),
        ("mqtt://höhe", "name of letters"),
        ("mqtt://u:p%@h", "%25"),
        ("mqtt://u:p%4@h", "%25"),
        ("mqtt://u:p%zz@h", "%25"),
        ("mqtt://u%+1:p@h", "%25"),
        ("mqtt://u:%ff@h", "UTF-8"),
        ("mqtt://u%00:p@h", "control"),
        ("mqtt://u:p/p@h", "%2F"),
        ("mqtt://u:p?p@h", "%3F"),
        ("mqtt://u:p#p@h", "%23"),
    ];
    for (url, expected) in cases {
        let problem = bad("MQTT_URL", url).problem;
        assert!(problem.contains(expected), "{url}: {problem}");
    }
    bad("MQTT_URL", &format!("mqtt://{}", "h".repeat(254)));
    bad("MQTT_URL", &format!("mqtt://u:{}@h", "p".repeat(65_536)));
}

#[test]
fn users_and_passwords_in_a_url() {
    let cases = [
        ("mqtt://me@h", "me", None),
        ("mqtt://me:@h", "me", None),
        ("mqtt://me:pass@h:1", "me", Some("pass")),
        ("mqtt://me:pa:ss@h", "me", Some("pa:ss")),
        ("mqtt://me:pa@ss@h", "me", Some("pa@ss")),
        ("mqtt://a%40b%3a:%2f%3F%23%25@h", "a@b:", Some("/?#%")),
        ("mqtt://h%C3%B6he:gr%c3%bcn@[::1]:1", "höhe", Some("grün")),
        ("mqtt://me:line%0Afeed@h", "me", Some("line\nfeed")),
    ];
    for (url, username, password) in cases {
        let mqtt = good("MQTT_URL", url).mqtt;
        assert_eq!(mqtt.username.as_deref(), Some(username), "{url}");
        assert_eq!(
            mqtt.password.as_ref().map(Secret::reveal),
            password,
            "{url}"
        );
    }
}

#[test]
fn a_url_is_shown_without_its_password() {
    let cases = [
        ("mqtt://me:hunter2@h:1", "mqtt://me:***@h:1"),
        ("mqtt://me:hunter2:hunter2@h", "mqtt://me:***@h"),
        ("mqtt://me:@hunter2@h", "mqtt://me:***@h"),
        ("mqtt://me:hunter2/x@h", "mqtt://me:***@h"),
        ("mqtt://me:x://hunter2@h", "mqtt://me:***@h"),
        ("http://me:hunter2@h/x", "http://me:***@h/x"),
        ("mqtt:/me:hunter2@h", "mqtt:***@h"),
        ("me:hunter2@h", "me:***@h"),
        ("me:x://hunter2@h", "me:***@h"),
        ("mqtt://me:hunter2", "mqtt://me:***"),
        ("mqtt://me:hunter2]1", "mqtt://me:***"),
        ("mqtt://[me:hunter2]", "mqtt://[me:***"),
        ("mqtt://h/?password=hunter2", "mqtt://h/?***"),
        ("mqtt://h/?password=hunter2:1x", "mqtt://h/?******"),
        ("mqtt://me:x@h?hunter2", "mqtt://me:***@h?***"),
        ("mqtt://me@h:1", "mqtt://me@h:1"),
        ("mqtt://h:99999/", "mqtt://h:99999/"),
        ("mqtt://[::1]:1883", "mqtt://[::1]:1883"),
        ("mqtt://h", "mqtt://h"),
        ("", ""),
    ];
    for (url, shown) in cases {
        assert_eq!(without_password(url), shown, "{url}");
    }
}

#[test]
fn client_ids() {
    assert_eq!(good("MQTT_CLIENT_ID", "press 7").mqtt.client_id, "press 7");
    let longest = "x".repeat(65_535);
    assert_eq!(good("MQTT_CLIENT_ID", &longest).mqtt.client_id, longest);
    bad("MQTT_CLIENT_ID", &(longest + "x"));
    bad("MQTT_CLIENT_ID", "a\0b");
    assert_eq!(
        with(&[]).unwrap().mqtt.client_id,
        with(&[]).unwrap().mqtt.client_id
    );
    let cases = [
        (Some("press-7.local\n"), "kinesis-edge-press-7.local"),
        (Some("a_b c/d+#é"), "kinesis-edge-a_bcd"),
        (Some("\n"), "kinesis-edge-device"),
        (None, "kinesis-edge-device"),
    ];
    for (host, id) in cases {
        assert_eq!(default_client_id(host), id);
    }
}

#[test]
fn versions() {
    for (text, version) in [
        ("auto", MqttVersion::Auto),
        ("5", MqttVersion::V5),
        ("3.1.1", MqttVersion::V311),
    ] {
        assert_eq!(good("MQTT_VERSION", text).mqtt.version, version);
    }
    for text in ["4", "3.1", "3", "5.0", "Auto", "v5", "311"] {
        bad("MQTT_VERSION", text);
    }
}

#[test]
fn a_user_named_twice() {
    let mqtt = good("MQTT_USERNAME", "me").mqtt;
    assert_eq!(
        (mqtt.username.as_deref(), mqtt.password),
        (Some("me"), None)
    );
    let same = with(&[("MQTT_USERNAME", "me"), ("MQTT_URL", "mqtt://me:pass@h")])
        .unwrap()
        .mqtt;
    assert_eq!(same.username.as_deref(), Some("me"));
    assert_eq!(same.password.unwrap().reveal(), "pass");
    let set = [
        ("MQTT_USERNAME", "me"),
        ("MQTT_URL", "mqtt://you:hunter2@h"),
    ];
    assert_eq!(faulty(&set), ["MQTT_USERNAME"]);
    bad("MQTT_USERNAME", &"x".repeat(65_536));
}

#[test]
fn a_password_given_twice_or_to_nobody() {
    let files = tempfile::tempdir().unwrap();
    let file = write(files.path(), "password", b"hunter2\n");
    let user = ("MQTT_USERNAME", "me");
    let mut by_file = with(&[user, ("MQTT_PASSWORD_FILE", &file)]).unwrap();
    let named = by_file.mqtt.password_file.take();
    assert_eq!(named, Some(PathBuf::from(&file)));
    let by_value = with(&[user, ("MQTT_PASSWORD", SECRET)]).unwrap();
    let by_url = with(&[("MQTT_URL", "mqtt://me:hunter2@127.0.0.1")]).unwrap();
    let split = with(&[user, ("MQTT_URL", "mqtt://:hunter2@127.0.0.1")]).unwrap();
    assert_eq!(by_file, by_value);
    assert_eq!(by_file, by_url);
    assert_eq!(by_file, split);
    let shown = format!(
        "{by_file:?} {by_file:#?} {}",
        by_file.mqtt.password.as_ref().unwrap()
    );
    assert!(shown.contains("***") && !shown.contains(SECRET), "{shown}");

    let both = [
        user,
        ("MQTT_PASSWORD", SECRET),
        ("MQTT_PASSWORD_FILE", &file),
    ];
    assert_eq!(faulty(&both), ["MQTT_PASSWORD_FILE"]);
    assert_eq!(faulty(&[("MQTT_PASSWORD", SECRET)]), ["MQTT_PASSWORD"]);
    assert_eq!(
        faulty(&[("MQTT_PASSWORD_FILE", &file)]),
        ["MQTT_PASSWORD_FILE"]
    );
    assert_eq!(faulty(&[("MQTT_URL", "mqtt://:hunter2@h")]), ["MQTT_URL"]);
    let other = ("MQTT_URL", "mqtt://me:other@h");
    assert_eq!(
        faulty(&[other, ("MQTT_PASSWORD", SECRET)]),
        ["MQTT_PASSWORD"]
    );
    assert_eq!(
        faulty(&[other, ("MQTT_PASSWORD_FILE", &file)]),
        ["MQTT_PASSWORD_FILE"]
    );
    assert!(
        with(&[
            ("MQTT_URL", "mqtt://me:hunter2@h"),
            ("MQTT_PASSWORD", SECRET)
        ])
        .is_ok()
    );
    // A URL that cannot be read may have held the user: no second fault.
    assert_eq!(
        faulty(&[("MQTT_URL", "mqtt://me@h:0"), ("MQTT_PASSWORD", SECRET)]),
        ["MQTT_URL"]
    );
    let long = SECRET.repeat(10_000);
    assert_eq!(faulty(&[user, ("MQTT_PASSWORD", &long)]), ["MQTT_PASSWORD"]);
}

#[test]
fn password_files() {
    let files = tempfile::tempdir().unwrap();
    let password = |bytes: &[u8]| {
        let file = write(files.path(), "password", bytes);
        let read = with(&[("MQTT_USERNAME", "me"), ("MQTT_PASSWORD_FILE", &file)]);
        read.map(|parameters| parameters.mqtt.password.unwrap().reveal().to_owned())
    };
    let cases = [
        (&b"pass"[..], "pass"),
        (b"pass\n", "pass"),
        (b"pass\r\n", "pass"),
        (b"pass\n\n", "pass\n"),
        (b" pass \n", " pass "),
        (b"pass\r", "pass\r"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(password(bytes).unwrap(), expected);
    }
    let longest = [&[b'x'; 65_535][..], b"\r\n"].concat();
    assert_eq!(password(&longest).unwrap().len(), 65_535);
    for bytes in [
        &b""[..],
        b"\n",
        b"\r\n",
        b"hunter2\xff",
        &[b'x'; 65_536],
        &[b'x'; 1_000_000],
    ] {
        let faults = password(bytes).unwrap_err();
        assert_eq!(faults.0.len(), 1, "{faults}");
        assert_eq!(faults.0[0].parameter, "MQTT_PASSWORD_FILE");
        assert!(!faults.to_string().contains(SECRET));
    }
    let folder = files.path().to_str().unwrap();
    for path in ["/nonexistent/password", folder] {
        let fault = bad("MQTT_PASSWORD_FILE", path);
        assert_eq!(fault.value, Some(format!("\"{path}\"")));
        assert!(fault.problem.contains("os error"), "{fault}");
    }
}

#[test]
fn tls_files() {
    let files = tempfile::tempdir().unwrap();
    let pem = write(files.path(), "pem", b"");
    let tls = ("MQTT_URL", "mqtts://h");
    let (ca, cert, key) = (
        ("MQTT_CA_FILE", &*pem),
        ("MQTT_CERT_FILE", &*pem),
        ("MQTT_KEY_FILE", &*pem),
    );
    let mqtt = with(&[tls, ca, cert, key]).unwrap().mqtt;
    let path = Some(std::path::PathBuf::from(&pem));
    assert_eq!(
        [mqtt.ca_file, mqtt.cert_file, mqtt.key_file],
        [path.clone(), path.clone(), path.clone()]
    );
    assert_eq!(with(&[tls, ca]).unwrap().mqtt.ca_file, path);
    assert_eq!(faulty(&[tls, cert]), ["MQTT_CERT_FILE"]);
    assert_eq!(faulty(&[tls, key]), ["MQTT_KEY_FILE"]);
    assert_eq!(faulty(&[ca]), ["MQTT_CA_FILE"]);
    assert_eq!(
        faulty(&[ca, cert, key]),
        ["MQTT_CA_FILE", "MQTT_CERT_FILE", "MQTT_KEY_FILE"]
    );
    // Whether a URL that cannot be read meant TLS is not known: no fault but its own.
    assert_eq!(
        faulty(&[("MQTT_URL", "tls://h"), ca, cert, key]),
        ["MQTT_URL"]
    );
    let folder = files.path().to_str().unwrap();
    for name in ["MQTT_CA_FILE", "MQTT_CERT_FILE", "MQTT_KEY_FILE"] {
        for (bad, expected) in [("/nonexistent/pem", "os error 2"), (folder, "directory")] {
            let faults = with(&[tls, ca, cert, key, (name, bad)]).unwrap_err();
            assert_eq!(faults.0.len(), 1, "{faults}");
            assert_eq!(
                (faults.0[0].parameter, &faults.0[0].value),
                (name, &Some(format!("\"{bad}\"")))
            );
            assert!(faults.0[0].problem.contains(expected), "{faults}");
        }
    }
}
