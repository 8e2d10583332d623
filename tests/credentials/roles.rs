//! A role that is assumed, for streams of another account.

use crate::amazon::{Amazon, ROLES_KEY};
use crate::common::iot::IotProvider;
use crate::common::{App, Mosquitto, eventually};
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
