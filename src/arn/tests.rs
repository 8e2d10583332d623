//! Both directions of every pattern, and the near misses an operator or an app really writes.

use std::collections::HashMap;

use super::*;

const GOOD: &str = "arn:aws:firehose:us-east-1:123456789012:deliverystream/my_Stream-1.x";

fn arn(partition: &str, region: &str) -> String {
    format!("arn:{partition}:firehose:{region}:123456789012:deliverystream/s")
}

fn refused(text: &str) -> String {
    DeliveryStreamArn::parse(text, &Partitions::default())
        .expect_err(text)
        .to_string()
}

#[test]
fn parts() {
    let parsed = DeliveryStreamArn::parse(GOOD, &Partitions::default()).unwrap();
    assert_eq!(parsed.as_str(), GOOD);
    assert_eq!(parsed.partition(), Partition::Aws);
    assert_eq!(parsed.region(), "us-east-1");
    assert_eq!(parsed.account(), "123456789012");
    assert_eq!(parsed.stream_name(), "my_Stream-1.x");
    assert_eq!(parsed.to_string(), GOOD);
    assert_eq!(format!("{parsed:?}"), format!("DeliveryStreamArn({GOOD})"));
}

#[test]
fn every_partition_with_its_regions() {
    let regions = [
        (
            "aws",
            &[
                "us-east-1",
                "eu-central-2",
                "ap-southeast-7",
                "me-south-1",
                "il-central-1",
            ][..],
        ),
        ("aws-cn", &["cn-north-1", "cn-northwest-1"]),
        ("aws-us-gov", &["us-gov-west-1", "us-gov-east-1"]),
        ("aws-iso", &["us-iso-east-1", "us-iso-west-1"]),
        ("aws-iso-b", &["us-isob-east-1", "us-isob-west-1"]),
        ("aws-iso-e", &["eu-isoe-west-1"]),
        ("aws-iso-f", &["us-isof-south-1", "us-isof-east-1"]),
        ("aws-eusc", &["eusc-de-east-1"]),
    ];
    assert_eq!(regions.len(), Partition::ALL.len());
    for (name, own) in regions {
        let only = Partitions::parse(name).unwrap();
        for region in own {
            let text = arn(name, region);
            let parsed = DeliveryStreamArn::parse(&text, &only).unwrap();
            assert_eq!(parsed.partition().name(), name);
            assert_eq!(parsed.region(), *region);
            assert_eq!(parsed.account(), "123456789012");
            assert_eq!(parsed.stream_name(), "s");
            assert_eq!(
                DeliveryStreamArn::parse(&text, &Partitions::ALL).unwrap(),
                parsed
            );
        }
        // Another partition's region is refused: the pair has to fit. (The documented pattern of
        // `aws` admits two letters, a word and a digit, which `cn-north-1` is.)
        for (other, foreign) in regions.iter().filter(|(other, _)| *other != name) {
            for region in *foreign {
                let answer = DeliveryStreamArn::parse(&arn(name, region), &Partitions::ALL);
                let contract = name == "aws" && *other == "aws-cn";
                assert_eq!(answer.is_ok(), contract, "{name} {region}");
            }
        }
    }
}

#[test]
fn a_partition_not_allowed_names_the_parameter() {
    let text = arn("aws-cn", "cn-north-1");
    let message = refused(&text);
    assert!(
        message.contains("\"aws-cn\" is not among AWS_PARTITIONS (aws)"),
        "{message}"
    );
    assert!(DeliveryStreamArn::parse(&text, &Partitions::parse("aws,aws-cn").unwrap()).is_ok());
    for name in ["", "AWS", "aws-", "awsx", "aws-iso-c", " aws"] {
        assert!(
            refused(&arn(name, "us-east-1")).contains("AWS_PARTITIONS"),
            "{name}"
        );
    }
}

#[test]
fn near_misses() {
    let cases = [
        ("", "does not begin"),
        ("arn", "does not begin"),
        ("arn:aws", "does not begin"),
        ("my-stream", "does not begin"),
        (
            "ARN:aws:firehose:us-east-1:123456789012:deliverystream/s",
            "does not begin",
        ),
        (
            " arn:aws:firehose:us-east-1:123456789012:deliverystream/s",
            "does not begin",
        ),
        (
            "\narn:aws:firehose:us-east-1:123456789012:deliverystream/s",
            "does not begin",
        ),
        (
            "xarn:aws:firehose:us-east-1:123456789012:deliverystream/s",
            "does not begin",
        ),
        (
            "arn:aws:kinesis:us-east-1:123456789012:deliverystream/s",
            "the service is \"kinesis\"",
        ),
        (
            "arn:aws:kinesis:us-east-1:123456789012:stream/s",
            "the service is \"kinesis\"",
        ),
        ("arn:aws:firehose", "the region \"\""),
        (
            "arn:aws:firehose:US-EAST-1:123456789012:deliverystream/s",
            "the region \"US-EAST-1\"",
        ),
        (
            "arn:aws:firehose:us-east-10:123456789012:deliverystream/s",
            "the region \"us-east-10\"",
        ),
        (
            "arn:aws:firehose:us-east-٣:123456789012:deliverystream/s",
            "the region",
        ),
        (
            "arn:aws:firehose:us-east:123456789012:deliverystream/s",
            "the region",
        ),
        (
            "arn:aws:firehose:useast1:123456789012:deliverystream/s",
            "the region",
        ),
        (
            "arn:aws:firehose:us-gov-west-1:123456789012:deliverystream/s",
            "the region",
        ),
        (
            "arn:aws:firehose::123456789012:deliverystream/s",
            "the region \"\"",
        ),
        (
            "arn:aws:firehose:us-east-1:12345678901:deliverystream/s",
            "the account \"12345678901\"",
        ),
        (
            "arn:aws:firehose:us-east-1:1234567890123:deliverystream/s",
            "the account",
        ),
        (
            "arn:aws:firehose:us-east-1:account-id12:deliverystream/s",
            "the account",
        ),
        (
            "arn:aws:firehose:us-east-1:١٢٣٤٥٦٧٨٩٠١٢:deliverystream/s",
            "the account",
        ),
        (
            "arn:aws:firehose:us-east-1::deliverystream/s",
            "the account \"\"",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012",
            "no \"deliverystream/\"",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:s",
            "no \"deliverystream/\"",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream",
            "no \"deliverystream/\"",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream:s",
            "no \"deliverystream/\"",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:DeliveryStream/s",
            "no \"deliverystream/\"",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/",
            "name is missing",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/a/b",
            "other characters",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/a b",
            "other characters",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/a:b",
            "other characters",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/a*",
            "other characters",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/é",
            "other characters",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/s٣",
            "other characters",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/s\0",
            "other characters",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/s ",
            "other characters",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/s\n",
            "other characters",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/s\r\n",
            "other characters",
        ),
        (
            "arn:aws:firehose:us-east-1:123456789012:deliverystream/\ns",
            "other characters",
        ),
    ];
    for (text, expected) in cases {
        let message = refused(text);
        assert!(message.contains(expected), "{text:?}: {message}");
        assert!(
            message.contains("arn:aws:firehose:us-east-1:123456789012:deliverystream/telemetry"),
            "no example: {message}"
        );
        assert!(!message.chars().any(char::is_control), "{message:?}");
    }
}

#[test]
fn at_most_512_bytes() {
    let prefix = arn("aws", "us-east-1");
    let longest = prefix.clone() + &"s".repeat(MAX_ARN_BYTES - prefix.len());
    assert_eq!(
        DeliveryStreamArn::parse(&longest, &Partitions::default())
            .unwrap()
            .as_str(),
        longest
    );
    let message = refused(&(longest + "s"));
    assert!(
        message.contains("513 bytes") && message.contains("at most 512"),
        "{message}"
    );
}

#[test]
fn errors_are_short_whatever_comes() {
    let name = "arn:aws:firehose:us-east-1:123456789012:deliverystream/".to_owned();
    let long = [
        "x".repeat(1_000_000),
        "\u{7}".repeat(400),
        name + &"\u{1b}".repeat(400),
    ];
    for text in long.iter().chain(&[format!("arn:{}:x", "p".repeat(400))]) {
        let message = refused(text);
        assert!(message.chars().count() < 1_300, "{message}");
        assert!(!message.chars().any(char::is_control));
    }
    assert_eq!(quoted("a'b\"\n\u{202e}", 80), r#""a'b\"\n\u{202e}""#);
    assert_eq!(quoted("abcd", 4), "\"abcd\"");
    assert_eq!(quoted("abcde", 4), "\"abcd…\"");
}

#[test]
fn a_map_can_be_asked_with_plain_text() {
    let parsed = DeliveryStreamArn::parse(GOOD, &Partitions::default()).unwrap();
    let again = DeliveryStreamArn::parse(GOOD, &Partitions::ALL).unwrap();
    let map = HashMap::from([(parsed.clone(), 1)]);
    assert_eq!(map.get(GOOD), Some(&1));
    assert_eq!(map.get(&again), Some(&1));
    assert_eq!(parsed, again);
    let later = DeliveryStreamArn::parse(&arn("aws", "us-west-2"), &Partitions::default()).unwrap();
    assert!(parsed < later);
    assert_ne!(parsed, later);
}

#[test]
fn partition_lists() {
    assert_eq!(Partitions::parse("aws").unwrap(), Partitions::default());
    let both = Partitions::parse("aws-cn,aws,aws-cn").unwrap();
    assert_eq!(both.to_string(), "aws,aws-cn");
    assert_eq!(format!("{both:?}"), "Partitions(aws,aws-cn)");
    let all = "aws,aws-cn,aws-us-gov,aws-iso,aws-iso-b,aws-iso-e,aws-iso-f,aws-eusc";
    assert_eq!(Partitions::parse(all).unwrap(), Partitions::ALL);
    assert_eq!(Partitions::ALL.to_string(), all);
    for text in [
        "",
        ",",
        "aws,",
        ",aws",
        "aws, aws-cn",
        " aws",
        "aws\n",
        "AWS",
        "aws-iso-c",
        "aws;aws-cn",
    ] {
        assert!(Partitions::parse(text).is_err(), "{text:?}");
    }
}
