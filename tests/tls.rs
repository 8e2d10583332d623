//! TLS to a real broker: server and mutual authentication with certificates made here, both
//! versions of MQTT, large and many messages, and what a person reads where something does not fit.

#![cfg(feature = "local")]

mod common;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{
    App, Authority, ConnectorProcess, Mosquitto, MosquittoOptions, RunningConnector, STREAM,
    endpoint, eventually, free_port, parameters, quick_firehose,
};
use kinesis_edge::mqtt::client_config;
use kinesis_edge::tls::TlsFiles;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Years that are over, and years that have not come.
const OVER: Range<i32> = 2001..2002;
const TO_COME: Range<i32> = 3001..3002;

/// Mosquitto with TLS on `port`, and without on another one for the apps.
struct TlsBroker {
    mosquitto: Mosquitto,
    plain_port: u16,
    authority: Authority,
}

impl TlsBroker {
    fn start(hosts: &[&str], mutual: bool) -> Self {
        Self::start_with(hosts, mutual, 1975..4096, "1.2", "1.3")
    }

    /// One that asks for a certificate and speaks this version of TLS only.
    fn of_version(version: &str) -> Self {
        Self::start_with(&["127.0.0.1"], true, 1975..4096, version, version)
    }

    /// One with a certificate of these years, that speaks these versions of TLS.
    fn start_with(
        hosts: &[&str],
        mutual: bool,
        years: Range<i32>,
        least: &str,
        most: &str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("authority");
        std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        std::fs::write(
            folder.path().join("other-ca.pem"),
            Authority::new("somebody else").pem,
        )
        .unwrap();
        authority.issue_for(folder.path(), "broker", hosts, years);
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
        // Mosquitto's own `tls_version` names the least only.
        let versions = format!(
            "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = versions\n\
             [versions]\nMinProtocol = TLSv{least}\nMaxProtocol = TLSv{most}\n"
        );
        std::fs::write(folder.path().join("openssl.cnf"), versions).unwrap();
        let mosquitto = Mosquitto::start_in(
            folder,
            MosquittoOptions {
                own_listener: true,
                lines: lines.map(str::to_owned).to_vec(),
                environment: vec![("OPENSSL_CONF", "{dir}/openssl.cnf".to_owned())],
                ..MosquittoOptions::default()
            },
        );
        TlsBroker {
            mosquitto,
            plain_port,
            authority,
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
/// says why there is no connection, and the attempts have not been many.
async fn refused(broker: &TlsBroker, url: &str, more: &[(&str, &str)]) -> String {
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
    let before = broker.mosquitto.connections();
    sleep(Duration::from_secs(3)).await;
    let attempts = broker.mosquitto.connections() - before;
    let log = process.stderr();
    println!("{attempts} more attempts in 3 s\n{log}");
    // They wait 0.1 s and more, 0.2 s and more, 0.4 s, ... with up to half of it left out; without that it would be hundreds.
    assert!(attempts <= 8, "{attempts} attempts in 3 s");
    assert_eq!(log.matches("no connection").count(), 1, "{log}");
    assert!(!log.contains("connected to"), "{log}");
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    log
}

/// Each with its cause and with what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_the_broker_that_does_not_fit_is_named() {
    let elsewhere = TlsBroker::start(&["elsewhere.example"], false);
    let expired = TlsBroker::start_with(&["127.0.0.1"], false, OVER, "1.2", "1.3");
    let early = TlsBroker::start_with(&["127.0.0.1"], false, TO_COME, "1.2", "1.3");
    let other_ca = elsewhere.file("other-ca.pem");
    let cases = [
        (&elsewhere, other_ca, ["UnknownIssuer", "set MQTT_CA_FILE"]),
        (
            &elsewhere,
            elsewhere.file("ca.pem"),
            ["elsewhere.example", "put one of its names into MQTT_URL"],
        ),
        (
            &expired,
            expired.file("ca.pem"),
            ["expired, on 2002-01-01T00:00:00", "clock right"],
        ),
        (
            &early,
            early.file("ca.pem"),
            ["not valid before 3001-01-01T00:00:00", "clock right"],
        ),
    ];
    for (broker, ca, words) in cases {
        let log = refused(broker, &broker.url("127.0.0.1"), &[("MQTT_CA_FILE", &ca)]).await;
        assert!(
            words.iter().all(|words| log.contains(words)),
            "{words:?}: {log}"
        );
    }
}

/// The broker only says that it refuses the certificate; why, the log says where it can be seen from here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_ours_that_the_broker_refuses_is_named() {
    for version in ["1.2", "1.3"] {
        let broker = TlsBroker::of_version(version);
        let folder = broker.mosquitto.folder();
        broker
            .authority
            .issue_for(folder, "expired", &["device"], OVER);
        broker
            .authority
            .issue_for(folder, "early", &["device"], TO_COME);
        Authority::new("somebody else").issue(folder, "stranger", &["device"]);
        for (name, words) in [
            ("expired", "expired, on 2002-01-01"),
            ("early", "not valid before 3001-01-01"),
            ("stranger", "trusts the authority"),
        ] {
            let more = [
                ("MQTT_CA_FILE", &*broker.file("ca.pem")),
                ("MQTT_CERT_FILE", &broker.file(&format!("{name}.pem"))),
                ("MQTT_KEY_FILE", &broker.file(&format!("{name}.key"))),
            ];
            let log = refused(&broker, &broker.url("127.0.0.1"), &more).await;
            let file = format!("{name}.pem (MQTT_CERT_FILE)");
            assert!(
                log.contains(&file) && log.contains(words),
                "{version}: {log}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_device_certificate_is_named() {
    for version in ["1.2", "1.3"] {
        let broker = TlsBroker::of_version(version);
        let more = [("MQTT_CA_FILE", &*broker.file("ca.pem"))];
        let log = refused(&broker, &broker.url("127.0.0.1"), &more).await;
        assert!(
            log.contains("certificate of this device") && log.contains("MQTT_CERT_FILE"),
            "{version}: {log}"
        );
    }
}

/// A certificate that is replaced under the same name is used at the next attempt: here first one that has expired,
/// then a good one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_read_again_at_each_attempt() {
    let broker = TlsBroker::start(&["127.0.0.1"], true);
    let folder = broker.mosquitto.folder();
    broker
        .authority
        .issue_for(folder, "device", &["device"], OVER);
    let process = ConnectorProcess::start(&[
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", &broker.url("127.0.0.1")),
        ("MQTT_CA_FILE", &broker.file("ca.pem")),
        ("MQTT_CERT_FILE", &broker.file("device.pem")),
        ("MQTT_KEY_FILE", &broker.file("device.key")),
    ]);
    eventually("it is refused", || {
        process.stderr().contains("no connection")
    })
    .await;
    broker.authority.issue(folder, "device", &["device"]);
    eventually("it is let in", || {
        process.stderr().contains("connected to the MQTT broker")
    })
    .await;
}

/// Brokers that speak the one or the other version only, and what a connection to them speaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_1_2_and_1_3_are_spoken() {
    let endpoint = endpoint().await;
    for (version, expected) in [
        ("1.2", ProtocolVersion::TLSv1_2),
        ("1.3", ProtocolVersion::TLSv1_3),
    ] {
        let broker = TlsBroker::of_version(version);
        let (ca, certificate, key) = (
            broker.file("ca.pem"),
            broker.file("device.pem"),
            broker.file("device.key"),
        );
        let files = TlsFiles {
            ca: Some((&ca).into()),
            client: Some(((&certificate).into(), (&key).into())),
        };
        let config = client_config(&files, broker.mosquitto.port).unwrap();
        assert_eq!(
            handshake(config, broker.mosquitto.port).await.0,
            Some(expected)
        );
        let parameters = parameters(&[
            ("MQTT_URL", &broker.url("127.0.0.1")),
            ("MQTT_CA_FILE", &ca),
            ("MQTT_CERT_FILE", &certificate),
            ("MQTT_KEY_FILE", &key),
            ("PUBLISH_INTERVAL", "1"),
        ]);
        let connector = RunningConnector::start(&parameters, quick_firehose(&endpoint.url()).await);
        let app = App::connect(broker.plain_port).await;
        app.until_answered().await;
        assert!(connector.stop().await.is_nothing());
    }
}

/// A server that takes connections by this protocol name only, as AWS IoT Core does on port 443. Gives its port.
async fn server_of(protocol: &[u8], folder: &Path) -> u16 {
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            // Who has no common name is told so in the handshake.
            let _ = acceptor.accept(tcp).await;
        }
    });
    port
}

/// What a connection to this port speaks, and by which name.
async fn handshake(
    config: Arc<ClientConfig>,
    port: u16,
) -> (Option<ProtocolVersion>, Option<Vec<u8>>) {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .expect("there is TLS");
    let (_, connection) = stream.get_ref();
    (
        connection.protocol_version(),
        connection.alpn_protocol().map(<[u8]>::to_vec),
    )
}

/// Tests do not listen on port 443, so the configuration for it is tried on another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_443_is_asked_for_mqtt_as_iot_core_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("authority");
    authority.issue(folder.path(), "server", &["127.0.0.1"]);
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    let files = TlsFiles {
        ca: Some(folder.path().join("ca.pem")),
        client: None,
    };
    let iot_core = server_of(b"x-amzn-mqtt-ca", folder.path()).await;
    let config = |port| client_config(&files, port).unwrap();
    let (_, name) = handshake(config(443), iot_core).await;
    assert_eq!(name.as_deref(), Some(&b"x-amzn-mqtt-ca"[..]));
    // Elsewhere nothing is asked for.
    assert_eq!(handshake(config(8883), iot_core).await.1, None);
    assert_eq!(config(443).alpn_protocols.len(), 1);
}

/// As AWS IoT Core does with a certificate that it does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_up_without_a_word_is_told_with_what_that_may_mean() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("authority");
    authority.issue(folder.path(), "server", &["127.0.0.1"]);
    authority.issue(folder.path(), "device", &["device"]);
    let file = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(file("ca.pem"), &authority.pem).unwrap();
    let port = server_of(b"mqtt", folder.path()).await;
    let process = ConnectorProcess::start(&[
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", &format!("mqtts://127.0.0.1:{port}")),
        ("MQTT_CA_FILE", &file("ca.pem")),
        ("MQTT_CERT_FILE", &file("device.pem")),
        ("MQTT_KEY_FILE", &file("device.key")),
    ]);
    eventually("it says what that may mean", || {
        let log = process.stderr();
        let words = ["without an answer", "device.pem (MQTT_CERT_FILE)", "policy"];
        words.iter().all(|word| log.contains(word))
    })
    .await;
}

/// TLS spoken to a port without, and the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_kind_of_port_is_no_riddle() {
    let broker = TlsBroker::start(&["127.0.0.1"], false);
    let ca = broker.file("ca.pem");
    let url = format!("mqtts://127.0.0.1:{}", broker.plain_port);
    let log = refused(&broker, &url, &[("MQTT_CA_FILE", &ca)]).await;
    assert!(log.contains("TLS"), "{log}");
}

#[test]
fn files_that_are_not_there_or_not_what_they_should_be_end_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem").display().to_string();
    std::fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing.pem").display().to_string();
    for (variables, names, status) in [
        (&[("MQTT_CA_FILE", &missing)][..], "missing.pem", 1),
        (&[("MQTT_CA_FILE", &empty)], "empty.pem", 1),
        (
            &[("MQTT_CERT_FILE", &missing), ("MQTT_KEY_FILE", &empty)],
            "missing.pem",
            1,
        ),
        (&[("MQTT_CERT_FILE", &empty)], "MQTT_KEY_FILE", 2),
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
        assert_eq!(process.wait().code(), Some(status));
        assert!(process.stderr().contains(names), "{}", process.stderr());
    }
}

/// Files come and go while they are renewed, and a service manager that starts the connector again at once would fill
/// the log; one that does not start it again would leave the device to itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_service_manager_a_file_that_is_missing_is_waited_for_before_the_end() {
    let given = [
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", "mqtts://127.0.0.1"),
        ("MQTT_CA_FILE", "/missing.pem"),
        ("NOTIFY_SOCKET", "/nobody"),
    ];
    let mut process = ConnectorProcess::start(&given);
    eventually("it is told", || process.stderr().contains("/missing.pem")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(process.is_running());
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(1));
}
