//! The command line, from outside: every fault of a configuration is told at once and ends the
//! program with status 2, no secret is ever shown, empty means unset, a flag wins over its
//! variable, the help names every parameter, and the README lists what there is. `config` shows what holds.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use common::{STREAM, program};
use kinesis_edge::code::Code;
use kinesis_edge::memory::LEAST_MEMORY_SIZE_KB;
use kinesis_edge::parameters::{PARAMETERS, Topic};
use serde_json::{Value, json};

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
        ("IOT_CREDENTIAL_ENDPOINT", "https://endpoint"),
        ("IOT_ROLE_ALIAS", "a/b"),
        ("IOT_THING_NAME", "a b"),
        ("IOT_CERT_FILE", "/nonexistent/device.pem"),
        ("IOT_KEY_FILE", "/nonexistent/device.key"),
        ("IOT_CA_FILE", "/nonexistent/ca.pem"),
        ("ASSUME_ROLE_ARN", "role"),
        ("ASSUME_ROLE_EXTERNAL_ID", "x"),
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
    // The flag for the file as well, which is no parameter.
    assert_eq!(faults(&["run", "--config", ""], &empty), said);
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
    // The broker of `local` is its own, and its stand-in takes any credentials.
    if cfg!(feature = "local") {
        let local = help("local");
        for parameter in PARAMETERS {
            let named = local.contains(&format!("--{} <", parameter.flag));
            let is_own = parameter.env.starts_with("MQTT_") || parameter.topic == Topic::Identity;
            assert_eq!(named, !is_own, "{}", parameter.env);
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

/// A configuration file that only its owner can read.
fn config_file(folder: &Path, text: &str) -> String {
    let path = folder.join("k.toml");
    fs::write(&path, text).expect("the file is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode is set");
    path.to_str().expect("text").to_owned()
}

#[test]
fn every_command_with_parameters_reads_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "MQTT_VERSION = 4\nPUBLISH_INTERVAL = 901\nQUEUE_DIR = '/nowhere/q'\nDEAD_LETTER_DIR = '/nowhere/d'\n\
                RECORD_AGGREGATION = 'lines'\nWHEN = 1\n";
    let path = config_file(folder.path(), text);
    let arn = format!("DEFAULT_DELIVERY_STREAM_ARN = '{STREAM}'\n");
    // Each tells the faults of what it reads, and that of the file itself.
    for (command, lines) in [
        (&["run"][..], &[1, 2, 3, 4, 5, 6][..]),
        (&["send", "x"], &[1, 6]),
        (&["queue", "ls"], &[3, 6]),
        (&["queue", "drain"], &[3, 6]),
        (&["queue", "drain", "."], &[5, 6]),
        (&["dead-letters", "ls"], &[4, 6]),
        (&["dead-letters", "replay", "."], &[5, 6]),
        (&["policy"], &[2, 6]),
    ] {
        let arguments = [command, &["--config", &path]].concat();
        let said = faults(&arguments, &[("DEFAULT_DELIVERY_STREAM_ARN", STREAM)]);
        check_count(&said, lines.len());
        for line in lines {
            assert!(
                said.contains(&format!("{path}:{line}")),
                "{command:?}: {said}"
            );
        }
    }
    // A good one is all that it takes.
    let path = config_file(folder.path(), &format!("{arn}PUBLISH_INTERVAL = 0\n"));
    let output = kinesis_edge(&["policy", "--config", &path], &[]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"firehose:PutRecord\""));
}

#[test]
fn config_shows_every_parameter_and_where_it_is_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = "hunter2-very-secret";
    let text = format!(
        "DEFAULT_DELIVERY_STREAM_ARN = '{STREAM}'\nMQTT_URL = 'mqtt://me:{secret}@h'\nPUBLISH_INTERVAL = 10\n"
    );
    let path = config_file(folder.path(), &text);
    let arguments = ["config", "--config", &path, "--when-full", "wait"];
    let variables = [("MQTT_PASSWORD", secret), ("LOG_FORMAT", "")];
    let output = kinesis_edge(&arguments, &variables);
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(!shown.contains(secret), "{shown}");
    let mut rows = shown.lines();
    let heading = rows.next().expect("a heading");
    // The columns stand below their names.
    let column = |name: &str| heading.find(name).expect(name);
    let (value, from) = (column("VALUE"), column("FROM"));
    let cells = |row: &str| {
        let characters: Vec<char> = row.chars().collect();
        let part = |range: std::ops::Range<usize>| {
            let text: String = characters[range].iter().collect();
            text.trim_end().to_owned()
        };
        (
            part(0..1),
            part(3..value),
            part(value..from),
            part(from..characters.len()),
        )
    };
    let rows: Vec<_> = rows.map(cells).collect();
    let names: Vec<_> = rows.iter().map(|row| &*row.1).collect();
    let expected: Vec<_> = PARAMETERS.iter().map(|parameter| parameter.env).collect();
    assert_eq!(names, expected);
    let row = |name: &str| {
        let (mark, _, value, from) = rows.iter().find(|row| row.1 == name).expect(name);
        (&**mark, &**value, &**from)
    };
    let line = |line: u8| format!("{path}:{line}");
    assert_eq!(row("DEFAULT_DELIVERY_STREAM_ARN"), ("*", STREAM, &*line(1)));
    assert_eq!(row("MQTT_URL"), ("*", "mqtt://me:***@h", &*line(2)));
    assert_eq!(row("PUBLISH_INTERVAL"), ("", "10", &*line(3)));
    assert_eq!(row("MQTT_PASSWORD"), ("*", "***", "environment"));
    assert_eq!(row("WHEN_FULL"), ("*", "wait", "flag --when-full"));
    assert_eq!(row("LOG_FORMAT"), ("", "text", "default"));
    assert_eq!(row("QUEUE_DIR"), ("", "–", "default"));

    let output = kinesis_edge(&[&arguments[..], &["--json"]].concat(), &variables);
    assert!(output.status.success());
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(!shown.contains(secret), "{shown}");
    let objects: Vec<Value> = shown
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(objects.len(), PARAMETERS.len());
    assert_eq!(
        objects
            .iter()
            .find(|object| object["parameter"] == "MQTT_URL"),
        Some(&json!({
            "parameter": "MQTT_URL", "value": "mqtt://me:***@h", "from": "file", "file": path, "line": 2,
            "differs": true, "faulty": false,
        }))
    );
    assert_eq!(
        objects
            .iter()
            .find(|object| object["parameter"] == "QUEUE_DIR"),
        Some(&json!({
            "parameter": "QUEUE_DIR", "value": null, "from": "default", "differs": false, "faulty": false,
        }))
    );
}

#[test]
fn config_shows_what_it_can_of_a_faulty_configuration() {
    let arguments = ["config", "--publish-interval", "901", "--topic-prefix", "p"];
    let output = kinesis_edge(&arguments, &[]);
    assert_eq!(output.status.code(), Some(2));
    let shown = String::from_utf8(output.stdout).expect("text");
    let row = |name: &str| {
        let row = shown
            .lines()
            .find(|row| row.get(3..).is_some_and(|row| row.starts_with(name)));
        row.expect(name).split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(
        row("PUBLISH_INTERVAL")[..3],
        ["!", "PUBLISH_INTERVAL", "901"]
    );
    assert_eq!(row("DEFAULT_DELIVERY_STREAM_ARN")[0], "!");
    assert_eq!(row("TOPIC_PREFIX")[..3], ["*", "TOPIC_PREFIX", "p"]);
    // The same report as that of `run`.
    let said = String::from_utf8(output.stderr).expect("text");
    let of_run = faults(&[&["run"], &arguments[1..]].concat(), &[]);
    assert_eq!(said.trim_start(), of_run);
}

#[test]
fn help_stands_in_groups_and_ends_with_examples() {
    let help = |arguments: &[&str]| {
        let output = kinesis_edge(arguments, &[]);
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("text")
    };
    for flag in ["-h", "--help"] {
        let run = help(&["run", flag]);
        let mut place = 0;
        for parameter in PARAMETERS {
            let heading = format!("\n{}:\n", parameter.topic.heading());
            let group = run.find(&heading).expect(&heading);
            let flag = run
                .find(&format!("--{} <", parameter.flag))
                .expect(parameter.flag);
            let between = &run[group + heading.len()..flag];
            // No other heading stands between it and its own.
            assert!(
                !between
                    .lines()
                    .any(|line| line.ends_with(':') && !line.starts_with(' ')),
                "{between}"
            );
            assert!(flag > place, "{}", parameter.flag);
            place = flag;
        }
    }
    let pages: &[&str] = if cfg!(feature = "pages") {
        &["completions", "config-file", "man"]
    } else {
        &[]
    };
    for command in ["run", "config", "health", "policy"].iter().chain(pages) {
        let long = help(&[command, "--help"]);
        let (_, examples) = long.split_once("\nExamples:\n").expect(command);
        assert!(
            examples.contains(&format!("kinesis-edge {command}")),
            "{examples}"
        );
        assert!(!help(&[command, "-h"]).contains("Examples:"));
    }
}

#[cfg(feature = "pages")]
#[test]
fn bash_completes_the_command_line() {
    // What bash offers for the last word.
    let complete = |words: &[&str]| {
        let line = format!(
            "source <(\"$PROGRAM\" completions bash); COMP_WORDS=(kinesis-edge {}); COMP_CWORD={}; \
             [[ $(complete -p kinesis-edge) =~ -F\\ ([^ ]+) ]]; \
             \"${{BASH_REMATCH[1]}}\" kinesis-edge '{}' ''; echo \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len(),
            words.last().expect("a word"),
        );
        let output = std::process::Command::new("bash")
            .args(["--norc", "-c", &line])
            .env("PROGRAM", program())
            .output()
            .expect("bash runs");
        assert!(output.status.success());
        String::from_utf8(output.stdout)
            .expect("text")
            .trim()
            .to_owned()
    };
    assert_eq!(complete(&["pol"]), "policy");
    assert_eq!(complete(&["run", "--publish-i"]), "--publish-interval");
    assert_eq!(complete(&["queue", "dra"]), "drain");
    // Of these a package has no `local` and no `man`.
    assert_eq!(complete(&["l"]), "");
    assert_eq!(complete(&["man"]), "");
}

#[cfg(feature = "pages")]
#[test]
fn each_shell_gets_every_flag() {
    for shell in ["bash", "zsh", "fish"] {
        let output = kinesis_edge(&["completions", shell], &[]);
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).expect("text");
        for parameter in PARAMETERS {
            assert!(
                script.contains(parameter.flag),
                "{shell}: {}",
                parameter.flag
            );
        }
    }
    assert_eq!(
        kinesis_edge(&["completions", "tcsh"], &[]).status.code(),
        Some(2)
    );
}

#[cfg(feature = "pages")]
#[test]
fn every_command_has_a_manual_page() {
    let page = |words: &[&str]| {
        let output = kinesis_edge(&[&["man"], words].concat(), &[]);
        assert!(output.status.success(), "{words:?}");
        // As a reader sees it: roff has a backslash before each dash.
        let roff = String::from_utf8(output.stdout).expect("text");
        (
            roff.replace("\\-", "-")
                .replace("\\fB", "")
                .replace("\\fR", ""),
            roff,
        )
    };
    // Follows what each page lists to the pages of those.
    let mut to_read = vec![Vec::new()];
    let mut read = Vec::new();
    while let Some(words) = to_read.pop() {
        let (text, roff) = page(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let name = [&["kinesis-edge".to_owned()], &words[..]]
            .concat()
            .join("-");
        assert!(text.contains(&format!(".TH {name} 1 ")), "{text}");
        assert!(roff.contains(".SH SYNOPSIS"));
        for listed in text.lines().filter_map(|line| line.strip_suffix("(1)")) {
            let word = listed.strip_prefix(&format!("{name}-")).expect(listed);
            to_read.push([&words[..], &[word.to_owned()]].concat());
        }
        read.push(words.join(" "));
    }
    for command in [
        "",
        "run",
        "send",
        "queue drain",
        "dead-letters replay",
        "config",
        "health",
        "policy",
    ] {
        assert!(
            read.iter().any(|name| name == command),
            "{command}: {read:?}"
        );
    }
    // What a package is without has none, and is in no list.
    for command in ["local", "completions", "config-file", "man"] {
        assert!(read.iter().all(|name| name != command), "{command}");
        assert_eq!(kinesis_edge(&["man", command], &[]).status.code(), Some(2));
    }
    let (run, _) = page(&["run"]);
    for parameter in PARAMETERS {
        assert!(
            run.contains(&format!("--{}", parameter.flag)),
            "{}",
            parameter.flag
        );
        assert!(run.contains(parameter.topic.heading().to_uppercase().as_str()));
    }
    assert!(run.contains("\n.SH EXAMPLES\n"));
    for wrong in [
        &["man", "fly"][..],
        &["man", "queue", "fly"],
        &["man", "run", "fly"],
    ] {
        let output = kinesis_edge(wrong, &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains("has no command fly"));
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
    // And each below the heading of its group.
    for parameter in PARAMETERS {
        let row = format!("\n| `{}` |", parameter.env);
        let (above, _) = section.split_once(&row).expect(parameter.env);
        let group = above
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("| **"));
        let heading = group.expect("a group").split("**").next();
        assert_eq!(
            heading,
            Some(parameter.topic.heading()),
            "{}",
            parameter.env
        );
    }
}

#[test]
fn the_readme_explains_every_code() {
    let readme = readme();
    for code in Code::ALL {
        assert!(readme.contains(&format!("`{code}`")), "{code}");
    }
}
