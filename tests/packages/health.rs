//! `health` says of a running connector whether it lives and whether it is ready, and of none that there is none.

use super::common::{
    App, ConnectorProcess, Mosquitto, STREAM, free_address, free_port, http, stderr, stdout,
};
use super::kinesis_edge;

/// Its exit status, and what it said where.
fn health(listen: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let output = kinesis_edge(&[&["health", "--http-listen", listen], more].concat(), &[]);
    (output.status.code(), stdout(&output), stderr(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_lives_before_it_is_ready() {
    let (address, nobody) = (free_address(), free_port());
    let listen = address.to_string();
    let start = |broker: &str| {
        ConnectorProcess::start(&[
            ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
            ("MQTT_URL", broker),
            ("HTTP_LISTEN", &listen),
            ("AWS_ACCESS_KEY_ID", "none"),
            ("AWS_SECRET_ACCESS_KEY", "none"),
        ])
    };
    let alone = start(&format!("mqtt://127.0.0.1:{nobody}"));
    http::until_unready(address).await;
    assert_eq!(health(&listen, &[]).0, Some(0));
    let (status, said, _) = health(&listen, &["--ready"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("mqtt") && said.contains("connect"), "{said}");
    drop(alone);

    let broker = Mosquitto::start();
    let _connector = start(&broker.url());
    App::connect(broker.port).await.until_answered().await;
    assert_eq!(health(&listen, &["--ready"]).0, Some(0));
    // An address that stands for all is asked at the loopback's.
    let everywhere = format!("0.0.0.0:{}", address.port());
    assert_eq!(health(&everywhere, &["--ready"]).0, Some(0));
}

#[test]
fn without_a_connector_it_says_so() {
    let (status, _, said) = health(&format!("127.0.0.1:{}", free_port()), &[]);
    assert_eq!(status, Some(1));
    assert!(said.contains("cannot be asked"), "{said}");
}

#[test]
fn without_an_address_it_says_what_to_set() {
    let output = kinesis_edge(&["health"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("HTTP_LISTEN is not set"));
    let (status, _, said) = health("here", &[]);
    assert_eq!(status, Some(2));
    assert!(said.contains("HTTP_LISTEN"), "{said}");
}

#[tokio::test]
async fn what_is_no_connector_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("it listens");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody asks");
        // It leaves the question unread, so that its end is a reset.
        stream.readable().await.expect("the question comes");
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-OpenSSH_9\r\n").await;
    });
    let asked = tokio::task::spawn_blocking(move || health(&address, &[]));
    let (status, _, said) = asked.await.expect("it ends");
    assert_eq!(status, Some(1));
    assert!(
        said.contains("no connector") && said.contains("SSH-2.0"),
        "{said}"
    );
}
