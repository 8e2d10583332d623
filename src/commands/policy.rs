//! `kinesis-edge policy`: the least IAM policy that the connector can work with.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use kinesis_edge::arn::{AllowedStreams, DeliveryStreamArn, Partitions};
use kinesis_edge::parameters;
use serde_json::{Value, json};

use super::text::{excerpt, to_stdout};
use super::{EXIT_CONFIGURATION, report};

/// How much of a faulty `--arn` an error shows.
const SHOWN_CHARS: usize = 200;

/// What stands before a stream's name in its ARN.
const RESOURCE: &str = ":deliverystream/";

const EXAMPLES: &str = "\
Examples:
  kinesis-edge policy --config /etc/kinesis-edge/kinesis-edge.toml > policy.json
  kinesis-edge policy --default-delivery-stream-arn arn:aws:firehose:eu-west-1:123456789012:deliverystream/telemetry \\
      --arn 'arn:aws:firehose:eu-west-1:123456789012:deliverystream/press-*'";

pub fn command() -> Command {
    Command::new("policy")
        .about("Prints the least IAM policy that the connector can work with")
        .long_about(
            "Prints the least IAM policy, as JSON, that `run` can work with under the same flags, environment and \
             configuration file: firehose:PutRecordBatch, or firehose:PutRecord where records leave one by one \
             (CONNECTOR_VERSION=1, PUBLISH_INTERVAL=0), on the default stream, on those of ALLOWED_DELIVERY_STREAM_ARNS and \
             on those of --arn.\n\n\
             `queue drain` and `dead-letters replay` always send batches.",
        )
        .arg(
            Arg::new("arn")
                .long("arn")
                .value_name("ARN")
                .action(ArgAction::Append)
                .help("A stream that requests name; * and ? in its name stand for any characters and for one. Repeatable"),
        )
        .args(parameters::args_calls())
        .after_long_help(EXAMPLES)
}

pub fn execute(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let parameters = match parameters::load_calls(matches) {
        Ok(parameters) => parameters,
        Err(faults) => return Ok(report(&faults)),
    };
    let mut resources = vec![parameters.default_delivery_stream_arn.as_str()];
    let allowed = parameters.allowed_streams.iter();
    let allowed = allowed.flat_map(AllowedStreams::patterns);
    resources.extend(allowed.filter(|arn| *arn != parameters.default_delivery_stream_arn.as_str()));
    for arn in matches.get_many::<String>("arn").into_iter().flatten() {
        if let Err(problem) = check_pattern(arn, &parameters.partitions) {
            let shown = excerpt(arn, SHOWN_CHARS);
            eprintln!("kinesis-edge: --arn {shown} cannot be used: {problem}");
            return Ok(ExitCode::from(EXIT_CONFIGURATION));
        }
        if !resources.contains(&arn.as_str()) {
            resources.push(arn);
        }
    }
    let policy = policy(parameters.batches(), &resources);
    to_stdout(|out| writeln!(out, "{policy:#}"))?;
    if !parameters.batches() {
        eprintln!(
            "kinesis-edge: `queue drain` and `dead-letters replay` need firehose:PutRecordBatch as well; this policy is \
             for `run` alone"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The policy that allows the calls, on these streams and on no others.
fn policy(batches: bool, resources: &[&str]) -> Value {
    let action = if batches {
        "firehose:PutRecordBatch"
    } else {
        "firehose:PutRecord"
    };
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "KinesisEdge",
            "Effect": "Allow",
            "Action": [action],
            "Resource": resources,
        }],
    })
}

/// Checks an ARN whose stream's name may have wildcards in it. The rest of it may not: each part is
/// another kind of mistake.
fn check_pattern(arn: &str, partitions: &Partitions) -> Result<(), String> {
    let checked = match arn.split_once(RESOURCE) {
        Some((before, name)) => {
            let name = name.replace(['*', '?'], "x");
            format!("{before}{RESOURCE}{name}")
        }
        None => arn.to_owned(),
    };
    match DeliveryStreamArn::parse(&checked, partitions) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.problem.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_in_the_name_only() {
        let check = |arn: &str| check_pattern(arn, &Partitions::default());
        let head = "arn:aws:firehose:eu-west-1:123456789012:deliverystream";
        for name in ["press-7", "press-*", "*", "press-?", "a*b?c"] {
            assert_eq!(check(&format!("{head}/{name}")), Ok(()), "{name}");
        }
        for (arn, problem) in [
            ("*", "does not begin with"),
            (
                "arn:aws:firehose:*:123456789012:deliverystream/s",
                "the region",
            ),
            (
                "arn:aws:firehose:eu-west-1:*:deliverystream/s",
                "the account",
            ),
            (
                "arn:aws:firehose:eu-west-1:123456789012:*",
                "deliverystream/",
            ),
            (
                "arn:aws:firehose:eu-west-1:123456789012:deliverystream/",
                "name is missing",
            ),
            (
                "arn:aws:firehose:eu-west-1:123456789012:deliverystream/a b",
                "other characters",
            ),
            (
                "arn:aws-cn:firehose:cn-north-1:123456789012:deliverystream/s",
                "AWS_PARTITIONS",
            ),
        ] {
            let said = check(arn).unwrap_err();
            assert!(said.contains(problem), "{arn}: {said}");
        }
    }
}
