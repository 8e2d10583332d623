//! What can be wrong with the broker, the way to it, and the rights there.

use std::fs;
use std::ops::Range;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::common::{Authority, Mosquitto, MosquittoOptions, finish, free_port, stderr, stdout};
use crate::site::{NO_BROKER, NO_SEND, Site, with_password};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_port_is_named() {
    let mut site = Site::new().await;
    let port = free_port();
    site.set("MQTT_URL", format!("mqtt://127.0.0.1:{port}"));
    let report = site.check(&[]).await;
    report
        .is(&NO_BROKER)
        .says("broker", &["refused", &port.to_string(), "MQTT_URL"]);
    site.set("MQTT_URL", "mqtt://no-such-host.invalid");
    let report = site.check(&[]).await;
    report.is(&NO_BROKER).says(
        "broker",
        &["cannot be resolved", "no-such-host.invalid", "DNS"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_password_is_named() {
    let mut site = Site::with_broker(with_password(&[], &[])).await;
    site.set("MQTT_USERNAME", "edge");
    site.set("MQTT_PASSWORD", "the wrong one");
    for version in ["5", "3.1.1"] {
        site.set("MQTT_VERSION", version);
        let report = site.check(&[]).await;
        report
            .is(&[
                NO_SEND,
                ("login", "failed"),
                ("subscribe", "skipped"),
                ("publish", "skipped"),
                ("client-id", "skipped"),
            ])
            .says(
                "login",
                &["wrong user or password", "edge", "MQTT_USERNAME"],
            );
    }
    site.set("MQTT_PASSWORD", "the right one");
    let report = site.check(&[]).await;
    report.is(&[NO_SEND]).says("login", &["edge"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_to_subscribe_is_named() {
    let mut site = Site::with_broker(Mosquitto::without_subscriptions()).await;
    for version in ["5", "3.1.1"] {
        site.set("MQTT_VERSION", version);
        let report = site.check(&[]).await;
        report
            .is(&[NO_SEND, ("subscribe", "failed")])
            .says(
                "subscribe",
                &[
                    "kinesisfirehose/message (",
                    "kinesisfirehose/message/binary/# (",
                    "allow",
                ],
            )
            .says("publish", &["took a message"]);
    }
}

/// What comes to a group goes to one of it, so a visit must not be one: it would take messages from the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_subscription_is_tried_under_a_group_of_its_own() {
    let mut site = Site::new().await;
    site.set("SHARED_SUBSCRIPTION_GROUP", "hall");
    for version in ["5", "3.1.1"] {
        site.set("MQTT_VERSION", version);
        let report = site.check(&[]).await;
        report.is(&[NO_SEND]).says(
            "subscribe",
            &["$share/hall-check-", "/kinesisfirehose/message/binary/#"],
        );
    }
    let mut site = Site::with_broker(Mosquitto::without_subscriptions()).await;
    site.set("SHARED_SUBSCRIPTION_GROUP", "hall");
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND, ("subscribe", "failed")])
        .says("subscribe", &["NotAuthorized", "SHARED_SUBSCRIPTION_GROUP"]);
}

/// One at whose broker the connector's user has these rights.
async fn site_with_rights(rights: &str) -> Site {
    let broker = with_password(&["acl_file {dir}/rights"], &[("rights", rights)]);
    let mut site = Site::with_broker(broker).await;
    site.set("MQTT_USERNAME", "edge");
    site.set("MQTT_PASSWORD", "the right one");
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_to_publish_is_named_with_either_version() {
    let rights = "user edge\ntopic read kinesisfirehose/message/#\n";
    let mut site = site_with_rights(rights).await;
    for version in ["5", "3.1.1"] {
        site.set("MQTT_VERSION", version);
        let report = site.check(&[]).await;
        report.is(&[NO_SEND, ("publish", "failed")]).says(
            "publish",
            &["kinesisfirehose/message/status", "NotAuthorized", "allow"],
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_to_the_connectors_own_status_is_named_with_either_version() {
    let rights = "user edge\ntopic read kinesisfirehose/message/#\ntopic write kinesisfirehose/message/status\n";
    let mut site = site_with_rights(rights).await;
    for version in ["5", "3.1.1"] {
        site.set("MQTT_VERSION", version);
        site.check(&[]).await.is(&[NO_SEND]);
        site.set("CONNECTOR_STATUS_INTERVAL", "3");
        let report = site.check(&[]).await;
        report.is(&[NO_SEND, ("publish", "failed")]).says(
            "publish",
            &[
                "kinesisfirehose/connector/status",
                "NotAuthorized",
                "CONNECTOR_STATUS_INTERVAL",
            ],
        );
        site.variables.remove("CONNECTOR_STATUS_INTERVAL");
    }
}

/// One of the broker's own programs, on the topic of the connector's own status.
fn client(broker: &Mosquitto, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(["-h", "127.0.0.1", "-p", &broker.port.to_string()])
        .args(["-t", "kinesisfirehose/connector/status"])
        .args(arguments)
        .kill_on_drop(true);
    command
}

async fn publish(broker: &Mosquitto, arguments: &[&str]) {
    let done = finish(&mut client(broker, "mosquitto_pub", arguments)).await;
    assert!(done.status.success(), "{}", stderr(&done));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_keeps_of_the_connectors_own_status_stays() {
    const KEPT: &str = r#"{"state":"kept"}"#;
    const END: &str = r#"{"state":"end"}"#;
    let mut site = Site::new().await;
    site.set("CONNECTOR_STATUS_INTERVAL", "3");
    publish(&site.broker, &["-r", "-m", KEPT]).await;
    let mut dashboard = client(&site.broker, "mosquitto_sub", &["-C", "4", "-W", "60"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("mosquitto_sub starts");
    let mut shown = BufReader::new(dashboard.stdout.take().unwrap()).lines();
    assert_eq!(shown.next_line().await.unwrap().as_deref(), Some(KEPT));
    for version in ["5", "3.1.1"] {
        site.set("MQTT_VERSION", version);
        let report = site.check(&[]).await;
        report
            .is(&[NO_SEND])
            .says("publish", &["kinesisfirehose/connector/status is allowed"]);
    }
    publish(&site.broker, &["-m", END]).await;
    // Neither a will, nor anything that says something.
    for expected in ["{}", "{}", END] {
        assert_eq!(shown.next_line().await.unwrap().as_deref(), Some(expected));
    }
    let later = finish(&mut client(
        &site.broker,
        "mosquitto_sub",
        &["-C", "1", "-W", "60"],
    ))
    .await;
    assert_eq!(stdout(&later).trim(), KEPT);
}

/// Says in a CONNECT that it has a will.
const WILL_FLAG: u8 = 0x04;

/// A broker of MQTT 3.1.1 that grants everything but a last will, and passes nothing on.
async fn that_passes_nothing_on() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut packet = [0; 4096];
                loop {
                    // One packet at a time is asked and waited for.
                    let Ok(bytes @ 1..) = socket.read(&mut packet).await else {
                        return;
                    };
                    let answer = match packet[0] >> 4 {
                        1 if packet[8] == 4 && packet[9] & WILL_FLAG != 0 => vec![0x20, 2, 0, 5],
                        1 if packet[8] == 4 => vec![0x20, 2, 0, 0],
                        1 => vec![0x20, 2, 0, 1],
                        3 => {
                            let topic = usize::from(packet[3]);
                            vec![0x40, 2, packet[4 + topic], packet[5 + topic]]
                        }
                        8 => {
                            let filters = if bytes > 60 { 2 } else { 1 };
                            let mut answer = vec![0x90, 2 + filters, packet[2], packet[3]];
                            answer.resize(answer.len() + usize::from(filters), 1);
                            answer
                        }
                        _ => continue,
                    };
                    if socket.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broker_does_not_tell_is_not_guessed() {
    let mut site = Site::new().await;
    let port = that_passes_nothing_on().await;
    site.set("MQTT_URL", format!("mqtt://127.0.0.1:{port}"));
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND, ("publish", "skipped")])
        .says("publish", &["cannot be told", "3.1.1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_will_that_is_refused_is_named() {
    let mut site = Site::new().await;
    let port = that_passes_nothing_on().await;
    site.set("MQTT_URL", format!("mqtt://127.0.0.1:{port}"));
    site.set("MQTT_VERSION", "3.1.1");
    site.set("CONNECTOR_STATUS_INTERVAL", "3");
    let report = site.check(&[]).await;
    report.is(&[NO_SEND, ("publish", "failed")]).says(
        "publish",
        &[
            "kinesisfirehose/connector/status",
            "last will",
            "NotAuthorized",
        ],
    );
}

/// Mosquitto with TLS under certificates of ours; the files are in its folder.
fn with_tls(hosts: &[&str], years: Range<i32>) -> Mosquitto {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, pem: &str| fs::write(folder.path().join(name), pem).unwrap();
    let authority = Authority::new("authority");
    write("ca.pem", &authority.pem);
    write("other-ca.pem", &Authority::new("somebody else").pem);
    authority.issue_for(folder.path(), "broker", hosts, years);
    let lines = [
        "listener {port} 127.0.0.1",
        "allow_anonymous true",
        "cafile {dir}/ca.pem",
        "certfile {dir}/broker.pem",
        "keyfile {dir}/broker.key",
    ];
    Mosquitto::start_in(
        folder,
        MosquittoOptions {
            own_listener: true,
            lines: lines.map(str::to_owned).to_vec(),
            ..MosquittoOptions::default()
        },
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_do_not_fit_are_named() {
    let (here, elsewhere) = ("127.0.0.1", "elsewhere.example");
    let always = || 1975..4096;
    for (host, years, ca, words) in [
        (here, always(), "ca.pem", None),
        (here, always(), "other-ca.pem", Some("set MQTT_CA_FILE")),
        (elsewhere, always(), "ca.pem", Some("is for another name")),
        (here, 1975..2020, "ca.pem", Some("has expired")),
        (here, 4000..4096, "ca.pem", Some("is not valid yet")),
    ] {
        let mut site = Site::with_broker(with_tls(&[host], years)).await;
        let url = format!("mqtts://127.0.0.1:{}", site.broker.port);
        let ca = site.broker.folder().join(ca).display().to_string();
        site.set("MQTT_URL", url);
        site.set("MQTT_CA_FILE", ca);
        let report = site.check(&[]).await;
        match words {
            Some(words) => report.is(&NO_BROKER).says("broker", &[words]),
            None => report.is(&[NO_SEND]).says("broker", &["is trusted"]),
        };
    }
}

/// The broker says that it refuses it, and not why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_ours_that_has_expired_is_named() {
    let mut site = Site::with_broker(with_tls(&["127.0.0.1"], 1975..4096)).await;
    let folder = site.folder.path();
    let strangers = Authority::new("somebody else");
    strangers.issue_for(folder, "ours", &["device"], 2001..2002);
    let file = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = (file("ours.pem"), file("ours.key"));
    let ca = site.broker.folder().join("ca.pem").display().to_string();
    site.set(
        "MQTT_URL",
        format!("mqtts://127.0.0.1:{}", site.broker.port),
    );
    site.set("MQTT_CA_FILE", ca);
    site.set("MQTT_CERT_FILE", certificate);
    site.set("MQTT_KEY_FILE", key);
    // This broker does not ask for one.
    let words = [
        "ours.pem (MQTT_CERT_FILE) has expired, on 2002-01-01",
        "clock",
    ];
    site.check(&[]).await.is(&[NO_SEND]).says("files", &words);
}
