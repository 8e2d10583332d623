//! The rows of the table outside MQTT, both directions of each.

use regex_lite::Regex;

use super::*;

#[test]
fn allowed_streams_are_a_list_of_arns_with_wildcards() {
    let other = ARN.replace("stream/s", "stream/press-*");
    let list = format!("{ARN},{other}");
    let allowed = good("ALLOWED_DELIVERY_STREAM_ARNS", &list).allowed_streams;
    let patterns: Vec<_> = allowed.iter().flat_map(|all| all.patterns()).collect();
    assert_eq!(patterns, [ARN, &other]);
    assert_eq!(
        good("ALLOWED_DELIVERY_STREAM_ARNS", "").allowed_streams,
        None
    );
    for (wrong, told) in [
        (format!("{ARN},"), "it has an empty entry"),
        (
            "press-*".to_owned(),
            "it names \"press-*\": it does not begin with",
        ),
        (ARN.replace("aws", "aws-cn"), "AWS_PARTITIONS"),
    ] {
        let problem = bad("ALLOWED_DELIVERY_STREAM_ARNS", &wrong).problem;
        assert!(problem.contains(told), "{problem}");
    }
}

#[test]
fn queue_size_is_the_contracts_pattern() {
    let pattern = Regex::new(r"\A([2-9][0-9]{3}|[1-9][0-9]{4,})\z").unwrap();
    for number in (0..=20_100).chain([99_999, 100_000, 100_000_000]) {
        let text = number.to_string();
        let answer = whole_number(&text, QUEUE_SIZES);
        assert_eq!(answer.ok(), pattern.is_match(&text).then_some(number));
    }
    for (text, size) in [
        ("2000", 2000),
        ("9999", 9999),
        ("10000", 10_000),
        ("100000000", 100_000_000),
    ] {
        assert_eq!(good("DELIVERY_STREAM_QUEUE_SIZE", text).queue_size, size);
    }
    for text in [
        "0", "1999", "02000", "2000.0", "2e3", "+2000", "-2000", "5,000", "٢٠٠٠", "five", "0x2000",
    ] {
        bad("DELIVERY_STREAM_QUEUE_SIZE", text);
    }
    assert!(
        bad("DELIVERY_STREAM_QUEUE_SIZE", "1999")
            .problem
            .contains("less than 2000")
    );
    for text in [
        "100000001",
        "18446744073709551616",
        "999999999999999999999999999999",
    ] {
        assert!(
            bad("DELIVERY_STREAM_QUEUE_SIZE", text)
                .problem
                .contains("more than 100000000")
        );
    }
}

#[test]
fn publish_interval() {
    for seconds in 0..=900 {
        let interval = good("PUBLISH_INTERVAL", &seconds.to_string()).publish_interval;
        assert_eq!(interval, Duration::from_secs(seconds));
    }
    for seconds in 901..=1100 {
        assert!(
            bad("PUBLISH_INTERVAL", &seconds.to_string())
                .problem
                .contains("more than 900")
        );
    }
    for text in [
        "007", "00", "01", "0900", "-1", "1.5", "10s", "ten", "1 0", "٣",
    ] {
        bad("PUBLISH_INTERVAL", text);
    }
}

#[test]
fn memory_size() {
    for (text, kilobytes) in [
        ("28672", 28_672),
        ("65535", 65_535),
        ("0065535", 65_535),
        ("1048576", 1_048_576),
    ] {
        assert_eq!(
            good("MEMORY_SIZE", text).memory_size_bytes,
            kilobytes * 1024
        );
    }
    for text in ["0", "000", "1", "28671"] {
        assert!(
            bad("MEMORY_SIZE", text)
                .problem
                .contains("the least is 28672 KB"),
            "{text}"
        );
    }
    for text in [
        "-65535", "65535KB", "64MiB", "6e4", "65535.5", "0x10000", "00x",
    ] {
        assert!(
            bad("MEMORY_SIZE", text).problem.contains("whole number"),
            "{text}"
        );
    }
    for text in [
        "18446744073709551615",
        "99999999999999999999999",
        "18014398509481984",
    ] {
        assert!(
            bad("MEMORY_SIZE", text).problem.contains("more memory"),
            "{text}"
        );
    }
}

#[test]
fn connector_version() {
    for number in 1..=5_u8 {
        let version = good("CONNECTOR_VERSION", &number.to_string()).connector_version;
        assert_eq!(Some(version), ConnectorVersion::new(number));
        assert_eq!(version.batches(), number != 1);
    }
    for text in ["0", "6", "05", "5.0", "v5", "-1"] {
        bad("CONNECTOR_VERSION", text);
    }
    assert_eq!(ConnectorVersion::new(0).or(ConnectorVersion::new(6)), None);
}

#[test]
fn words() {
    for (text, expected) in [
        ("true", true),
        ("TRUE", true),
        ("True", true),
        ("false", false),
        ("False", false),
    ] {
        assert_eq!(good("PUBLISH_WHEN_FULL", text).publish_when_full, expected);
    }
    for text in ["1", "0", "yes", "no", "on", "t", "truee"] {
        bad("PUBLISH_WHEN_FULL", text);
        bad("RECORD_ENVELOPE", text);
    }
    assert!(good("RECORD_ENVELOPE", "True").record_envelope);
    assert!(!good("RECORD_ENVELOPE", "false").record_envelope);
    let policies = [
        ("reject", WhenFull::Reject),
        ("wait", WhenFull::Wait),
        ("drop-oldest", WhenFull::DropOldest),
    ];
    for (text, expected) in policies {
        assert_eq!(good("WHEN_FULL", text).when_full, expected);
    }
    for text in [
        "Reject",
        "drop_oldest",
        "dropoldest",
        "block",
        "reject,wait",
    ] {
        bad("WHEN_FULL", text);
    }
    assert!(
        bad("WHEN_FULL", "Reject")
            .problem
            .contains("not exactly \"reject\"")
    );
    assert_eq!(good("LOG_FORMAT", "json").log_format, LogFormat::Json);
    for text in ["JSON", "plain", "text,json"] {
        bad("LOG_FORMAT", text);
    }
}

#[test]
fn limits_in_numbers() {
    let limits = with(&[
        ("MAX_RECORDS_PER_SECOND", "1"),
        ("MAX_BYTES_PER_SECOND", "4294967295"),
        ("MAX_REQUESTS_PER_SECOND", "0"),
    ]);
    let limits = limits.unwrap().rate_limits;
    assert_eq!(limits.records_per_second, NonZeroU32::new(1));
    assert_eq!(limits.bytes_per_second, Some(NonZeroU32::MAX));
    assert_eq!(limits.requests_per_second, None);
    for name in [
        "MAX_RECORDS_PER_SECOND",
        "MAX_BYTES_PER_SECOND",
        "MAX_REQUESTS_PER_SECOND",
    ] {
        for text in ["4294967296", "-1", "1.5", "1k", "00", "unlimited"] {
            bad(name, text);
        }
    }
    let year = 31_536_000;
    assert_eq!(
        good("RECORD_MAX_AGE", "1").record_max_age,
        Some(Duration::from_secs(1))
    );
    assert_eq!(
        good("RECORD_MAX_AGE", "31536000").record_max_age,
        Some(Duration::from_secs(year))
    );
    bad("RECORD_MAX_AGE", "31536001");
    bad("RECORD_MAX_AGE", "1d");
    assert_eq!(
        good("SHUTDOWN_TIMEOUT", "0").shutdown_timeout,
        Duration::ZERO
    );
    assert_eq!(
        good("SHUTDOWN_TIMEOUT", "3600").shutdown_timeout,
        Duration::from_secs(3600)
    );
    bad("SHUTDOWN_TIMEOUT", "3601");
    bad("SHUTDOWN_TIMEOUT", "10s");
    assert_eq!(good("STATUS_MAX_BYTES", "4096").status_max_bytes, 4096);
    assert_eq!(
        good("STATUS_MAX_BYTES", "16777216").status_max_bytes,
        16_777_216
    );
    bad("STATUS_MAX_BYTES", "4095");
    bad("STATUS_MAX_BYTES", "16777217");
    bad("STATUS_MAX_BYTES", "128KiB");
}

#[test]
fn shared_subscription_groups() {
    let name = "SHARED_SUBSCRIPTION_GROUP";
    assert_eq!(with(&[]).unwrap().shared_subscription_group, None);
    let long = "g".repeat(share::MAX_GROUP_BYTES);
    for group in ["g", "press hall", "Größe", "$g", &long] {
        let read = good(name, group).shared_subscription_group;
        assert_eq!(read.as_deref(), Some(group));
    }
    for group in ["a/b", "+", "a#", "a\tb", &format!("{long}g")] {
        bad(name, group);
    }
}

/// Only what becomes part of a topic has to be fit for it.
#[test]
fn a_client_id_that_no_topic_may_have_is_a_fault_where_it_becomes_a_part_of_one() {
    let group = ("SHARED_SUBSCRIPTION_GROUP", "g");
    let interval = ("CONNECTOR_STATUS_INTERVAL", "60");
    let long = "i".repeat(65_535);
    for id in ["a+b", "#", &long] {
        let id = ("MQTT_CLIENT_ID", id);
        assert!(with(&[id]).is_ok() && with(&[id, group]).is_ok() && with(&[id, interval]).is_ok());
        let faults = with(&[id, group, interval]).unwrap_err();
        let [fault] = &faults.0[..] else {
            panic!("{faults}");
        };
        assert_eq!(fault.parameter, "MQTT_CLIENT_ID");
        assert!(
            fault.problem.contains("SHARED_SUBSCRIPTION_GROUP"),
            "{faults}"
        );
    }
    for id in ["edge-1", "hall/7", &long[..65_000]] {
        assert!(with(&[("MQTT_CLIENT_ID", id), group, interval]).is_ok());
    }
}

#[test]
fn topic_prefixes() {
    let longest = "é".repeat(MAX_TOPIC_PREFIX_BYTES / 2);
    for text in [
        "kinesisfirehose",
        "a/b/c",
        "a//b",
        "with space",
        "höhe",
        "a$b",
        &longest,
    ] {
        assert_eq!(good("TOPIC_PREFIX", text).topic_prefix, text);
    }
    let too_long = longest.clone() + "x";
    for text in [
        "/a",
        "a/",
        "/",
        "a+b",
        "a/#",
        "#",
        "$aws/things",
        "$share/g/a",
        "a\0b",
        "a\tb",
        &too_long,
    ] {
        bad("TOPIC_PREFIX", text);
    }
    assert!(bad("TOPIC_PREFIX", &too_long).problem.contains("201 bytes"));
}

#[test]
fn the_default_stream_is_of_an_allowed_partition() {
    let china = "arn:aws-cn:firehose:cn-north-1:123456789012:deliverystream/s";
    assert!(
        bad("DEFAULT_DELIVERY_STREAM_ARN", china)
            .problem
            .contains("AWS_PARTITIONS")
    );
    let set = [
        ("DEFAULT_DELIVERY_STREAM_ARN", china),
        ("AWS_PARTITIONS", "aws-cn"),
    ];
    assert_eq!(
        read(&set).unwrap().default_delivery_stream_arn.region(),
        "cn-north-1"
    );
    // The stream of a partition that a list means and misspells is not a fault of its own.
    let set = [
        ("DEFAULT_DELIVERY_STREAM_ARN", china),
        ("AWS_PARTITIONS", "aws, aws-cn"),
    ];
    let faults = read(&set).unwrap_err();
    assert_eq!(faults.0.len(), 1, "{faults}");
    assert!(
        faults.0[0]
            .problem
            .contains("it names \" aws-cn\", which is not a partition"),
        "{faults}"
    );
    for text in ["aws,", ",", "AWS", "aws-iso-c"] {
        bad("AWS_PARTITIONS", text);
    }
    for text in [
        "my-stream",
        "arn:aws:kinesis:us-east-1:123456789012:stream/s",
    ] {
        bad("DEFAULT_DELIVERY_STREAM_ARN", text);
    }
}
