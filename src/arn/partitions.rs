//! The partitions of AWS, the regions each of them has, and the set of them that is allowed.

use std::fmt;
use std::sync::LazyLock;

use regex_lite::Regex;

use super::{ACCOUNT_DIGITS, RESOURCE, SERVICE, quoted};

/// A part of AWS with regions and account numbers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Partition {
    /// The commercial regions; the only partition the original connector accepts.
    Aws,
    /// China.
    AwsCn,
    /// GovCloud (US).
    AwsUsGov,
    /// US isolated, Top Secret.
    AwsIso,
    /// US isolated, Secret.
    AwsIsoB,
    /// EU isolated.
    AwsIsoE,
    /// US isolated, the third.
    AwsIsoF,
    /// The European Sovereign Cloud.
    AwsEusc,
}

impl Partition {
    /// Every partition, in the order of the documentation.
    pub const ALL: [Partition; 8] = [
        Partition::Aws,
        Partition::AwsCn,
        Partition::AwsUsGov,
        Partition::AwsIso,
        Partition::AwsIsoB,
        Partition::AwsIsoE,
        Partition::AwsIsoF,
        Partition::AwsEusc,
    ];

    /// The partition as an ARN and `AWS_PARTITIONS` write it.
    pub fn name(self) -> &'static str {
        match self {
            Partition::Aws => "aws",
            Partition::AwsCn => "aws-cn",
            Partition::AwsUsGov => "aws-us-gov",
            Partition::AwsIso => "aws-iso",
            Partition::AwsIsoB => "aws-iso-b",
            Partition::AwsIsoE => "aws-iso-e",
            Partition::AwsIsoF => "aws-iso-f",
            Partition::AwsEusc => "aws-eusc",
        }
    }

    /// The partition of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|partition| partition.name() == name)
    }

    /// The regions of the partition. For `aws` this is the documented pattern to the letter, which
    /// also lets `cn-north-1` through; Firehose then answers for it. The others are the SDKs'
    /// `regionRegex` with `\w` narrowed to letters and `\d+` to the one digit of the contract.
    fn region_pattern(self) -> &'static str {
        match self {
            Partition::Aws => "[a-z]{2}-[a-z]+-[0-9]",
            Partition::AwsCn => "cn-[a-z]+-[0-9]",
            Partition::AwsUsGov => "us-gov-[a-z]+-[0-9]",
            Partition::AwsIso => "us-iso-[a-z]+-[0-9]",
            Partition::AwsIsoB => "us-isob-[a-z]+-[0-9]",
            Partition::AwsIsoE => "eu-isoe-[a-z]+-[0-9]",
            Partition::AwsIsoF => "us-isof-[a-z]+-[0-9]",
            Partition::AwsEusc => "eusc-de-[a-z]+-[0-9]",
        }
    }

    /// A region for the example in an error.
    pub(super) fn example_region(self) -> &'static str {
        match self {
            Partition::Aws => "us-east-1",
            Partition::AwsCn => "cn-north-1",
            Partition::AwsUsGov => "us-gov-west-1",
            Partition::AwsIso => "us-iso-east-1",
            Partition::AwsIsoB => "us-isob-east-1",
            Partition::AwsIsoE => "eu-isoe-west-1",
            Partition::AwsIsoF => "us-isof-south-1",
            Partition::AwsEusc => "eusc-de-east-1",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The patterns of the partition, compiled at first use.
    pub(super) fn patterns(self) -> &'static Patterns {
        static PATTERNS: LazyLock<[Patterns; Partition::ALL.len()]> =
            LazyLock::new(|| Partition::ALL.map(Patterns::of));
        &PATTERNS[self as usize]
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The patterns of one partition, compiled once for the life of the process.
pub(super) struct Patterns {
    /// Decides whether an ARN is accepted; nothing else does.
    pub(super) arn: Regex,
    /// Lets an error say that it is the region which is wrong.
    pub(super) region: Regex,
}

impl Patterns {
    fn of(partition: Partition) -> Self {
        let region = partition.region_pattern();
        let arn = format!(
            r"\Aarn:{partition}{SERVICE}{region}:[0-9]{{{ACCOUNT_DIGITS}}}{RESOURCE}[a-zA-Z0-9_\-.]+\z"
        );
        // Proof for both: built from this file's literals alone, and the tests compile all of them.
        Patterns {
            arn: Regex::new(&arn).expect("a pattern of literals"),
            region: Regex::new(&format!(r"\A{region}\z")).expect("a pattern of literals"),
        }
    }
}

/// The partitions whose streams are accepted: the parameter `AWS_PARTITIONS`. Never empty when parsed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Partitions {
    /// One bit for each of [`Partition::ALL`], so that a set is as cheap to pass as a number.
    bits: u8,
}

impl Partitions {
    /// Every partition there is.
    pub const ALL: Partitions = Partitions { bits: u8::MAX };

    /// Reads a comma-separated list, without spaces. An error says of the list what is
    /// wrong, in words that fit after "it".
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut bits = 0;
        for name in text.split(',') {
            if name.is_empty() {
                return Err("has an empty entry".to_owned());
            }
            let Some(partition) = Partition::from_name(name) else {
                return Err(format!(
                    "names {}, which is not a partition",
                    quoted(name, 40)
                ));
            };
            bits |= partition.bit();
        }
        Ok(Partitions { bits })
    }

    /// One partition alone.
    pub(super) fn of(partition: Partition) -> Self {
        Partitions {
            bits: partition.bit(),
        }
    }

    /// Whether streams of that partition are accepted.
    pub fn contains(self, partition: Partition) -> bool {
        self.bits & partition.bit() != 0
    }

    /// The partitions of the set, in the order of the documentation.
    pub fn iter(self) -> impl Iterator<Item = Partition> {
        Partition::ALL
            .into_iter()
            .filter(move |partition| self.contains(*partition))
    }
}

/// What `AWS_PARTITIONS` is when nothing is set: `aws`.
impl Default for Partitions {
    fn default() -> Self {
        Partitions::of(Partition::Aws)
    }
}

impl fmt::Display for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, partition) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{partition}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partitions({self})")
    }
}
