//! How credentials are asked for: of whoever answers no more is read than credentials have, and no proxy is asked to
//! lead to this machine.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{App, Authority, Mosquitto, eventually};
use crate::iot::proxy;
use crate::places::{TokenExchange, instance};
use crate::{connector_at, warnings};

const KEY: &str = "ASIAFIRSTFIRSTFIRSTF";
const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", KEY),
    ("AWS_SECRET_ACCESS_KEY", "made-up"),
];
const ROLE: (&str, &str) = ("ASSUME_ROLE_ARN", "arn:aws:iam::210987654321:role/writer");

/// The instance is asked.
const INSTANCE: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "false");

/// What an endless answer may get rid of before the connector hangs up: what both sides' sockets buffer, and a little.
const ENDLESS_MAX_BYTES: usize = 16 << 20;

/// One who answers with 200 and a body without an end; the most bytes of an answer that was taken.
async fn endless() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let most = Arc::new(AtomicUsize::new(0));
    let noted = Arc::clone(&most);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let noted = Arc::clone(&noted);
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 4096]).await;
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n{";
                let (mut sent, mut part) = (0, &head[..]);
                while socket.write_all(part).await.is_ok() {
                    sent += part.len();
                    noted.fetch_max(sent, Ordering::SeqCst);
                    part = &[b' '; 64 * 1024];
                }
            });
        }
    });
    (url, most)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_an_end_is_not_read_to_its_end() {
    let broker = Mosquitto::start();
    for (variable, more) in [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &[][..]),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &[INSTANCE]),
        ("AWS_ENDPOINT_URL_STS", &[ROLE, KEYS[0], KEYS[1]]),
    ] {
        let (url, most) = endless().await;
        let variables = [&[(variable, &*url), ("MQTT_CLIENT_ID", variable)], more].concat();
        // Nothing is sent: the address is never called.
        let connector = connector_at(&broker, "http://127.0.0.1:9", &variables);
        eventually("it says so", || !warnings(&connector).is_empty()).await;
        let said = &warnings(&connector)[0];
        let words = "the answer is longer than 65536 bytes";
        assert!(said.contains(words), "{variable}: {said}");
        let most = most.load(Ordering::SeqCst);
        assert!(most < ENDLESS_MAX_BYTES, "{variable}: {most} bytes");
    }
}

/// Stands before this port with a certificate: where it is, and the file of who has signed that.
async fn tls_before(port: u16, folder: &Path) -> (String, String) {
    let authority = Authority::new("authority");
    let trusted = folder.join("ca.pem");
    std::fs::write(&trusted, &authority.pem).unwrap();
    let acceptor = authority.acceptor("localhost", 1975..4096);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}/",
        listener.local_addr().unwrap().port()
    );
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut socket = acceptor.accept(socket).await.unwrap();
                let mut behind = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = copy_bidirectional(&mut socket, &mut behind).await;
            });
        }
    });
    (url, trusted.display().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_asks_aws_goes_through_a_proxy() {
    let broker = Mosquitto::start();
    let exchange = TokenExchange::start(0, KEY, Duration::from_secs(3600)).await;
    let (container, (instance, asked)) = (exchange.url(), instance(KEY).await);
    let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hidden-authorization");
    let folder = tempfile::tempdir().unwrap();
    let (over_tls, trusted) = tls_before(exchange.port, folder.path()).await;
    let profile = folder.path().join("config").display().to_string();
    let text = format!(
        "[default]\nrole_arn = {}\ncredential_source = EcsContainer\n",
        ROLE.1
    );
    std::fs::write(&profile, text).unwrap();
    for (name, variables) in [
        (
            "container",
            &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*container), token][..],
        ),
        (
            "container over TLS",
            &[
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*over_tls),
                ("SSL_CERT_FILE", &*trusted),
                token,
            ],
        ),
        (
            "source of a profile",
            &[
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*container),
                ("AWS_CONFIG_FILE", &*profile),
                token,
            ],
        ),
        (
            "instance",
            &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*instance), INSTANCE],
        ),
        ("role", &[ROLE, KEYS[0], KEYS[1]]),
    ] {
        let (url, seen) = proxy(Some("HTTP/1.1 502 No way\r\nContent-Length: 0\r\n\r\n")).await;
        let more = [
            ("HTTP_PROXY", &*url),
            ("HTTPS_PROXY", &*url),
            ("MQTT_CLIENT_ID", name),
        ];
        let connector = connector_at(&broker, "http://aws.example", &[&more, variables].concat());
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        app.request("first", "a record").await;
        let mut first = String::new();
        eventually(&format!("{name}: AWS is asked through the proxy"), || {
            first = seen.try_recv().unwrap_or_default();
            !first.is_empty()
        })
        .await;
        let log = connector.stderr();
        assert!(
            first.starts_with("POST http://aws.example/"),
            "{first}{log}"
        );
        assert!(!first.contains("hidden-authorization"), "{first}");
    }
    assert_eq!(exchange.refused(), 0);
    assert!(!asked.lock().unwrap().is_empty());
}
