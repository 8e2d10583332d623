//! A stream's name as an app may give it: accepted only as documented, and never changed.

use kinesis_edge::arn::{DeliveryStreamArn, MAX_ARN_BYTES, Partitions};

/// All partitions that there are, in the form of `AWS_PARTITIONS`.
const ALL: &str = "aws,aws-cn,aws-us-gov,aws-iso,aws-iso-b,aws-iso-e,aws-iso-f,aws-eusc";

/// Parses the bytes as an ARN, of the usual partition and of any.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let all = Partitions::parse(ALL).expect("these are partitions");
    let of_any = DeliveryStreamArn::parse(text, &all);
    let usual = DeliveryStreamArn::parse(text, &Partitions::default());
    match (&of_any, &usual) {
        (Ok(arn), Ok(same)) => assert_eq!(arn, same),
        (Ok(arn), Err(_)) => assert_ne!(arn.partition().name(), "aws"),
        (Err(_), Ok(_)) => panic!("{text:?} is accepted where fewer partitions are"),
        (Err(_), Err(_)) => {}
    }
    for parsed in [of_any, usual] {
        match parsed {
            Ok(arn) => is_as_documented(text, &arn),
            Err(error) => is_readable(&error.to_string()),
        }
    }
}

/// The contract's pattern, part by part.
fn is_as_documented(text: &str, arn: &DeliveryStreamArn) {
    assert_eq!(arn.as_str(), text);
    assert!(text.len() <= MAX_ARN_BYTES);
    let (partition, region, name) = (arn.partition().name(), arn.region(), arn.stream_name());
    let begin = format!("arn:{partition}:firehose:{region}:");
    let rest = text.strip_prefix(&begin).expect("partition and region");
    let (account, last) = rest.split_once(':').expect("an account");
    assert!(account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()));
    assert_eq!(last.strip_prefix("deliverystream/"), Some(name));
    let is_named = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    assert!(!name.is_empty() && name.bytes().all(is_named));
    let of_regions = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    assert!(!region.is_empty() && region.bytes().all(of_regions));
}

/// An error stands in a status and in a line of the log.
fn is_readable(error: &str) {
    assert!(error.len() < 2_000, "{error}");
    assert!(!error.contains(char::is_control), "{error:?}");
}
