//! The arguments that commands about a directory of records share.

use std::path::PathBuf;

use clap::{Arg, Command, value_parser};
use kinesis_edge::arn::{DeliveryStreamArn, Partitions};

use super::arg_json;

/// With the directory, `--json`, and the flag of the parameter that names the directory.
pub fn with_args(command: Command, help: &'static str, parameter: Vec<Arg>) -> Command {
    command
        .arg(
            Arg::new("directory")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help(help),
        )
        .arg(arg_json())
        .args(parameter)
}

/// `--stream ARN`: only what is of this stream.
pub fn arg_stream(help: &'static str) -> Arg {
    Arg::new("stream")
        .long("stream")
        .value_name("ARN")
        .value_parser(|text: &str| {
            DeliveryStreamArn::parse(text, &Partitions::ALL).map_err(|error| error.to_string())
        })
        .help(help)
}
