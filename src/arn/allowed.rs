//! Which streams requests may name beside the default stream: the parameter `ALLOWED_DELIVERY_STREAM_ARNS`.

use super::{ACCOUNT_DIGITS, DeliveryStreamArn, MAX_ARN_BYTES, Partition, Partitions, quoted};

/// Stands for any characters in a part of an ARN, none too.
const WILDCARD: char = '*';

/// An account number.
const EXAMPLE_ACCOUNT: &str = "123456789012";

/// A list of ARNs, in which region, account and name may have wildcards. Never empty when parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedStreams {
    /// As they were written, each once.
    patterns: Vec<String>,
}

impl AllowedStreams {
    /// Reads a comma-separated list, without spaces. An error says of the list what is wrong, in words that fit
    /// after "it".
    pub fn parse(text: &str, partitions: &Partitions) -> Result<Self, String> {
        let mut patterns: Vec<String> = Vec::new();
        for pattern in text.split(',') {
            if pattern.is_empty() {
                return Err("has an empty entry".to_owned());
            }
            check(pattern, partitions).map_err(|problem| {
                format!("names {}: {problem}", quoted(pattern, MAX_ARN_BYTES))
            })?;
            if !patterns.iter().any(|known| known == pattern) {
                patterns.push(pattern.to_owned());
            }
        }
        Ok(AllowedStreams { patterns })
    }

    /// Whether a stream is among them.
    pub fn contain(&self, stream: &DeliveryStreamArn) -> bool {
        let mut patterns = self.patterns.iter();
        patterns.any(|pattern| matches(pattern, stream.as_str()))
    }

    /// The entries as they were written. With their wildcards they mean the same to IAM.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(String::as_str)
    }
}

/// Checks an entry: with something in the place of its wildcards it has to be an ARN.
fn check(pattern: &str, partitions: &Partitions) -> Result<(), String> {
    let parts: Vec<&str> = pattern.splitn(6, ':').collect();
    let example = match parts[..] {
        [arn, partition, service, region, account, resource] => {
            let region = with_example(region, example_region(partition), |byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
            });
            let account = match account.len() - account.matches(WILDCARD).count() {
                0..=ACCOUNT_DIGITS => {
                    with_example(account, EXAMPLE_ACCOUNT, |byte| byte.is_ascii_digit())
                }
                _ => account,
            };
            // The name is all that is behind the slash.
            let (kind, name) = resource.split_once('/').unwrap_or((resource, ""));
            let slash = &resource[kind.len()..resource.len() - name.len()];
            let name = name.replace(WILDCARD, "x");
            format!("{arn}:{partition}:{service}:{region}:{account}:{kind}{slash}{name}")
        }
        _ => pattern.to_owned(),
    };
    match DeliveryStreamArn::parse(&example, partitions) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.problem.to_string()),
    }
}

/// An example in the place of a part with wildcards, if all else in it fits.
fn with_example<'a>(part: &'a str, example: &'a str, fits: impl Fn(u8) -> bool) -> &'a str {
    let mut others = part.bytes().filter(|byte| *byte != WILDCARD as u8);
    if part.contains(WILDCARD) && others.all(fits) {
        example
    } else {
        part
    }
}

/// A region of a partition; of one that does not exist nobody will ask.
fn example_region(partition: &str) -> &'static str {
    Partition::from_name(partition).map_or("", Partition::example_region)
}

/// Whether a text is what a pattern says. Both have as many colons, so no wildcard reaches over one.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((beginning, rest)) = pattern.split_once(WILDCARD) else {
        return pattern == text;
    };
    let (middle, end) = rest.rsplit_once(WILDCARD).unwrap_or(("", rest));
    let Some(mut left) = text
        .strip_prefix(beginning)
        .and_then(|text| text.strip_suffix(end))
    else {
        return false;
    };
    // The first place where a piece is found leaves most to the others.
    middle.split(WILDCARD).all(|piece| match left.find(piece) {
        Some(at) => {
            left = &left[at + piece.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "arn:aws:firehose:eu-west-1:123456789012:deliverystream";

    fn allowed(list: &str) -> AllowedStreams {
        AllowedStreams::parse(list, &Partitions::default()).unwrap()
    }

    fn stream(arn: &str) -> DeliveryStreamArn {
        DeliveryStreamArn::parse(arn, &Partitions::ALL).unwrap()
    }

    #[test]
    fn a_stream_is_allowed_exactly_or_by_wildcards() {
        let list = format!(
            "{HEAD}/one,{HEAD}/press-*,{HEAD}/*-a-*-z,arn:aws:firehose:us-*-1:123456789012:deliverystream/far,\
             arn:aws:firehose:eu-west-1:999*:deliverystream/other"
        );
        let allowed = allowed(&list);
        for (arn, expected) in [
            (format!("{HEAD}/one"), true),
            (format!("{HEAD}/one1"), false),
            (format!("{HEAD}/on"), false),
            (format!("{HEAD}/press-"), true),
            (format!("{HEAD}/press-7.b"), true),
            (format!("{HEAD}/a-press-7"), false),
            (format!("{HEAD}/x-a-y-z"), true),
            (format!("{HEAD}/-a-a--z"), true),
            (format!("{HEAD}/x-a-z"), false),
            (
                "arn:aws:firehose:us-east-1:123456789012:deliverystream/far".into(),
                true,
            ),
            (
                "arn:aws:firehose:us-east-2:123456789012:deliverystream/far".into(),
                false,
            ),
            (
                "arn:aws:firehose:eu-west-1:999999999999:deliverystream/other".into(),
                true,
            ),
            (
                "arn:aws:firehose:eu-west-1:123456789012:deliverystream/other".into(),
                false,
            ),
            (
                "arn:aws-cn:firehose:cn-north-1:999999999999:deliverystream/other".into(),
                false,
            ),
        ] {
            assert_eq!(allowed.contain(&stream(&arn)), expected, "{arn}");
        }
    }

    #[test]
    fn what_cannot_be_a_stream_is_refused_with_its_part() {
        let parse = |text: &str| AllowedStreams::parse(text, &Partitions::default());
        for good in ["press-*", "*", "a*b*c", "**"] {
            assert!(parse(&format!("{HEAD}/{good}")).is_ok(), "{good}");
        }
        for good in [
            "*:*",
            "eu-*:123456789012",
            "ap-southeast-*:123456789012",
            "*-1:1234567890*",
            "eu-west-1:*12",
        ] {
            let arn = format!("arn:aws:firehose:{good}:deliverystream/s");
            assert!(parse(&arn).is_ok(), "{good}");
        }
        for (text, problem) in [
            ("*".to_owned(), "does not begin with"),
            (format!("{HEAD}/s,"), "has an empty entry"),
            (format!("{HEAD}/s, {HEAD}/t"), "does not begin with"),
            (format!("{HEAD}/a b*"), "other characters"),
            (format!("{HEAD}/s?"), "other characters"),
            (format!("{HEAD}/"), "name is missing"),
            (format!("{HEAD}*"), "deliverystream/"),
            (format!("{HEAD}/{}", "s".repeat(500)), "at most 512"),
            (
                "arn:*:firehose:eu-west-1:123456789012:deliverystream/s".into(),
                "AWS_PARTITIONS",
            ),
            (
                "arn:aws-cn:firehose:*:*:deliverystream/s".into(),
                "AWS_PARTITIONS",
            ),
            (
                "arn:aws:*:eu-west-1:123456789012:deliverystream/s".into(),
                "service",
            ),
            (
                "arn:aws:firehose:EU-*:123456789012:deliverystream/s".into(),
                "region",
            ),
            (
                "arn:aws:firehose:eu-west-1:12x*:deliverystream/s".into(),
                "account",
            ),
            (
                "arn:aws:firehose:eu-west-1:1234567890123*:deliverystream/s".into(),
                "account",
            ),
        ] {
            let said = parse(&text).unwrap_err();
            assert!(said.contains(problem), "{text}: {said}");
        }
    }

    #[test]
    fn an_entry_that_stands_there_twice_counts_once() {
        let twice = allowed(&format!("{HEAD}/a*,{HEAD}/b,{HEAD}/a*"));
        let patterns: Vec<_> = twice.patterns().collect();
        assert_eq!(patterns, [format!("{HEAD}/a*"), format!("{HEAD}/b")]);
    }

    proptest! {
        #[test]
        fn wildcards_are_those_of_a_regular_expression(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            let expression = format!("^{}$", pattern.replace('*', ".*"));
            let expected = regex_lite::Regex::new(&expression).unwrap().is_match(&text);
            prop_assert_eq!(matches(&pattern, &text), expected);
        }
    }
}
