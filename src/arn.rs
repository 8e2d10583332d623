//! The name of a delivery stream: [`DeliveryStreamArn`], parsed once where it enters the program and
//! valid ever after; [`Partitions`], the parts of AWS whose streams this connector may use; and
//! [`AllowedStreams`], those of them that requests may name.
//!
//! The pattern is the one the Greengrass connector documents, anchored at both ends. That pattern
//! knows the partition `aws` only; the others carry the regions that AWS's own partition list
//! (`partitions.json` of the SDKs, `regionRegex`) gives them, and are accepted where
//! `AWS_PARTITIONS` names them.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

mod allowed;
mod partitions;
#[cfg(test)]
mod tests;

pub use allowed::AllowedStreams;
pub use partitions::{Partition, Partitions};

/// The longest ARN accepted, in bytes. Source: Firehose API reference, `DeliveryStreamARN`, maximum
/// length 512. It is checked before the pattern, so an outsized value costs nothing.
pub const MAX_ARN_BYTES: usize = 512;

/// Digits of an AWS account number.
const ACCOUNT_DIGITS: usize = 12;

/// What stands between partition and region.
const SERVICE: &str = ":firehose:";

/// What stands between account and stream name.
const RESOURCE: &str = ":deliverystream/";

/// The ARN of a delivery stream, of a partition that was allowed when it was parsed.
///
/// Equal, hashed and ordered by its text alone, and `Borrow<str>`: a map keyed by it can be asked with
/// the text of a message, so only a stream not seen before is parsed at all.
#[derive(Clone)]
pub struct DeliveryStreamArn {
    /// Shared, because every record of a stream carries its ARN.
    text: Arc<str>,
    /// Kept from parsing, so nobody looks for it in the text again.
    partition: Partition,
    /// Where the region ends; its start follows from the partition.
    region_end: u16,
    /// Where the stream's name begins; it ends with the text.
    name_start: u16,
}

impl DeliveryStreamArn {
    /// Reads an ARN. Anything around it is an error, whitespace and a trailing newline too.
    pub fn parse(text: &str, partitions: &Partitions) -> Result<Self, ArnError> {
        Self::read(text, *partitions).map_err(|problem| ArnError {
            value: quoted(text, SHOWN_CHARS),
            problem,
        })
    }

    fn read(text: &str, partitions: Partitions) -> Result<Self, ArnProblem> {
        if text.len() > MAX_ARN_BYTES {
            return Err(ArnProblem::TooLong { length: text.len() });
        }
        // The partition chooses the pattern; the pattern then judges the whole text.
        let name = text
            .strip_prefix("arn:")
            .and_then(|rest| rest.split_once(':'));
        let Some((name, _)) = name else {
            return Err(shape(
                partitions,
                "it does not begin with \"arn:\" and a partition".to_owned(),
            ));
        };
        let Some(partition) =
            Partition::from_name(name).filter(|found| partitions.contains(*found))
        else {
            return Err(ArnProblem::PartitionNotAllowed {
                partition: quoted(name, 40),
                allowed: partitions,
            });
        };
        let slash = text.find('/');
        let (true, Some(slash)) = (partition.patterns().arn.is_match(text), slash) else {
            return Err(wrong_part(text, partition));
        };
        // The pattern holds, so the parts before the name have known lengths: no more searching. At
        // most 512 bytes, so an offset fits in 16 bits.
        let name_start = slash + 1;
        let region_end = name_start - RESOURCE.len() - ACCOUNT_DIGITS - 1;
        Ok(DeliveryStreamArn {
            text: Arc::from(text),
            partition,
            region_end: region_end as u16,
            name_start: name_start as u16,
        })
    }

    /// The whole ARN, exactly as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The region, which decides the endpoint.
    pub fn region(&self) -> &str {
        let start = "arn:".len() + self.partition.name().len() + SERVICE.len();
        &self.text[start..usize::from(self.region_end)]
    }

    /// The account that owns the stream: twelve digits.
    pub fn account(&self) -> &str {
        let start = usize::from(self.region_end) + 1;
        &self.text[start..start + ACCOUNT_DIGITS]
    }

    /// The stream's name, which is what `PutRecord` and `PutRecordBatch` take.
    pub fn stream_name(&self) -> &str {
        &self.text[usize::from(self.name_start)..]
    }
}

impl PartialEq for DeliveryStreamArn {
    fn eq(&self, other: &Self) -> bool {
        // Clones share their text, and most comparisons are between clones.
        Arc::ptr_eq(&self.text, &other.text) || self.text == other.text
    }
}

impl Eq for DeliveryStreamArn {}

impl Hash for DeliveryStreamArn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for DeliveryStreamArn {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DeliveryStreamArn {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Borrow<str> for DeliveryStreamArn {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for DeliveryStreamArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for DeliveryStreamArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeliveryStreamArn({})", self.text)
    }
}

/// Why a text is not the ARN of a stream that may be used. Displays in one line, of bounded length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} cannot be used: {problem}")]
pub struct ArnError {
    /// The text that was refused, fit to be shown: quoted, escaped and shortened.
    pub value: String,
    /// What is wrong with it, for whoever shows the value in another way.
    pub problem: ArnProblem,
}

/// What is wrong with an ARN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArnProblem {
    /// Longer than Firehose takes.
    #[error("it has {length} bytes, and the ARN of a delivery stream has at most {MAX_ARN_BYTES}")]
    TooLong {
        /// Bytes of the text, since the text itself is not shown whole.
        length: usize,
    },
    /// Perhaps a good ARN, but of a partition this connector was not set up for.
    #[error("the partition {partition} is not among AWS_PARTITIONS ({allowed})")]
    PartitionNotAllowed {
        /// The partition found, fit to be shown.
        partition: String,
        /// What is allowed, so the operator sees what to add to.
        allowed: Partitions,
    },
    /// Not of the documented shape.
    #[error(
        "{wrong}; expected arn:PARTITION:firehose:REGION:ACCOUNT:deliverystream/NAME, for example {example}"
    )]
    Shape {
        /// The first part that is wrong.
        wrong: String,
        /// A valid ARN of the partition in question.
        example: String,
    },
}

/// How much of an offending value an error shows.
const SHOWN_CHARS: usize = 80;

fn shape(partitions: Partitions, wrong: String) -> ArnProblem {
    let partition = partitions.iter().next().unwrap_or(Partition::Aws);
    let region = partition.example_region();
    let example = format!("arn:{partition}{SERVICE}{region}:123456789012{RESOURCE}telemetry");
    ArnProblem::Shape { wrong, example }
}

/// Says which part of an ARN that failed its pattern is the first wrong one.
fn wrong_part(text: &str, partition: Partition) -> ArnProblem {
    let part = |index| text.splitn(6, ':').nth(index).unwrap_or_default();
    let (service, region, account, resource) = (part(2), part(3), part(4), part(5));
    let name = resource.strip_prefix("deliverystream/");
    let wrong = if service != "firehose" {
        format!("the service is {}, not \"firehose\"", quoted(service, 40))
    } else if !partition.patterns().region.is_match(region) {
        format!(
            "the region {} is not one of the partition {partition}",
            quoted(region, 40)
        )
    } else if account.len() != ACCOUNT_DIGITS || !account.bytes().all(|byte| byte.is_ascii_digit())
    {
        format!(
            "the account {} is not {ACCOUNT_DIGITS} digits",
            quoted(account, 40)
        )
    } else {
        match name {
            None => "there is no \"deliverystream/\" before the stream's name".to_owned(),
            Some("") => "the stream's name is missing".to_owned(),
            Some(name) => format!(
                "the stream's name {} has other characters than letters, digits, \"_\", \"-\" and \".\"",
                quoted(name, SHOWN_CHARS)
            ),
        }
    };
    shape(Partitions::of(partition), wrong)
}

/// A value from outside, fit to be shown in one line: in quotes, with whatever does not print escaped
/// and no more than `most` of its characters.
pub(crate) fn quoted(text: &str, most: usize) -> String {
    let mut shown = String::from("\"");
    for (index, character) in text.chars().enumerate() {
        if index == most {
            shown.push('…');
            break;
        }
        match character {
            '\'' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown.push('"');
    shown
}
