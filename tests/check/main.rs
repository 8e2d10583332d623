//! `kinesis-edge check`: each set-up that is broken is named in its own line with the cause, while the other
//! lines are as they should be; one that is well is told so, also beside a connector that runs, which loses
//! nothing; and nothing that is secret is shown.

#![cfg(feature = "local")]

#[path = "../common/mod.rs"]
mod common;

mod aws;
mod broker;
mod client_id;
mod disk;
mod identity;
mod site;

use std::fs;

use common::{stderr, stdout};
use kinesis_edge::local::{CallFault, Faults};
use serde_json::Value;
use site::{ID, NO_SEND, Site, with_password};
use tokio::net::TcpListener;

async fn all_is_well(version: &'static str) {
    let mut site = Site::new().await;
    site.set("MQTT_VERSION", version);
    let report = site.check(&["--send"]).await;
    report
        .is(&[])
        .says("login", &["without a user", &format!("MQTT {version}")])
        .says("publish", &["came back"])
        .says("credentials", &["the environment", "AKIA…MNOP"])
        .says("queue", &["can be made"])
        .says("client-id", &["nobody else"]);
    let sent = site.endpoint.accepted("test");
    assert_eq!(sent.len(), 1);
    let record: Value = serde_json::from_slice(&sent[0].data).unwrap();
    assert_eq!(record["kinesis_edge_check"]["client_id"], ID);
    // Whoever runs the connector makes them.
    assert_eq!(fs::read_dir(site.folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_well_is_told_so() {
    tokio::join!(all_is_well("5"), all_is_well("3.1.1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_gets_a_line_for_each_step_in_order() {
    let site = Site::new().await;
    let output = site.run(&[]).await;
    let text = stdout(&output);
    let names: Vec<&str> = text
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(names[..3], ["parameters", "files", "broker"], "{text}");
    assert_eq!(names.len(), 14, "{text}");
    assert_eq!(names[13], "client-id", "{text}");
    assert!(
        !text.contains('\u{1b}'),
        "no colours where no terminal is: {text}"
    );
    for line in text.lines() {
        let sign = if line.contains(" send ") {
            '–'
        } else {
            '✓'
        };
        assert!(line.starts_with(sign), "{line}");
    }
    assert_eq!(output.status.code(), Some(0));
}

/// What follows where nothing is tried.
const NOTHING: [&str; 12] = [
    "broker",
    "login",
    "subscribe",
    "publish",
    "credentials",
    "endpoint",
    "clock",
    "access",
    "queue",
    "dead-letters",
    "send",
    "client-id",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_parameters_and_files_are_all_named() {
    let mut site = Site::new().await;
    site.set("PUBLISH_INTERVAL", "901");
    site.set("MEMORY_SIZE", "little");
    site.set("MQTT_USERNAME", "edge");
    site.set("MQTT_PASSWORD_FILE", "missing");
    let mut expected: Vec<(&str, &str)> = NOTHING.map(|name| (name, "skipped")).to_vec();
    expected.extend([("parameters", "failed"), ("files", "failed")]);
    let report = site.check(&[]).await;
    report
        .is(&expected)
        .says(
            "parameters",
            &["2 faults", "PUBLISH_INTERVAL", "MEMORY_SIZE", "0 to 900"],
        )
        .says("files", &["1 fault", "MQTT_PASSWORD_FILE", "missing"]);

    site.variables.remove("PUBLISH_INTERVAL");
    site.variables.remove("MEMORY_SIZE");
    site.variables.remove("MQTT_PASSWORD_FILE");
    site.variables.remove("MQTT_USERNAME");
    site.set("MQTT_URL", site.broker.url().replace("mqtt://", "mqtts://"));
    let empty = site.folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    site.set("MQTT_CA_FILE", empty.display().to_string());
    let mut expected: Vec<(&str, &str)> = NOTHING.map(|name| (name, "skipped")).to_vec();
    expected.push(("files", "failed"));
    let report = site.check(&[]).await;
    report
        .is(&expected)
        .says("files", &["empty.pem", "no certificate", "PEM"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_configuration_file_are_told_with_their_lines() {
    let mut site = Site::new().await;
    let mut expected: Vec<(&str, &str)> = NOTHING.map(|name| (name, "skipped")).to_vec();
    expected.extend([("parameters", "failed"), ("files", "skipped")]);
    site.variables.remove("PUBLISH_INTERVAL");
    let file = site.folder.path().join("c.toml");
    for (text, words) in [
        ("\nPUBLISH_INTERVAL =\n", "c.toml:2: it is not TOML"),
        (
            "PUBLISH_INTERVL = 3\n",
            "c.toml:1: there is no parameter \\\"PUBLISH_INTERVL\\\"",
        ),
        ("\n\nPUBLISH_INTERVAL = 901\n", "c.toml:3) is \\\"901\\\""),
    ] {
        fs::write(&file, text).unwrap();
        let report = site.check(&["--config", "c.toml"]).await;
        report.is(&expected).says("parameters", &["1 fault", words]);
    }
    let report = site.check(&["--config", "nosuch.toml"]).await;
    report.is(&expected).says(
        "parameters",
        &["--config is \\\"nosuch.toml\\\": the file cannot be read"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_secret_is_shown() {
    const SECRETS: [&str; 4] = [
        "hidden-password",
        "hidden-secret",
        "hidden-token",
        "AKIAABCDEFGHIJKLMNOP",
    ];
    let mut site = Site::with_broker(with_password(&[], &[])).await;
    let with_password = |site: &Site, port: u16| {
        assert_eq!(site.broker.port, port);
        format!("mqtt://edge:hidden-password@127.0.0.1:{port}")
    };
    site.set("MQTT_URL", with_password(&site, site.broker.port));
    site.set("AWS_SECRET_ACCESS_KEY", "hidden-secret");
    site.set("AWS_SESSION_TOKEN", "hidden-token");
    let shown = async |site: &Site, words: &str| {
        for arguments in [&["--send"][..], &["--json", "--send"]] {
            let output = site.run(arguments).await;
            let text = stdout(&output) + &stderr(&output);
            assert!(text.contains(words), "{text}");
            for secret in SECRETS {
                assert!(!text.contains(secret), "{secret}: {text}");
            }
        }
    };
    shown(&site, "the right to the stream").await;
    // As AWS does it, the refusal quotes what was signed, the token included.
    site.endpoint.faults().set_all(Faults {
        call: CallFault::BadSignature,
        ..Faults::default()
    });
    shown(&site, "InvalidSignatureException").await;
    // Whoever puts a password into the endpoint's URL, whether it is one or not.
    let place = site.endpoint.url().replace("http://", "");
    for (url, words) in [
        (
            format!("http://edge:hidden-password@{place}/?token=hidden-token"),
            "answers",
        ),
        (
            "http://edge:hidden-password@".to_owned() + &place + ":x",
            "not a valid",
        ),
        (format!("edge:hidden-password@{place}"), "scheme"),
    ] {
        site.set("AWS_ENDPOINT_URL", url);
        shown(&site, words).await;
    }
    site.set("PUBLISH_INTERVAL", "901");
    site.set("MQTT_URL", "mqtt://edge:hidden-password@/");
    shown(&site, "2 faults").await;
}

/// Takes connections and never says a word.
async fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            kept.push(socket);
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_answers_is_given_up() {
    let mut site = Site::new().await;
    site.set("MQTT_URL", format!("mqtt://127.0.0.1:{}", silent().await));
    site.set(
        "AWS_ENDPOINT_URL",
        format!("http://127.0.0.1:{}", silent().await),
    );
    let report = site.check(&[]).await;
    report
        .is(&[
            NO_SEND,
            ("login", "failed"),
            ("subscribe", "skipped"),
            ("publish", "skipped"),
            ("client-id", "skipped"),
            ("endpoint", "failed"),
            ("clock", "skipped"),
            ("access", "skipped"),
        ])
        .says("login", &["no answer within 10 s"])
        .says("endpoint", &["no answer within 10 s"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_command_line_has_a_status_of_its_own() {
    let site = Site::new().await;
    let output = site.run(&["--no-such-flag"]).await;
    assert_eq!(output.status.code(), Some(2));
}
