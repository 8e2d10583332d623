//! A role that is assumed, for streams of another account.

use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use kinesis_edge::utc::unix_seconds;

use crate::amazon::{Amazon, ROLES_KEY};
use crate::common::http::{get, samples};
use crate::common::iot::IotProvider;
use crate::common::{App, Mosquitto, eventually, free_address};
use crate::{borrowed, connector_at, warnings};

const BASE: &str = "AKIABASEBASEBASEBASE";
const ROLE: [(&str, &str); 3] = [
    ("ASSUME_ROLE_ARN", "arn:aws:iam::210987654321:role/writer"),
    ("ASSUME_ROLE_EXTERNAL_ID", "line:3"),
    ("MQTT_CLIENT_ID", "press 7"),
];

/// A record arrives, signed by the role alone, which was assumed once with this key.
async fn delivers(base: &str, variables: &[(&str, &str)]) {
    let broker = Mosquitto::start();
    let amazon = Amazon::start(&[BASE, ROLES_KEY]).await;
    let variables = [&ROLE[..], variables].concat();
    let connector = connector_at(&broker, &amazon.url, &variables);
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    for id in ["first", "second"] {
        app.request(id, "a record").await;
        assert!(app.status_of(id).await.is_success());
    }
    assert_eq!(
        amazon.calls_of(base),
        1,
        "for the role, and for nothing else"
    );
    assert_eq!(amazon.records(), 2);
    let [form] = &amazon.assumed()[..] else {
        panic!("{:?}", amazon.assumed())
    };
    for field in [
        "RoleArn=arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Fwriter",
        "ExternalId=line%3A3",
        "RoleSessionName=press-7",
    ] {
        assert!(form.split('&').any(|sent| sent == field), "{form}");
    }
    assert!(!connector.stderr().contains("hidden-"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_assumed_with_the_credentials_that_are_found() {
    let keys = [
        ("AWS_ACCESS_KEY_ID", BASE),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
    ];
    delivers(BASE, &keys).await;
}

/// Where a scrape of the metrics says when the credentials end, in seconds from now.
async fn left_s(address: SocketAddr) -> f64 {
    let scrape = samples(&get(address, "/metrics").await.body);
    scrape["kinesis_edge_credentials_expiry_timestamp_seconds"] - unix_seconds(SystemTime::now())
}

/// The file of a profile that assumes the role.
fn profile(folder: &Path) -> String {
    let path = folder.join("credentials");
    let text = format!(
        "[default]\nrole_arn = {}\nsource_profile = base\n\
         [base]\naws_access_key_id = {BASE}\naws_secret_access_key = made-up\n",
        ROLE[0].1
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_let_a_profile_assume_it_is_told_without_what_is_quoted() {
    let (broker, amazon) = (Mosquitto::start(), Amazon::start(&[BASE]).await);
    amazon.refuse_roles(Some("Not you.\n\nThe Canonical String was: hidden-token"));
    let folder = tempfile::tempdir().unwrap();
    let profile = profile(folder.path());
    let variables = [("AWS_SHARED_CREDENTIALS_FILE", &*profile)];
    let connector = connector_at(&broker, &amazon.url, &variables);
    eventually("it says so", || !warnings(&connector).is_empty()).await;
    let said = &warnings(&connector)[0];
    let words = "the AWS credentials could not be loaded from the profile: AccessDenied: Not you.";
    assert!(said.trim_end().ends_with(words), "{said}");
    assert!(!connector.stderr().contains("hidden-"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_it_holds_is_told_by_the_clock_of_the_service() {
    const HOUR: i64 = 3600;
    let folder = tempfile::tempdir().unwrap();
    let profile = profile(folder.path());
    let keys = [
        ROLE[0],
        ("AWS_ACCESS_KEY_ID", BASE),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
    ];
    for (variables, ahead) in [
        (&keys[..], 5 * HOUR),
        (&keys[..], -5 * HOUR),
        (&[("AWS_SHARED_CREDENTIALS_FILE", &profile)], 5 * HOUR),
        (&[("AWS_SHARED_CREDENTIALS_FILE", &profile)], -5 * HOUR),
    ] {
        let (broker, amazon) = (Mosquitto::start(), Amazon::start(&[BASE, ROLES_KEY]).await);
        amazon.set_clock_ahead(ahead);
        let address = free_address();
        let listen = address.to_string();
        let more = [("HTTP_LISTEN", &*listen)];
        let connector = connector_at(&broker, &amazon.url, &[&more, variables].concat());
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        app.request("first", "a record").await;
        assert!(app.status_of("first").await.is_success());
        let left = left_s(address).await;
        let log = connector.stderr();
        assert!(left > 0.0 && left <= 3601.0, "{left} s: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_assumed_with_those_of_the_devices_certificate() {
    let provider = IotProvider::start(BASE).await;
    delivers(BASE, &borrowed(&provider.variables())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_let_it_be_assumed_is_named_and_asked_again() {
    let (broker, amazon) = (Mosquitto::start(), Amazon::start(&[BASE, ROLES_KEY]).await);
    let message = "User is not authorized to perform: sts:AssumeRole";
    amazon.refuse_roles(Some(message));
    let keys = [
        ("AWS_ACCESS_KEY_ID", BASE),
        ("AWS_SECRET_ACCESS_KEY", "made-up"),
    ];
    let connector = connector_at(&broker, &amazon.url, &[&ROLE[..], &keys].concat());
    let app = App::connect(broker.port).await;
    app.until_answered().await;
    app.request("kept", "a record").await;
    eventually("it says that records wait", || {
        warnings(&connector).len() == 2
    })
    .await;
    for line in warnings(&connector) {
        for part in ["error.code=AssumeRoleRefused", ROLE[0].1, message] {
            assert!(line.contains(part), "{line}");
        }
    }
    amazon.refuse_roles(None);
    assert!(app.status_of("kept").await.is_success());
}
