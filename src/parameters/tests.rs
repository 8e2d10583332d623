//! Both directions of every row of the table, the checks across rows, and that no secret gets out.

use std::ffi::OsString;
use std::path::Path;

use clap::Command;

use super::*;
use crate::memory::least_memory_size_kb;

mod aggregation;
mod disk;
mod http;
mod identity;
mod mqtt;
mod sources;
mod values;

const ARN: &str = "arn:aws:firehose:us-east-1:123456789012:deliverystream/s";

/// Reads a configuration of these variables alone.
fn read(set: &[(&str, &str)]) -> Result<Parameters, Faults> {
    for (name, _) in set {
        assert!(
            PARAMETERS.iter().any(|parameter| parameter.env == *name),
            "no parameter {name}"
        );
    }
    parse(&|parameter| {
        let found = set.iter().rev().find(|(name, _)| *name == parameter.env);
        found.map(|(_, value)| Ok((*value).to_owned()))
    })
}

/// Reads a configuration that has its one required parameter already.
fn with(set: &[(&str, &str)]) -> Result<Parameters, Faults> {
    read(&[&[("DEFAULT_DELIVERY_STREAM_ARN", ARN)], set].concat())
}

fn good(name: &str, value: &str) -> Parameters {
    with(&[(name, value)]).unwrap_or_else(|faults| panic!("{name}={value:?}: {faults}"))
}

/// The one fault of a configuration with one bad value, checked for everything a fault must have.
fn bad(name: &str, value: &str) -> Fault {
    let faults = with(&[(name, value)]).expect_err(&format!("{name}={value:?}"));
    let [fault] = &faults.0[..] else {
        panic!("{faults}")
    };
    assert_eq!(fault.parameter, name);
    assert!(!fault.problem.is_empty() && !fault.valid.is_empty() && !fault.example.is_empty());
    let text = faults.to_string();
    for part in [name, fault.flag, &fault.problem, fault.valid, fault.example] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(
        !text.replace('\n', "").chars().any(char::is_control),
        "{text:?}"
    );
    fault.clone()
}

#[test]
fn the_table_is_sound() {
    let mut seen = Vec::new();
    for parameter in PARAMETERS {
        assert_eq!(
            parameter.flag,
            parameter.env.to_ascii_lowercase().replace('_', "-")
        );
        assert!(!seen.contains(&parameter.env), "{} twice", parameter.env);
        seen.push(parameter.env);
        for text in [
            parameter.value_name,
            parameter.valid,
            parameter.example,
            parameter.help,
        ] {
            assert!(
                !text.is_empty() && !text.contains("  ") && text.trim() == text,
                "{parameter:?}"
            );
        }
        assert!(parameter.help.ends_with('.') && !parameter.default_text().is_empty());
    }
    let kinds = [(false, false), (true, false), (false, true), (true, true)];
    for least in kinds.map(|(on_disk, compresses)| least_memory_size_kb(on_disk, compresses)) {
        assert!(table::MEMORY_SIZE.valid.contains(&least.to_string()));
    }
    assert!(
        table::TOPIC_PREFIX
            .valid
            .contains(&MAX_TOPIC_PREFIX_BYTES.to_string())
    );
    assert!(
        table::SHARED_SUBSCRIPTION_GROUP
            .valid
            .contains(&share::MAX_GROUP_BYTES.to_string())
    );
    assert!(
        table::DELIVERY_STREAM_QUEUE_SIZE
            .valid
            .contains(&QUEUE_SIZES.end().to_string())
    );
    for (parameter, range) in [
        (table::QUEUE_DIR_MAX_BYTES, super::disk::QUEUE_DIR_BYTES),
        (table::DEAD_LETTER_MAX_BYTES, super::disk::DEAD_LETTER_BYTES),
    ] {
        for end in [range.start(), range.end()] {
            assert!(parameter.valid.contains(&format!(" {end} (")), "{end}");
        }
    }
    for partition in crate::arn::Partition::ALL {
        assert!(
            table::AWS_PARTITIONS.valid.contains(partition.name()),
            "{partition}"
        );
    }
}

#[test]
fn every_example_is_valid() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("file");
    std::fs::write(&file, "text\n").unwrap();
    let file = file.to_str().unwrap();
    let directory = files.path().join("directory");
    let directory = directory.to_str().unwrap();
    for parameter in PARAMETERS {
        let example = match parameter.value_name {
            "FILE" => file,
            "DIR" => directory,
            _ => parameter.example,
        };
        let mut set = vec![(parameter.env, example), ("MQTT_URL", "mqtts://u@h")];
        match parameter.env {
            "MQTT_URL" => drop(set.pop()),
            "MQTT_USERNAME" => set[1].1 = "mqtts://h",
            "MQTT_CERT_FILE" => set.push(("MQTT_KEY_FILE", file)),
            "MQTT_KEY_FILE" => set.push(("MQTT_CERT_FILE", file)),
            "IOT_CREDENTIAL_ENDPOINT"
            | "IOT_ROLE_ALIAS"
            | "IOT_THING_NAME"
            | "IOT_CERT_FILE"
            | "IOT_KEY_FILE"
            | "IOT_CA_FILE" => {
                let all = [
                    ("IOT_CREDENTIAL_ENDPOINT", "h"),
                    ("IOT_ROLE_ALIAS", "a"),
                    ("IOT_CERT_FILE", file),
                    ("IOT_KEY_FILE", file),
                ];
                // What is set first counts last.
                set.splice(0..0, all);
            }
            "ASSUME_ROLE_EXTERNAL_ID" => {
                set.push(("ASSUME_ROLE_ARN", "arn:aws:iam::123456789012:role/r"));
            }
            "AGGREGATION_MAX_BYTES" | "RECORD_COMPRESSION" => {
                set.push(("RECORD_AGGREGATION", "delimited"));
            }
            _ => {}
        }
        with(&set).unwrap_or_else(|faults| panic!("{faults}"));
        let DefaultValue::Value(default) = parameter.default else {
            continue;
        };
        assert_eq!(
            good(parameter.env, default),
            with(&[]).unwrap(),
            "{}",
            parameter.env
        );
    }
}

#[test]
fn defaults() {
    let parameters = with(&[]).unwrap();
    assert_eq!(parameters.default_delivery_stream_arn.as_str(), ARN);
    assert_eq!(parameters.partitions, Partitions::default());
    assert_eq!(parameters.queue_size, 5000);
    assert_eq!(parameters.publish_interval, Duration::from_secs(10));
    assert_eq!(parameters.memory_size_bytes, 65_535 * 1024);
    assert_eq!(parameters.connector_version.number(), 5);
    assert_eq!(
        (&*parameters.mqtt.host, parameters.mqtt.port),
        ("127.0.0.1", 1883)
    );
    assert!(!parameters.mqtt.tls);
    assert!(parameters.mqtt.client_id.starts_with("kinesis-edge-"));
    assert_eq!(parameters.mqtt.version, MqttVersion::Auto);
    assert_eq!(parameters.mqtt.username, None);
    assert_eq!(parameters.mqtt.password, None);
    assert_eq!(parameters.identity, IdentityParameters::default());
    assert_eq!(parameters.topic_prefix, "kinesisfirehose");
    assert!(parameters.publish_when_full);
    assert_eq!(parameters.when_full, WhenFull::Reject);
    assert_eq!(parameters.rate_limits, RateLimits::default());
    assert_eq!(parameters.record_max_age, None);
    assert_eq!(parameters.queue_dir, None);
    assert_eq!(parameters.queue_dir_max_bytes, 1024 * 1024 * 1024);
    assert_eq!(parameters.commit_interval, Duration::from_millis(2));
    assert_eq!(parameters.dead_letter_dir, None);
    assert_eq!(parameters.dead_letter_max_bytes, 64 * 1024 * 1024);
    assert!(!parameters.record_envelope);
    assert_eq!(parameters.record_delimiter, None);
    assert_eq!(parameters.aggregation, None);
    assert_eq!(parameters.shutdown_timeout, Duration::from_secs(10));
    assert_eq!(parameters.status_max_bytes, 120_000);
    assert_eq!(parameters.log_format, LogFormat::Text);
}

#[test]
fn empty_is_unset() {
    let all_empty: Vec<_> = PARAMETERS
        .iter()
        .map(|parameter| (parameter.env, ""))
        .collect();
    let faults = read(&all_empty).unwrap_err();
    assert_eq!(faults, read(&[]).unwrap_err());
    assert_eq!(faults.0.len(), 1, "{faults}");
    assert_eq!(faults.0[0].parameter, "DEFAULT_DELIVERY_STREAM_ARN");
    assert_eq!(faults.0[0].value, None);
    let set = [&all_empty[..], &[("DEFAULT_DELIVERY_STREAM_ARN", ARN)]].concat();
    assert_eq!(read(&set).unwrap(), with(&[]).unwrap());
}

#[test]
fn whitespace_is_part_of_a_value() {
    for parameter in PARAMETERS {
        let DefaultValue::Value(default) = parameter.default else {
            continue;
        };
        for value in [
            format!("{default}\n"),
            format!("{default}\r\n"),
            format!("\n{default}"),
            " ".to_owned(),
        ] {
            // A space is a strange topic, and a valid one.
            if parameter.env != "TOPIC_PREFIX" || value != " " {
                bad(parameter.env, &value);
            }
        }
        if parameter.env != "TOPIC_PREFIX" {
            bad(parameter.env, &format!("{default} "));
            bad(parameter.env, &format!(" {default}"));
        }
    }
    bad("DEFAULT_DELIVERY_STREAM_ARN", &format!("{ARN}\n"));
    bad("MQTT_CLIENT_ID", "id\n");
    bad("MQTT_USERNAME", "user\n");
}

#[test]
fn not_utf_8() {
    for parameter in PARAMETERS {
        let faults = parse(&|asked| {
            let not_utf8 = NotText::not_utf8("se\u{fffd}cret".to_owned());
            match asked.env {
                name if name == parameter.env => Some(Err(not_utf8)),
                "DEFAULT_DELIVERY_STREAM_ARN" => Some(Ok(ARN.to_owned())),
                _ => None,
            }
        });
        let faults = faults.unwrap_err();
        let fault = faults
            .0
            .iter()
            .find(|fault| fault.problem.contains("UTF-8"))
            .unwrap();
        assert_eq!(fault.parameter, parameter.env);
        assert_eq!(fault.value.is_none(), parameter.secrecy == Secrecy::Secret);
        assert!(faults.0.iter().all(|fault| fault.parameter == parameter.env
            || fault.parameter.starts_with("MQTT_") && parameter.env.ends_with("_FILE")));
    }
}

#[test]
fn all_faults_at_once_in_the_order_of_the_table() {
    let missing = "/nonexistent/file";
    let set: Vec<_> = PARAMETERS
        .iter()
        .rev()
        .map(|parameter| match parameter.env {
            name if name.ends_with("_FILE") || name.ends_with("_DIR") => (name, missing),
            "MQTT_USERNAME" => ("MQTT_USERNAME", "a\0b"),
            "MQTT_PASSWORD" => ("MQTT_PASSWORD", "hunter2"),
            "MQTT_CLIENT_ID" => ("MQTT_CLIENT_ID", "\u{1b}[31m"),
            "TOPIC_PREFIX" => ("TOPIC_PREFIX", "#"),
            "SHARED_SUBSCRIPTION_GROUP" => ("SHARED_SUBSCRIPTION_GROUP", "a/b"),
            "RECORD_DELIMITER" => ("RECORD_DELIMITER", "\\wrong"),
            "IOT_CREDENTIAL_ENDPOINT" => ("IOT_CREDENTIAL_ENDPOINT", "wrong:port"),
            "IOT_ROLE_ALIAS" => ("IOT_ROLE_ALIAS", "wrong alias"),
            "IOT_THING_NAME" => ("IOT_THING_NAME", "wrong thing"),
            "ASSUME_ROLE_EXTERNAL_ID" => ("ASSUME_ROLE_EXTERNAL_ID", "?!"),
            "HTTP_ALLOWED_HOSTS" => ("HTTP_ALLOWED_HOSTS", "wrong:9477"),
            name => (name, "wrong"),
        })
        .collect();
    let faults = read(&set).unwrap_err();
    let names: Vec<_> = faults.0.iter().map(|fault| fault.parameter).collect();
    let expected: Vec<_> = PARAMETERS
        .iter()
        .map(|parameter| parameter.env)
        .filter(|name| *name != "MQTT_PASSWORD")
        .collect();
    assert_eq!(names, expected, "{faults}");
    let (text, count) = (faults.to_string(), expected.len());
    assert!(
        text.starts_with(&format!("The configuration has {count} faults:\n\n")),
        "{text}"
    );
    assert!(!text.contains("hunter2"));
    assert_eq!(
        text.matches("\n\n").count(),
        count,
        "one paragraph each: {text}"
    );
}

#[test]
fn a_report_reads_like_this() {
    let faults = read(&[
        ("PUBLISH_INTERVAL", "901"),
        ("MQTT_URL", "mqtt://me:hunter2@host:99999"),
    ]);
    assert_eq!(
        faults.unwrap_err().to_string(),
        "The configuration has 3 faults:

DEFAULT_DELIVERY_STREAM_ARN (--default-delivery-stream-arn): it is not set, and there is no default.
    valid:   arn:aws:firehose:REGION:ACCOUNT:deliverystream/NAME, at most 512 bytes; other partitions than aws where AWS_PARTITIONS names them
    example: DEFAULT_DELIVERY_STREAM_ARN=arn:aws:firehose:us-east-1:123456789012:deliverystream/telemetry

PUBLISH_INTERVAL (--publish-interval) is \"901\": it is more than 900.
    valid:   a whole number of seconds, 0 to 900
    example: PUBLISH_INTERVAL=30

MQTT_URL (--mqtt-url) is \"mqtt://me:***@host:99999\": the port is not a number from 1 to 65535.
    valid:   mqtt://[USER[:PASSWORD]@]HOST[:PORT], or the same with mqtts:// for TLS; an IPv6 address in brackets; port 1883 (mqtts: 8883) if not given
    example: MQTT_URL=mqtts://broker.local:8883

Every parameter is a flag, an environment variable, or a line of the file that --config names; --help lists them all."
    );
}

#[test]
fn no_value_gets_at_the_terminal_of_whoever_reads_a_fault() {
    for parameter in PARAMETERS {
        let example = parameter.example;
        for (at, _) in example.char_indices() {
            let value = format!("{}\u{1b}[2J{}", &example[..at], &example[at..]);
            let told = match with(&[(parameter.env, &value)]) {
                Ok(_) => continue,
                Err(faults) => faults.to_string(),
            };
            let is_fit = |character: char| character == '\n' || !character.is_control();
            assert!(told.chars().all(is_fit), "{told:?}");
        }
    }
}

#[test]
fn a_long_value_is_shortened() {
    let fault = bad("WHEN_FULL", &"x".repeat(100_000));
    assert!(fault.to_string().len() < 500, "{fault}");
}

/// What the program would read, given flags and an environment.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Parameters, Faults> {
    let arguments = [&["run"], arguments].concat();
    let matches = Command::new("run")
        .args(args())
        .try_get_matches_from(arguments)
        .unwrap();
    let variable = |name: &str| {
        let found = environment.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| OsString::from(value))
    };
    Sources::new(&matches, &variable).read(|lookup| parse(lookup))
}

#[test]
fn a_flag_then_a_variable_then_the_default() {
    Command::new("run").args(args()).debug_assert();
    let arn = ["--default-delivery-stream-arn", ARN];
    let variables = [
        ("PUBLISH_INTERVAL", "7"),
        ("TOPIC_PREFIX", ""),
        ("LOG_FORMAT", "json"),
    ];
    let parameters = run(&[&arn[..], &["--publish-interval=0"]].concat(), &variables).unwrap();
    assert_eq!(parameters.default_delivery_stream_arn.as_str(), ARN);
    assert_eq!(parameters.publish_interval, Duration::ZERO);
    assert_eq!(parameters.topic_prefix, "kinesisfirehose");
    assert_eq!(parameters.log_format, LogFormat::Json);
    // An empty flag is not a flag, and one that is wrong is not saved by a variable that is right.
    for empty in [&["--publish-interval", ""][..], &["--publish-interval="]] {
        let parameters = run(&[&arn[..], empty].concat(), &variables).unwrap();
        assert_eq!(parameters.publish_interval, Duration::from_secs(7));
    }
    let faults = run(
        &[&arn[..], &["--publish-interval", "-1"]].concat(),
        &variables,
    )
    .unwrap_err();
    assert_eq!(faults.0.len(), 1, "{faults}");
    assert_eq!(faults.0[0].value.as_deref(), Some("\"-1\""));
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text() {
    use std::os::unix::ffi::OsStringExt;
    let matches = Command::new("run")
        .args(args())
        .try_get_matches_from(["run"])
        .unwrap();
    let variable = |_: &str| Some(OsString::from_vec(b"mqtt://me:hunter2\xff@h".to_vec()));
    let faults = Sources::new(&matches, &variable)
        .read(|lookup| parse(lookup))
        .unwrap_err();
    let urls: Vec<_> = faults
        .0
        .iter()
        .filter(|fault| fault.parameter == "MQTT_URL")
        .collect();
    assert_eq!(urls.len(), 1, "{faults}");
    assert_eq!(urls[0].value.as_deref(), Some("\"mqtt://me:***@h\""));
    let passwords: Vec<_> = faults
        .0
        .iter()
        .filter(|fault| fault.parameter == "MQTT_PASSWORD")
        .collect();
    assert_eq!(passwords.len(), 1, "{faults}");
    assert_eq!(passwords[0].value, None);
}

#[test]
fn help_tells_all() {
    let mut command = Command::new("run").args(args()).term_width(0);
    let long = command.render_long_help().to_string();
    let short = command.render_help().to_string();
    for parameter in PARAMETERS {
        for text in [&long, &short] {
            for part in [
                format!("--{} <", parameter.flag),
                format!("[env: {}]", parameter.env),
            ] {
                assert!(text.contains(&part), "{part} is not in {text}");
            }
        }
        for part in [parameter.help, &format!("[valid: {}]", parameter.valid)] {
            assert!(long.contains(part), "{part} is not in {long}");
        }
    }
    assert!(short.contains("[default: kinesis-edge-<host name>]") && short.contains("[required]"));
}

#[test]
fn send_reads_what_it_needs_and_nothing_else() {
    let command = Command::new("send").args(args_mqtt());
    command.clone().debug_assert();
    let arguments = ["send", "--mqtt-url", "mqtt://h", "--topic-prefix", "p"];
    let matches = command.try_get_matches_from(arguments).unwrap();
    let parameters = Sources::new(&matches, &|_| None)
        .read(|lookup| parse_mqtt(lookup))
        .unwrap();
    assert_eq!(parameters.mqtt.host, "h");
    assert_eq!(parameters.topic_prefix, "p");
    // `run` does not need to know every flag either: one that is missing is looked for no further.
    assert_eq!(
        Sources::new(&matches, &|_| None)
            .read(|lookup| parse(lookup))
            .unwrap_err()
            .0
            .len(),
        1
    );

    // Each parameter that it reads is a flag of it, and no other.
    let asked = std::cell::RefCell::new(Vec::new());
    let read = parse_mqtt(&|parameter| {
        asked.borrow_mut().push(parameter.env);
        None
    });
    assert!(read.is_ok());
    let mut asked = asked.into_inner();
    asked.sort_by_key(|name| {
        PARAMETERS
            .iter()
            .position(|parameter| parameter.env == *name)
    });
    let flags: Vec<_> = PARAMETERS
        .iter()
        .filter(|parameter| parameter.for_send)
        .map(|parameter| parameter.env)
        .collect();
    assert_eq!(asked, flags);
    let faults = parse_mqtt(&|_| Some(Ok("#".to_owned()))).unwrap_err();
    let mut names: Vec<_> = faults.0.iter().map(|fault| fault.parameter).collect();
    names.dedup();
    // "#" is a client id, a user and a password like any other.
    let free = ["MQTT_CLIENT_ID", "MQTT_USERNAME", "MQTT_PASSWORD"];
    let expected: Vec<_> = flags
        .into_iter()
        .filter(|name| !free.contains(name))
        .collect();
    assert_eq!(names, expected, "{faults}");
}

/// A file of a test, as text.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.into_os_string().into_string().unwrap()
}
