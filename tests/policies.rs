//! The policies in `policies/` are the contract's: anyone who attached them for the original connector needs to change nothing,
//! and none of them grants an action that the connector does not call.

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
