//! The command line, from outside: every fault of a configuration is told at once and ends the
//! program with status 2, no secret is ever shown, empty means unset, a flag wins over its
//! variable, the help names every parameter, and the README lists what there is.

mod common;

use std::fs;
use std::process::Output;

use common::{STREAM, program};
use kinesis_edge::code::Code;
use kinesis_edge::memory::LEAST_MEMORY_SIZE_KB;
use kinesis_edge::parameters::PARAMETERS;

/// The program with these arguments and variables and no others; it has to end by itself.
fn kinesis_edge(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    std::process::Command::new(program())
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the program starts")
}

/// What it says of a faulty configuration.
fn faults(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = kinesis_edge(arguments, variables);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty());
    said
}

/// The number that the report begins with is that of the faults.
fn check_count(said: &str, count: usize) {
    let head = match count {
        1 => "The configuration has a fault:".to_owned(),
        _ => format!("The configuration has {count} faults:"),
    };
    assert!(said.starts_with(&head), "{said}");
    assert_eq!(said.matches("    valid:   ").count(), count, "{said}");
    assert_eq!(said.matches("    example: ").count(), count, "{said}");
}

#[test]
fn every_fault_is_told_at_once() {
    let wrong = [
        ("DELIVERY_STREAM_QUEUE_SIZE", "1999"),
        ("PUBLISH_INTERVAL", "901"),
        ("MEMORY_SIZE", "lots"),
        ("CONNECTOR_VERSION", "6"),
        ("AWS_PARTITIONS", "mars"),
        ("MQTT_URL", "http://broker"),
        ("MQTT_VERSION", "4"),
        ("TOPIC_PREFIX", "a/#"),
        ("PUBLISH_WHEN_FULL", "maybe"),
        ("WHEN_FULL", "panic"),
        ("MAX_RECORDS_PER_SECOND", "-1"),
        ("MAX_BYTES_PER_SECOND", "1k"),
        ("MAX_REQUESTS_PER_SECOND", "1.5"),
        ("RECORD_MAX_AGE", "1h"),
        ("QUEUE_DIR", "/nonexistent/queue"),
        ("QUEUE_DIR_MAX_BYTES", "1GiB"),
        ("COMMIT_INTERVAL_MS", "1001"),
        ("DEAD_LETTER_DIR", "/nonexistent/dead-letters"),
        ("DEAD_LETTER_MAX_BYTES", "1"),
        ("RECORD_ENVELOPE", "json"),
        ("RECORD_DELIMITER", "\\q"),
        ("RECORD_AGGREGATION", "lines"),
        ("AGGREGATION_MAX_BYTES", "1024001"),
        ("RECORD_COMPRESSION", "lz4"),
        ("SHUTDOWN_TIMEOUT", "3601"),
        ("STATUS_MAX_BYTES", "4095"),
        ("LOG_FORMAT", "xml"),
    ];
    let said = faults(&["run"], &wrong);
    // The stream is missing as well.
    check_count(&said, wrong.len() + 1);
    assert!(said.contains("DEFAULT_DELIVERY_STREAM_ARN (--default-delivery-stream-arn): "));
    let mut last = 0;
    for (name, value) in wrong {
        let place = said.find(&format!("\n{name} (--")).expect(name);
        assert!(place > last, "{name} is not in its place");
        assert!(said[place..].lines().nth(1).expect(name).contains(value));
        last = place;
    }
}

#[test]
fn secrets_are_never_shown() {
    let secret = "hunter2-very-secret";
    let url = format!("mqtt://user:{secret}@host:port");
    for variables in [
        vec![("MQTT_URL", url.as_str())],
        vec![("MQTT_PASSWORD", secret)],
        vec![
            ("MQTT_PASSWORD", secret),
            ("MQTT_PASSWORD_FILE", "/nowhere"),
        ],
        vec![
            ("MQTT_PASSWORD", secret),
            ("MQTT_URL", "mqtt://user:another-secret@host"),
        ],
    ] {
        let said = faults(&["run"], &variables);
        assert!(said.contains("MQTT_"), "{said}");
        assert!(
            !said.contains(secret) && !said.contains("another-secret"),
            "{said}"
        );
    }
    let said = faults(&["run", "--mqtt-password", secret], &[]);
    assert!(!said.contains(secret), "{said}");
}

#[test]
fn empty_is_unset() {
    let empty: Vec<_> = PARAMETERS
        .iter()
        .map(|parameter| (parameter.env, ""))
        .collect();
    let said = faults(&["run"], &empty);
    check_count(&said, 1);
    assert!(said.contains("DEFAULT_DELIVERY_STREAM_ARN"), "{said}");
}

#[test]
fn a_flag_wins_over_its_variable() {
    let variables = [
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("PUBLISH_INTERVAL", "901"),
        ("WHEN_FULL", "wait"),
    ];
    let flags = ["run", "--publish-interval", "10", "--when-full", "flag"];
    let said = faults(&flags, &variables);
    check_count(&said, 1);
    assert!(
        said.contains("WHEN_FULL (--when-full) is \"flag\""),
        "{said}"
    );
    // An empty flag is no flag.
    let said = faults(&["run", "--publish-interval="], &variables);
    check_count(&said, 1);
    assert!(said.contains("PUBLISH_INTERVAL"), "{said}");
}

#[test]
fn too_little_memory_is_told_the_least() {
    let least = LEAST_MEMORY_SIZE_KB;
    for memory in ["0", "1", &(least - 1).to_string()] {
        let said = faults(
            &["run"],
            &[
                ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
                ("MEMORY_SIZE", memory),
            ],
        );
        check_count(&said, 1);
        assert!(said.contains(&format!("the least is {least} KB")), "{said}");
    }
}

#[test]
fn send_tells_its_own_faults() {
    let said = faults(
        &["send", "x"],
        &[("MQTT_VERSION", "4"), ("TOPIC_PREFIX", "+")],
    );
    check_count(&said, 2);
    // The others are none of its business.
    let said = faults(
        &["send", "x"],
        &[("MQTT_VERSION", "4"), ("WHEN_FULL", "panic")],
    );
    check_count(&said, 1);
}

#[test]
fn help_names_every_parameter() {
    let help = |subcommand: &str| {
        let output = kinesis_edge(&[subcommand, "--help"], &[]);
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("text")
    };
    let run = help("run");
    for parameter in PARAMETERS {
        assert!(
            run.contains(&format!("--{} <", parameter.flag)),
            "{}",
            parameter.env
        );
        assert!(
            run.contains(&format!("[env: {}]", parameter.env)),
            "{}",
            parameter.env
        );
    }
    let send = help("send");
    for parameter in PARAMETERS {
        let named = send.contains(&format!("--{} <", parameter.flag));
        assert_eq!(named, parameter.for_send, "{}", parameter.env);
    }
    // The broker of `local` is its own.
    if cfg!(feature = "local") {
        let local = help("local");
        for parameter in PARAMETERS {
            let named = local.contains(&format!("--{} <", parameter.flag));
            assert_eq!(
                named,
                !parameter.env.starts_with("MQTT_"),
                "{}",
                parameter.env
            );
        }
    }
}

#[test]
fn an_unknown_command_or_flag_ends_with_status_2() {
    for arguments in [&["fly"][..], &["run", "--no-such-flag"], &["send"]] {
        let output = kinesis_edge(arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

fn readme() -> String {
    fs::read_to_string("README.md").expect("tests run in the package's folder")
}

#[test]
fn the_readme_lists_every_parameter() {
    let readme = readme();
    let section = readme
        .split("\n## ")
        .find(|section| section.starts_with("Parameters"))
        .expect("the README has a section \"Parameters\"");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: Vec<&str> = rows
        .filter_map(|row| Some(row.split_once("` |")?.0))
        .collect();
    let expected: Vec<&str> = PARAMETERS.iter().map(|parameter| parameter.env).collect();
    assert_eq!(listed, expected);
}

#[test]
fn the_readme_explains_every_code() {
    let readme = readme();
    for code in Code::ALL {
        assert!(readme.contains(&format!("`{code}`")), "{code}");
    }
}
