//! Which source wins, and what is told of values that come from a file.

use std::cell::Cell;

use super::*;
use crate::parameters::effective::effective;

/// What the program reads, given flags, an environment and the text of a configuration file.
struct Start {
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
}

impl Start {
    fn new(arguments: &[&str], environment: &[(&'static str, &'static str)], file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), "k.toml", file.as_bytes());
        // A password in it would be a fault otherwise.
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).unwrap();
        let mut all = vec!["run".to_owned(), "--config".to_owned(), path];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Start {
            folder,
            arguments: all,
            environment: environment.to_vec(),
        }
    }

    fn with<T>(&self, take: impl FnOnce(&Sources<'_>) -> T) -> T {
        let matches = Command::new("run")
            .args(args())
            .try_get_matches_from(&self.arguments)
            .unwrap();
        let variable = |name: &str| {
            let found = self
                .environment
                .iter()
                .find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        };
        take(&Sources::new(&matches, &variable))
    }

    fn read(&self) -> Result<Parameters, Faults> {
        self.with(|sources| sources.read(|lookup| parse(lookup)))
    }

    /// A report of faults, with the file's name as it was without its folder.
    fn report(&self) -> String {
        let report = self.read().unwrap_err().to_string();
        report.replace(self.folder.path().to_str().unwrap(), "FOLDER")
    }
}

fn with_arn(rest: &str) -> String {
    format!("DEFAULT_DELIVERY_STREAM_ARN = '{ARN}'\n{rest}")
}

#[test]
fn a_flag_then_a_variable_then_the_file_then_the_default() {
    let file = with_arn(
        "PUBLISH_INTERVAL = 3\nTOPIC_PREFIX = 'file'\nLOG_FORMAT = 'json'\nSHUTDOWN_TIMEOUT = ''\n",
    );
    let flags = ["--publish-interval", "1", "--topic-prefix", ""];
    let environment = [
        ("PUBLISH_INTERVAL", "2"),
        ("TOPIC_PREFIX", "variable"),
        ("LOG_FORMAT", ""),
    ];
    let read = |flags: &[&str], environment: &[(&'static str, &'static str)]| {
        Start::new(flags, environment, &file).read().unwrap()
    };
    let seconds = Duration::from_secs;
    let all = read(&flags, &environment);
    assert_eq!(all.publish_interval, seconds(1));
    // Empty ones are unset, and the next is asked.
    assert_eq!(all.topic_prefix, "variable");
    assert_eq!(all.log_format, LogFormat::Json);
    assert_eq!(all.shutdown_timeout, seconds(10));
    assert_eq!(read(&[], &environment).publish_interval, seconds(2));
    let of_file = read(&[], &[]);
    assert_eq!(of_file.publish_interval, seconds(3));
    assert_eq!(of_file.topic_prefix, "file");
    assert_eq!(Start::new(&[], &[], &with_arn("")).read(), self::with(&[]));
}

#[test]
fn a_faulty_value_is_not_saved_by_a_source_that_comes_later() {
    let file = with_arn("PUBLISH_INTERVAL = 3\n");
    let faults = Start::new(&[], &[("PUBLISH_INTERVAL", "x")], &file)
        .read()
        .unwrap_err();
    assert_eq!(faults.0.len(), 1);
    assert_eq!(faults.0[0].place, None);
    // And one that is not looked at does no harm.
    let file = with_arn("PUBLISH_INTERVAL = 901\n");
    assert!(
        Start::new(&[], &[("PUBLISH_INTERVAL", "3")], &file)
            .read()
            .is_ok()
    );
}

#[test]
fn a_report_of_a_file_reads_like_this() {
    let file =
        "PUBLISH_INTERVAL = 901\nWHEN_FUL = 'wait'\nRECORD_DELIMITER = '\\q'\nLOG_FORMAT = 1.5\n";
    let report = Start::new(&["--when-full", "panic"], &[], file).report();
    assert_eq!(
        report,
        "The configuration has 6 faults:

FOLDER/k.toml:2: there is no parameter \"WHEN_FUL\"; WHEN_FULL is the nearest.
    valid:   NAME = value on each line: a parameter by the name of its variable; a text in quotes, a whole number, true or false
    example: PUBLISH_INTERVAL = 30

DEFAULT_DELIVERY_STREAM_ARN (--default-delivery-stream-arn): it is not set, and there is no default.
    valid:   arn:aws:firehose:REGION:ACCOUNT:deliverystream/NAME, at most 512 bytes; other partitions than aws where AWS_PARTITIONS names them
    example: DEFAULT_DELIVERY_STREAM_ARN=arn:aws:firehose:us-east-1:123456789012:deliverystream/telemetry

PUBLISH_INTERVAL (FOLDER/k.toml:1) is \"901\": it is more than 900.
    valid:   a whole number of seconds, 0 to 900
    example: PUBLISH_INTERVAL = 30

WHEN_FULL (--when-full) is \"panic\": it is none of the words that are valid.
    valid:   reject, wait or drop-oldest
    example: WHEN_FULL = wait

RECORD_DELIMITER (FOLDER/k.toml:3) is \"\\\\q\": it has a backslash before something that is no escape.
    valid:   text that stands for 1 to 16 bytes; \\n, \\r, \\t, \\0, \\\\ and \\xHH in it stand for one byte each
    example: RECORD_DELIMITER = '\\n'

LOG_FORMAT (FOLDER/k.toml:4) is \"1.5\": it is a number with a fraction or an exponent; the file takes a text in quotes, a whole number, true or false.
    valid:   text or json
    example: LOG_FORMAT = \"json\"

Every parameter is a flag, an environment variable, or a line of the file that --config names; --help lists them all."
            .replace("WHEN_FULL = wait", "WHEN_FULL=wait")
    );
}

#[test]
fn what_may_stand_where_nobody_could_read_it_is_not_missing() {
    for file in [
        "DEFAULT_DELIVERY_STREAM_ARN = arn:aws\n",
        "LOG_FORMAT = json\n",
    ] {
        let faults = Start::new(&[], &[], file).read().unwrap_err();
        assert_eq!(faults.0.len(), 1, "{faults}");
        assert!(faults.0[0].problem.contains("not TOML"), "{faults}");
    }
    // Nor in a file that cannot be read at all.
    let mut start = Start::new(&[], &[], "");
    start.arguments[2] += "-missing";
    let faults = start.read().unwrap_err();
    assert_eq!(faults.0.len(), 1, "{faults}");
}

#[test]
fn examples_of_faults_can_be_put_into_the_file() {
    for parameter in PARAMETERS {
        let fault = Fault::new(parameter, None, "it is wrong".to_owned());
        let place = Place {
            file: "k".to_owned(),
            line: 1,
        };
        let text = fault.at(place).to_string();
        let (_, example) = text.split_once("    example: ").unwrap();
        Start::new(&[], &[], example).with(|sources| {
            let (text, origin) = sources.find(parameter).expect(example);
            assert_eq!(text.as_deref(), Ok(parameter.example), "{example}");
            assert!(matches!(origin, Origin::File(_)));
        });
    }
}

#[test]
fn the_effective_values_are_those_that_are_read() {
    let file =
        with_arn("PUBLISH_INTERVAL = 10\nMQTT_URL = 'mqtt://me:hunter2@h'\nLOG_FORMAT = 'json'\n");
    let start = Start::new(
        &["--mqtt-version=5", "--record-aggregation=delimited"],
        &[("MQTT_PASSWORD", "hunter2"), ("TOPIC_PREFIX", "")],
        &file,
    );
    let (all, faults) = start.with(effective);
    assert_eq!(faults, None);
    let names: Vec<_> = all.iter().map(|one| one.parameter.env).collect();
    let expected: Vec<_> = PARAMETERS.iter().map(|parameter| parameter.env).collect();
    assert_eq!(names, expected);
    assert!(!format!("{all:?}").contains("hunter2"));
    let checked = Cell::new(0);
    let check = |name: &str, value: Option<&str>, origin: &str, differs: bool| {
        let one = all.iter().find(|one| one.parameter.env == name).unwrap();
        assert_eq!(one.value.as_deref(), value, "{name}");
        let from = match &one.origin {
            Origin::File(place) => format!("file:{}", place.line),
            other => format!("{other:?}"),
        };
        assert_eq!((&*from, one.differs), (origin, differs), "{name}");
        assert!(!one.is_faulty);
        checked.set(checked.get() + 1);
    };
    check("DEFAULT_DELIVERY_STREAM_ARN", Some(ARN), "file:1", true);
    // Set, and to the default.
    check("PUBLISH_INTERVAL", Some("10"), "file:2", false);
    check("MQTT_URL", Some("mqtt://me:***@h"), "file:3", true);
    check("LOG_FORMAT", Some("json"), "file:4", true);
    check("MQTT_VERSION", Some("5"), "Flag", true);
    check("MQTT_PASSWORD", Some("***"), "Environment", true);
    check("TOPIC_PREFIX", Some("kinesisfirehose"), "Default", false);
    check("QUEUE_DIR", None, "Default", false);
    // What these are depends on another one.
    check("RECORD_DELIMITER", Some("\\n"), "Default", false);
    check("AGGREGATION_MAX_BYTES", Some("102400"), "Default", false);
    assert_eq!(checked.get(), 10);
    let id = all
        .iter()
        .find(|one| one.parameter.env == "MQTT_CLIENT_ID")
        .unwrap();
    let read = start.read().unwrap();
    assert_eq!(id.value.as_deref(), Some(&*read.mqtt.client_id));
}

#[test]
fn faulty_values_are_shown_and_marked() {
    let start = Start::new(
        &["--publish-interval=901"],
        &[],
        "LOG_FORMAT = 1.5\nMQTT_PASSWORD = [1]",
    );
    let (all, faults) = start.with(effective);
    let faults = faults.expect("faults");
    let faulty: Vec<_> = all.iter().filter(|one| one.is_faulty).collect();
    let shown: Vec<_> = faulty
        .iter()
        .map(|one| (one.parameter.env, one.value.as_deref()))
        .collect();
    let expected = [
        ("DEFAULT_DELIVERY_STREAM_ARN", None),
        ("PUBLISH_INTERVAL", Some("901")),
        ("MQTT_PASSWORD", Some("***")),
        ("LOG_FORMAT", Some("1.5")),
    ];
    assert_eq!(shown, expected, "{faults}");
    assert_eq!(faults.0.len(), 4);
}

#[test]
fn topics_stand_together_in_the_table() {
    let mut seen: Vec<Topic> = Vec::new();
    for parameter in PARAMETERS {
        if seen.last() != Some(&parameter.topic) {
            assert!(!seen.contains(&parameter.topic), "{}", parameter.env);
            seen.push(parameter.topic);
        }
    }
    assert!(seen.len() >= 7);
}
