//! The policies in `policies/` are the contract's: anyone who attached them for the original connector needs to change nothing,
//! and none of them grants an action that the connector does not call. `policy` prints the one that is enough for a configuration.

mod common;

use common::{STREAM, program, stream_arn};
use serde_json::{Value, json};

const ONE_STREAM: &str = "arn:aws:firehose:region:account-id:deliverystream/stream-name";
const MANY_STREAMS: &str = "arn:aws:firehose:region:account-id:deliverystream/stream-name*";

/// The contract's policy, which differs between versions only in its actions, and for overridden streams in its resource.
fn contract(actions: &[&str], resource: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "Stmt1528133056761",
            "Action": actions,
            "Effect": "Allow",
            "Resource": [resource],
        }]
    })
}

/// Compared as JSON values: array order counts, so a swapped or added action shows, white space does not.
#[track_caller]
fn assert_policy(text: &str, actions: &[&str], resource: &str) {
    let policy: Value = serde_json::from_str(text).expect("the policy is JSON");
    assert_eq!(policy, contract(actions, resource));
}

#[test]
fn version_1_may_only_put_single_records() {
    assert_policy(
        include_str!("../policies/version-1.json"),
        &["firehose:PutRecord"],
        ONE_STREAM,
    );
}

#[test]
fn versions_2_to_5_may_put_records_and_batches() {
    assert_policy(
        include_str!("../policies/version-2-to-5.json"),
        &["firehose:PutRecord", "firehose:PutRecordBatch"],
        ONE_STREAM,
    );
}

#[test]
fn overridden_streams_share_a_beginning_of_their_names() {
    assert_policy(
        include_str!("../policies/overridden-streams.json"),
        &["firehose:PutRecord", "firehose:PutRecordBatch"],
        MANY_STREAMS,
    );
}

/// What `policy` prints; the only statement of it.
fn printed(arguments: &[&str], variables: &[(&str, &str)]) -> Value {
    let output = std::process::Command::new(program())
        .arg("policy")
        .args(arguments)
        .env_clear()
        .env("DEFAULT_DELIVERY_STREAM_ARN", STREAM)
        .envs(variables.iter().copied())
        .output()
        .expect("the program starts");
    assert!(output.status.success());
    let policy: Value = serde_json::from_slice(&output.stdout).expect("the policy is JSON");
    assert_eq!(policy["Version"], "2012-10-17");
    let statements = policy["Statement"].as_array().expect("a list");
    assert_eq!(statements.len(), 1);
    assert_eq!(statements[0]["Effect"], "Allow");
    statements[0].clone()
}

#[test]
fn the_printed_policy_has_the_streams_and_no_others() {
    let resources = |arguments: &[&str], variables: &[(&str, &str)]| {
        printed(arguments, variables)["Resource"].clone()
    };
    assert_eq!(resources(&[], &[]), json!([STREAM]));
    let wild = stream_arn("press-*");
    let arguments = ["--arn", &wild, "--arn", STREAM, "--arn", &wild];
    assert_eq!(resources(&arguments, &[]), json!([STREAM, wild]));
    // What requests may name, wildcards and all, which mean the same to IAM.
    let far = "arn:aws:firehose:eu-*:123456789012:deliverystream/s";
    let allowed = format!("{wild},{STREAM},{far}");
    let variables = [("ALLOWED_DELIVERY_STREAM_ARNS", &*allowed)];
    assert_eq!(
        resources(&arguments, &variables),
        json!([STREAM, wild, far])
    );
    // The partition is that of the ARN.
    let chinese = "arn:aws-cn:firehose:cn-north-1:123456789012:deliverystream/s";
    let variables = [
        ("DEFAULT_DELIVERY_STREAM_ARN", chinese),
        ("AWS_PARTITIONS", "aws-cn"),
    ];
    assert_eq!(resources(&[], &variables), json!([chinese]));
}

#[test]
fn a_stream_that_cannot_be_is_refused() {
    for (wrong, told) in [
        ("*", "arn:"),
        (
            "arn:aws:firehose:*:123456789012:deliverystream/s",
            "the region",
        ),
        (
            "arn:aws-cn:firehose:cn-north-1:123456789012:deliverystream/s",
            "AWS_PARTITIONS",
        ),
    ] {
        let output = std::process::Command::new(program())
            .args(["policy", "--arn", wrong])
            .env_clear()
            .env("DEFAULT_DELIVERY_STREAM_ARN", STREAM)
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("--arn") && said.contains(told), "{said}");
    }
}

/// The printed policy is held against the calls that a connector makes.
#[cfg(feature = "local")]
#[tokio::test(flavor = "multi_thread")]
async fn the_printed_policy_allows_what_is_called_and_nothing_else() {
    use common::{App, Mosquitto, RunningConnector, endpoint, parameters, quick_firehose};
    for variables in [
        &[][..],
        &[("PUBLISH_INTERVAL", "1")],
        &[("PUBLISH_INTERVAL", "0")],
        &[("CONNECTOR_VERSION", "1")],
        &[("CONNECTOR_VERSION", "1"), ("PUBLISH_INTERVAL", "0")],
        &[("CONNECTOR_VERSION", "2"), ("PUBLISH_INTERVAL", "0")],
    ] {
        let (broker, endpoint) = (Mosquitto::start(), endpoint().await);
        let url = broker.url();
        let set = [
            variables,
            &[("MQTT_URL", &*url), ("MQTT_CLIENT_ID", "kinesis")],
        ]
        .concat();
        let connector =
            RunningConnector::start(&parameters(&set), quick_firehose(&endpoint.url()).await);
        let app = App::connect(broker.port).await;
        app.until_answered().await;
        // One that is alone in its interval, and more than a batch holds.
        app.request("alone", "x").await;
        app.status_of("alone").await;
        for number in 0..600 {
            app.request(&number.to_string(), "x").await;
        }
        app.status_of("599").await;
        let stats = endpoint.stats()["test"];
        let actions = printed(&[], variables)["Action"].clone();
        let action = if stats.batch_calls > 0 {
            "firehose:PutRecordBatch"
        } else {
            "firehose:PutRecord"
        };
        assert_eq!(actions, json!([action]), "{variables:?}");
        assert!(
            stats.batch_calls == 0 || stats.batch_calls == stats.calls,
            "{stats:?}"
        );
        connector.stop().await;
    }
}

/// A policy added to the folder later has no test above: this notices it.
#[test]
fn every_policy_is_tested() {
    // Tests run in the package's folder.
    let mut names: Vec<String> = std::fs::read_dir("policies")
        .expect("the folder is there")
        .map(|entry| {
            let name = entry.expect("its entries can be read").file_name();
            name.to_string_lossy().into_owned()
        })
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "overridden-streams.json",
            "version-1.json",
            "version-2-to-5.json"
        ]
    );
}
