//! The device's certificate: AWS IoT gives credentials for it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::version::TLS13;

use crate::amazon::Amazon;
use crate::common::http::{get, samples};
use crate::common::iot::{Asked, IotProvider, Reply};
use crate::common::{
    App, Authority, ConnectorProcess, Mosquitto, STREAM, eventually, finish, free_address, program,
    stdout,
};
use crate::{borrowed, connector_at, until_records_wait, warnings};

const FIRST: &str = "ASIAFIRSTFIRSTFIRSTF";
const SECOND: &str = "ASIASECONDSECONDSECO";

/// A certificate in DER form.
fn certificate(provider: &IotProvider) -> Option<Vec<u8>> {
    // It may be half written.
    let found = CertificateDer::from_pem_file(provider.path("device.pem"));
    found.ok().map(|found| found.to_vec())
}

/// A broker, what AWS is there, and a connector that has nothing but the device's certificate.
struct Device {
    broker: Mosquitto,
    provider: IotProvider,
    amazon: Amazon,
    connector: ConnectorProcess,
}

impl Device {
    async fn start(provider: IotProvider, keys: &[&'static str], more: &[(&str, &str)]) -> Self {
        let (broker, amazon) = (Mosquitto::start(), Amazon::start(keys).await);
        let variables = provider.variables();
        let variables = [&borrowed(&variables)[..], more].concat();
        let connector = connector_at(&broker, &amazon.url, &variables);
        Device {
            broker,
            provider,
            amazon,
            connector,
        }
    }

    async fn app(&self) -> App {
        let app = App::connect(self.broker.port).await;
        app.until_answered().await;
        app
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_is_all_that_records_need() {
    let provider = IotProvider::start(FIRST).await;
    let more = [
        ("IOT_THING_NAME", "press-7"),
        ("RUST_LOG", "debug"),
        // Of no interest then: whoever set the endpoint wants these credentials and no others.
        ("AWS_ACCESS_KEY_ID", "AKIAOTHEROTHEROTHERO"),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
    ];
    let mut device = Device::start(provider, &[FIRST], &more).await;
    let app = device.app().await;
    for number in 0..20 {
        app.request(&number.to_string(), "a record").await;
        assert!(app.status_of(&number.to_string()).await.is_success());
    }
    let asked = Asked {
        line: "GET /role-aliases/edge-alias/credentials".to_owned(),
        thing: Some("press-7".to_owned()),
        certificate: certificate(&device.provider).unwrap(),
    };
    // Once, however many calls there were.
    assert_eq!(device.provider.asked(), [asked]);
    assert!(device.amazon.calls_of(FIRST) > 1);
    assert_eq!(device.amazon.calls_of("AKIAOTHEROTHEROTHERO"), 0);
    let log = device.connector.stderr();
    assert!(
        !log.contains("hidden-secret") && !log.contains("hidden-token"),
        "{log}"
    );
    device.connector.signal("TERM");
    assert!(device.connector.wait().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_renewed_though_nothing_is_sent_and_with_files_that_were_renewed() {
    let provider = IotProvider::start(FIRST).await;
    provider.reply(Reply::Granted(FIRST, Duration::from_secs(2), 0));
    let address = free_address();
    let listen = address.to_string();
    let device = Device::start(provider, &[FIRST], &[("HTTP_LISTEN", &listen)]).await;
    eventually("they are renewed twice", || {
        device.provider.asked().len() >= 3
    })
    .await;
    let end = async || {
        let scrape = samples(&get(address, "/metrics").await.body);
        scrape["kinesis_edge_credentials_expiry_timestamp_seconds"]
    };
    let before = end().await;
    let asked = device.provider.asked().len();
    eventually("once more", || device.provider.asked().len() > asked + 1).await;
    assert!(end().await > before, "the gauge goes along");
    assert_eq!(device.amazon.calls_of(FIRST), 0);

    let old = certificate(&device.provider);
    let folder = device.provider.folder();
    device
        .provider
        .authority
        .issue(folder, "device", &["device"]);
    let new = certificate(&device.provider);
    assert_ne!(old, new);
    eventually("the new certificate is shown", || {
        device
            .provider
            .asked()
            .last()
            .map(|last| last.certificate.clone())
            == new
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_refuses_keeps_the_records_until_it_does_not() {
    let provider = IotProvider::start(FIRST).await;
    provider.reply(Reply::refused(403, "Access Denied"));
    let device = Device::start(provider, &[FIRST], &[]).await;
    let app = device.app().await;
    app.request("kept", "a record").await;
    until_records_wait(&device.connector).await;
    let said = warnings(&device.connector);
    assert_eq!(
        said.len(),
        2,
        "once at start, once with the first record: {said:?}"
    );
    for line in said {
        for part in [
            "error.code=IotAccessDenied",
            "edge-alias",
            "Access Denied",
            "HTTP status 403",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }
    assert_eq!(app.count(), 0);
    device
        .provider
        .reply(Reply::Granted(FIRST, Duration::from_secs(3600), 0));
    assert!(app.status_of("kept").await.is_success());
    assert!(
        device
            .connector
            .stderr()
            .contains("AWS credentials are found")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_the_certificate_of_the_provider_is_told() {
    const HERE: &[&str] = &["localhost"];
    for (hosts, years, is_trusted, words) in [
        (
            HERE,
            1975..2020,
            true,
            "it has expired by this device's clock",
        ),
        (
            HERE,
            4000..4096,
            true,
            "it is not valid yet by this device's clock",
        ),
        (
            &["elsewhere.example"],
            1975..4096,
            true,
            "it is for another name",
        ),
        (
            HERE,
            1975..4096,
            false,
            "no authority that is trusted here has signed it",
        ),
    ] {
        let provider = IotProvider::certified(FIRST, &TLS13, hosts, years).await;
        if !is_trusted {
            let other = Authority::new("somebody else");
            std::fs::write(provider.path("ca.pem"), other.pem).unwrap();
        }
        let broker = Mosquitto::start();
        let variables = provider.variables();
        // Nothing is sent: the address is never called.
        let nowhere = "http://127.0.0.1:9";
        let connector = connector_at(&broker, nowhere, &borrowed(&variables));
        eventually(words, || {
            warnings(&connector).iter().any(|line| line.contains(words))
        })
        .await;
        assert_eq!(provider.asked(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_service_refuses_is_not_used_to_its_end() {
    let provider = IotProvider::start(FIRST).await;
    let device = Device::start(provider, &[FIRST], &[]).await;
    let app = device.app().await;
    app.request("first", "a record").await;
    assert!(app.status_of("first").await.is_success());
    device
        .provider
        .reply(Reply::Granted(SECOND, Duration::from_secs(3600), 0));
    device.amazon.take(&[SECOND]);
    app.request("second", "a record").await;
    assert!(app.status_of("second").await.is_success());
    assert_eq!(device.provider.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_refused_takes_the_credentials_from_no_other() {
    let provider = IotProvider::start(FIRST).await;
    let device = Device::start(provider, &[FIRST], &[]).await;
    device.amazon.refuse_stream("elsewhere");
    let app = device.app().await;
    let elsewhere = "arn:aws:firehose:ap-east-1:123456789012:deliverystream/elsewhere";
    app.request_to(elsewhere, "refused", "a record").await;
    // They are asked for anew because of it, and whoever is asked has no answer, and then a fault.
    for (asked, reply) in [(2, Reply::Silence), (3, Reply::Other(500, "{}".to_owned()))] {
        eventually("it asks for credentials once", || {
            device.provider.asked().len() == asked - 1
        })
        .await;
        device.provider.reply(reply);
        eventually("and again", || device.provider.asked().len() == asked).await;
        let id = asked.to_string();
        app.request(&id, "a record").await;
        assert!(app.status_of(&id).await.is_success());
    }
    assert!(device.connector.stderr().contains("are refused and cannot"));
    assert!(!app.by_id().contains_key("refused"), "it waits");
}

/// A proxy that lets through what it is asked for, or refuses it; and the first lines that it was sent.
pub async fn proxy(refusal: Option<&'static str>) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!(
        "http://user:hidden-password@{}",
        listener.local_addr().unwrap()
    );
    let (lines, seen) = std::sync::mpsc::channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let _ = lines.send(head.clone());
            if let Some(refusal) = refusal {
                let _ = client.write_all(refusal.as_bytes()).await;
                continue;
            }
            let to = head.split(' ').nth(1).unwrap().to_owned();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                client
                    .write_all(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n")
                    .await
                    .unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_may_lead_through_a_proxy() {
    let (url, seen) = proxy(None).await;
    let provider = IotProvider::start(FIRST).await;
    let place = format!("localhost:{}", provider.port);
    let device = Device::start(provider, &[FIRST], &[("HTTPS_PROXY", &url)]).await;
    let app = device.app().await;
    app.request("first", "a record").await;
    assert!(app.status_of("first").await.is_success());
    let head = seen.try_recv().unwrap();
    assert!(
        head.starts_with(&format!("CONNECT {place} HTTP/1.1\r\n")),
        "{head}"
    );
    // Of user:hidden-password.
    assert!(
        head.contains("Proxy-Authorization: Basic dXNlcjpoaWRkZW4tcGFzc3dvcmQ="),
        "{head}"
    );

    let (url, _seen) = proxy(Some("HTTP/1.1 407 Who are you?\r\n\r\n")).await;
    let refused = Device::start(device.provider, &[FIRST], &[("HTTPS_PROXY", &url)]).await;
    eventually("it says so", || !warnings(&refused.connector).is_empty()).await;
    let said = &warnings(&refused.connector)[0];
    assert!(
        said.contains("IotUnreachable") && said.contains("407"),
        "{said}"
    );
    assert!(!said.contains("hidden-password"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_send_use_it_too() {
    // A connector that has nothing leaves a record on disk.
    let broker = Mosquitto::start();
    let amazon = Amazon::start(&[FIRST]).await;
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queue").display().to_string();
    let more = [("QUEUE_DIR", &*queue), ("QUEUE_DIR_MAX_BYTES", "8388608")];
    let mut connector = connector_at(&broker, &amazon.url, &more);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    app.request("kept", "a record").await;
    until_records_wait(&connector).await;
    connector.signal("TERM");
    connector.wait();

    let provider = IotProvider::start(FIRST).await;
    let mut command = tokio::process::Command::new(program());
    command
        .args(["queue", "drain", &queue])
        .env_clear()
        .env("DEFAULT_DELIVERY_STREAM_ARN", STREAM)
        .env("AWS_ENDPOINT_URL", &amazon.url)
        .envs(provider.variables());
    let output = finish(&mut command).await;
    let said = stdout(&output);
    assert!(said.contains("delivered  1 record"), "{said}");
    assert_eq!((amazon.records(), amazon.calls_of(FIRST)), (1, 1));
}
