//! TLS to a real broker: server and mutual authentication with certificates made here, both
//! versions of MQTT, large and many messages, and what a person reads where something does not fit.

#![cfg(feature = "local")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{
    App, ConnectorProcess, Mosquitto, MosquittoOptions, RunningConnector, STREAM, endpoint,
    eventually, free_port, parameters, quick_firehose,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::time::sleep;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes `<name>.pem` and `<name>.key` for these host names.
    fn issue(&self, folder: &Path, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// Mosquitto with TLS on `port`, and without on another one for the apps.
struct TlsBroker {
    mosquitto: Mosquitto,
    plain_port: u16,
}

impl TlsBroker {
    fn start(hosts: &[&str], mutual: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("authority");
        std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        std::fs::write(
            folder.path().join("other-ca.pem"),
            Authority::new("somebody else").pem,
        )
        .unwrap();
        authority.issue(folder.path(), "broker", hosts);
        authority.issue(folder.path(), "device", &["device"]);
        let plain_port = free_port();
        let lines = [
            "per_listener_settings false",
            "allow_anonymous true",
            "listener {port} 127.0.0.1",
            "cafile {dir}/ca.pem",
            "certfile {dir}/broker.pem",
            "keyfile {dir}/broker.key",
            &format!("require_certificate {mutual}"),
            &format!("listener {plain_port} 127.0.0.1"),
        ];
        let mosquitto = Mosquitto::start_in(
            folder,
            MosquittoOptions {
                own_listener: true,
                lines: lines.map(str::to_owned).to_vec(),
                ..MosquittoOptions::default()
            },
        );
        TlsBroker {
            mosquitto,
            plain_port,
        }
    }

    fn url(&self, host: &str) -> String {
        format!("mqtts://{host}:{}", self.mosquitto.port)
    }

    fn file(&self, name: &str) -> String {
        self.mosquitto.folder().join(name).display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_and_many_records_pass_in_both_versions() {
    const MANY: usize = 3000;
    let broker = TlsBroker::start(&["localhost", "127.0.0.1"], false);
    let endpoint = endpoint().await;
    for (version, host) in [("5", "localhost"), ("3.1.1", "127.0.0.1")] {
        let before = endpoint.accepted("test").len();
        let (url, ca) = (broker.url(host), broker.file("ca.pem"));
        let parameters = parameters(&[
            ("MQTT_URL", &url),
            ("MQTT_CA_FILE", &ca),
            ("MQTT_VERSION", version),
            ("MQTT_CLIENT_ID", version),
            ("PUBLISH_INTERVAL", "1"),
        ]);
        let connector = RunningConnector::start(&parameters, quick_firehose(&endpoint.url()).await);
        let app = App::connect(broker.plain_port).await;
        app.until_answered().await;
        let large: Vec<u8> = (0..1_024_000usize).map(|n| (n / 7) as u8).collect();
        app.binary("large", large.clone()).await;
        for number in 0..MANY {
            app.request(&number.to_string(), "small").await;
        }
        let statuses = app.wait_for(MANY + 1).await;
        assert_eq!(app.by_id().len(), MANY + 1);
        assert!(statuses.iter().all(|status| status.is_success()));
        let accepted = endpoint.accepted("test");
        assert_eq!(accepted.len() - before, MANY + 1);
        assert!(accepted[before..].iter().any(|record| record.data == large));
        assert!(connector.stop().await.is_nothing());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_certificate_opens_a_broker_that_asks_for_one() {
    let broker = TlsBroker::start(&["127.0.0.1"], true);
    let endpoint = endpoint().await;
    for version in ["5", "3.1.1"] {
        let parameters = parameters(&[
            ("MQTT_URL", &broker.url("127.0.0.1")),
            ("MQTT_CA_FILE", &broker.file("ca.pem")),
            ("MQTT_CERT_FILE", &broker.file("device.pem")),
            ("MQTT_KEY_FILE", &broker.file("device.key")),
            ("MQTT_VERSION", version),
            ("MQTT_CLIENT_ID", version),
            ("PUBLISH_INTERVAL", "1"),
        ]);
        let connector = RunningConnector::start(&parameters, quick_firehose(&endpoint.url()).await);
        let app = App::connect(broker.plain_port).await;
        app.until_answered().await;
        app.request("1", "data").await;
        assert!(app.status_of("1").await.is_success());
        assert!(connector.stop().await.is_nothing());
    }
}

/// Starts the program against the broker and gives its log a few attempts later, when one line
/// says why there is no connection.
async fn refused(url: &str, more: &[(&str, &str)]) -> String {
    let mut variables = vec![
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", url),
        ("MQTT_VERSION", "5"),
    ];
    variables.extend(more);
    let mut process = ConnectorProcess::start(&variables);
    eventually("the log says it", || {
        process.stderr().contains("no connection")
    })
    .await;
    sleep(Duration::from_secs(2)).await;
    let log = process.stderr();
    assert_eq!(log.matches("no connection").count(), 1, "{log}");
    assert!(!log.contains("connected to"), "{log}");
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_do_not_fit_are_named() {
    let broker = TlsBroker::start(&["elsewhere.example"], true);
    let (ca, other_ca) = (broker.file("ca.pem"), broker.file("other-ca.pem"));
    let url = broker.url("127.0.0.1");
    let (other_ca, ca) = ([("MQTT_CA_FILE", &*other_ca)], [("MQTT_CA_FILE", &*ca)]);
    let (unknown, name) = tokio::join!(refused(&url, &other_ca), refused(&url, &ca));
    println!("{unknown}{name}");
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    assert!(
        name.contains("not valid for name") && name.contains("elsewhere.example"),
        "{name}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_device_certificate_is_named() {
    let broker = TlsBroker::start(&["127.0.0.1"], true);
    let ca = broker.file("ca.pem");
    let log = refused(&broker.url("127.0.0.1"), &[("MQTT_CA_FILE", &ca)]).await;
    println!("{log}");
    assert!(log.to_lowercase().contains("certificate"), "{log}");
}

/// TLS spoken to a port without, and the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_kind_of_port_is_no_riddle() {
    let broker = TlsBroker::start(&["127.0.0.1"], false);
    let ca = broker.file("ca.pem");
    let url = format!("mqtts://127.0.0.1:{}", broker.plain_port);
    let log = refused(&url, &[("MQTT_CA_FILE", &ca)]).await;
    println!("{log}");
    assert!(log.contains("TLS"), "{log}");
}

#[test]
fn files_that_are_not_there_or_not_what_they_should_be_end_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem").display().to_string();
    std::fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing.pem").display().to_string();
    for (variables, names) in [
        (&[("MQTT_CA_FILE", &missing)][..], "missing.pem"),
        (&[("MQTT_CA_FILE", &empty)], "empty.pem"),
        (
            &[("MQTT_CERT_FILE", &missing), ("MQTT_KEY_FILE", &empty)],
            "missing.pem",
        ),
        (&[("MQTT_CERT_FILE", &empty)], "MQTT_KEY_FILE"),
    ] {
        let mut given = vec![
            ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
            ("MQTT_URL", "mqtts://127.0.0.1"),
        ];
        given.extend(
            variables
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        let mut process = ConnectorProcess::start(&given);
        assert_eq!(process.wait().code(), Some(2));
        assert!(process.stderr().contains(names), "{}", process.stderr());
    }
}
