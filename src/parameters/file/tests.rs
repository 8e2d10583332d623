//! What is in a configuration file, and what is told of one that is wrong.

use super::super::fault::Faults;
use super::super::table;
use super::*;

const PATH: &str = "/etc/k.toml";

fn parse(text: &str) -> ConfigFile {
    ConfigFile::parse(PATH, text.as_bytes(), false)
}

/// What the file says of a parameter, if it can be read.
fn value(file: &ConfigFile, parameter: &Parameter) -> Option<String> {
    file.get(parameter)?.text.clone().ok()
}

/// What a file with this one line says of a parameter.
fn one(parameter: &Parameter, written: &str) -> Result<String, NotText> {
    let file = parse(&format!("{} = {written}", parameter.env));
    assert!(file.faults.is_empty(), "{written}: {:?}", file.faults);
    file.get(parameter).expect(written).text.clone()
}

/// The faults of a file, each with its line.
fn faults(text: &str) -> Vec<(usize, String)> {
    let faults = Faults::in_table_order(parse(text).faults).0;
    let line = |fault: &Fault| fault.place.as_ref().expect("a place").line;
    faults
        .iter()
        .map(|fault| (line(fault), fault.problem.clone()))
        .collect()
}

#[test]
fn values_are_texts_integers_and_booleans() {
    for (written, text) in [
        ("\"a b\"", "a b"),
        ("'\\n'", "\\n"),
        ("\"\\n\"", "\n"),
        ("30", "30"),
        ("-1", "-1"),
        ("+5", "5"),
        ("1_000", "1000"),
        ("0x1F", "31"),
        ("true", "true"),
        ("false", "false"),
        (
            "99999999999999999999999999999999999999999999",
            "99999999999999999999999999999999999999999999",
        ),
    ] {
        let read = one(&table::TOPIC_PREFIX, written);
        assert_eq!(read.as_deref(), Ok(text), "{written}");
    }
}

#[test]
fn other_values_say_what_they_are() {
    for (written, kind) in [
        ("1.5", "fraction"),
        ("1e3", "exponent"),
        ("2026-01-01", "date"),
        ("[\"aws\"]", "a list"),
        ("{ A = 1 }", "a table"),
    ] {
        let not_text = one(&table::RECORD_MAX_AGE, written).expect_err(written);
        assert!(not_text.problem.contains(kind), "{}", not_text.problem);
        assert!(not_text.problem.contains("a whole number"));
        assert_eq!(not_text.shown, written);
    }
}

#[test]
fn each_value_has_its_line() {
    let file = parse("# a comment\n\nPUBLISH_INTERVAL = 30\r\nWHEN_FULL = 'wait' # why\n");
    for (parameter, text, line) in [
        (&table::PUBLISH_INTERVAL, "30", 3),
        (&table::WHEN_FULL, "wait", 4),
    ] {
        let entry = file.get(parameter).unwrap();
        assert_eq!(entry.text.as_deref(), Ok(text));
        assert_eq!(entry.place.to_string(), format!("{PATH}:{line}"));
    }
    assert!(file.get(&table::LOG_FORMAT).is_none());
    assert!(file.is_whole && file.faults.is_empty());
}

#[test]
fn an_empty_text_is_unset() {
    assert!(
        parse("MQTT_USERNAME = ''")
            .get(&table::MQTT_USERNAME)
            .is_none()
    );
}

#[test]
fn a_name_that_is_none_is_told_the_nearest() {
    for (name, told) in [
        ("PUBLISH_INTERVALL", "PUBLISH_INTERVAL is the nearest"),
        ("WHEN_FUL", "WHEN_FULL is the nearest"),
        ("QUEUE_DRI", "QUEUE_DIR is the nearest"),
        ("AWS_PARTITION", "AWS_PARTITIONS is the nearest"),
        (
            "publish-interval",
            "\"publish-interval\" is written PUBLISH_INTERVAL here",
        ),
        ("publish_interval", "is written PUBLISH_INTERVAL here"),
        ("AWS_REGION", "the AWS SDK reads it"),
        ("AWS_SECRET_ACCESS_KEY", "the AWS SDK reads it"),
        ("RUST_LOG", "from the environment only"),
        (
            "COLOUR",
            "there is no parameter \"COLOUR\"; --help lists them all",
        ),
        ("X", "there is no parameter \"X\"; --help lists them all"),
        (
            "CONFIG",
            "there is no parameter \"CONFIG\"; --help lists them all",
        ),
        ("\"\"", "there is no parameter \"\"; --help lists them all"),
    ] {
        let text = format!("LOG_FORMAT = 'json'\n{name} = 'hunter2'");
        let [(2, problem)] = &faults(&text)[..] else {
            panic!("{name}: {:?}", faults(&text));
        };
        assert!(problem.contains(told), "{name}: {problem}");
        let shown = parse(&text).faults[0].to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.starts_with("/etc/k.toml:2: "), "{shown}");
    }
    let sections = faults("[mqtt]\nURL = 'x'\n");
    assert_eq!(
        sections,
        [(
            1,
            "\"mqtt\" is a table or a list, and the file has none".to_owned()
        )]
    );
}

#[test]
fn what_is_not_toml_is_told_by_line_and_the_rest_is_read() {
    for (faulty, told) in [
        ("LOG_FORMAT = json", "string values must be quoted"),
        // Nothing tells where such a line ends; the next one may be lost with it.
        ("LOG_FORMAT", "expected `=`"),
        ("LOG_FORMAT = ", "value"),
        ("LOG_FORMAT = \"a", "expected `\"`"),
        ("LOG_FORMAT = \"\\q\"", "expected `b`"),
        ("LOG_FORMAT = 010", "zero"),
        ("PUBLISH_INTERVAL = 31", "duplicate key"),
    ] {
        let text = format!("PUBLISH_INTERVAL = 30\n{faulty}\nTOPIC_PREFIX = 'p'\n");
        let [(2, problem)] = &faults(&text)[..] else {
            panic!("{faulty}: {:?}", faults(&text));
        };
        assert!(
            problem.starts_with("it is not TOML: "),
            "{faulty}: {problem}"
        );
        assert!(problem.contains(told), "{faulty}: {problem}");
        let file = parse(&text);
        assert!(!file.is_whole);
        let next = value(&file, &table::TOPIC_PREFIX);
        assert!(
            next.as_deref() == Some("p") || faulty == "LOG_FORMAT",
            "{faulty}"
        );
        // What was made of a faulty line is a guess.
        assert!(file.get(&table::LOG_FORMAT).is_none(), "{faulty}");
    }
    // Several of them, in the order of their lines.
    let lines: Vec<_> = faults("LOG_FORMAT = json\nX = 1\nTOPIC_PREFIX = p\n")
        .iter()
        .map(|(line, _)| *line)
        .collect();
    assert_eq!(lines, [1, 2, 3]);
}

#[test]
fn bytes_that_are_no_text_are_told_by_line() {
    let file = ConfigFile::parse(PATH, b"LOG_FORMAT = 'json'\n\n# \xff\n", false);
    let [fault] = &file.faults[..] else { panic!() };
    assert_eq!(fault.place.as_ref().unwrap().line, 3);
    assert!(fault.problem.contains("UTF-8"));
    assert!(!file.is_whole);
}

#[test]
fn a_password_is_not_for_everyone() {
    let secret =
        "MQTT_PASSWORD = 'hunter2'\nMQTT_URL = 'mqtt://me:hunter2@h'\nTOPIC_PREFIX = 'p'\n";
    let open = ConfigFile::parse(PATH, secret.as_bytes(), true);
    for parameter in [&table::MQTT_PASSWORD, &table::MQTT_URL] {
        let not_text = open.get(parameter).unwrap().text.clone().unwrap_err();
        assert!(not_text.problem.contains("chmod o-r /etc/k.toml"));
        let fault = Fault::new(parameter, Some(&not_text.shown), not_text.problem);
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
    }
    assert_eq!(value(&open, &table::TOPIC_PREFIX).as_deref(), Some("p"));
    let closed = parse(secret);
    assert_eq!(
        value(&closed, &table::MQTT_PASSWORD).as_deref(),
        Some("hunter2")
    );
    // What has no password in it is nobody's secret.
    let harmless = ConfigFile::parse(PATH, b"MQTT_URL = 'mqtt://me@h'", true);
    assert!(value(&harmless, &table::MQTT_URL).is_some());
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("k.toml");
    let large = folder.path().join("large");
    std::fs::write(&large, vec![b'#'; (1 << 20) + 1]).unwrap();
    for (path, why) in [
        (&*missing, "No such file"),
        (folder.path(), "irectory"),
        (&*large, "larger than 1 MiB"),
    ] {
        let file = ConfigFile::read(path);
        let [fault] = &file.faults[..] else { panic!() };
        assert!(fault.problem.contains(why), "{}", fault.problem);
        assert!(fault.to_string().starts_with("--config is \"/"), "{fault}");
        assert!(!file.is_whole);
    }
    std::fs::write(&large, vec![b'#'; 1 << 20]).unwrap();
    assert!(ConfigFile::read(&large).faults.is_empty());
}

#[test]
fn who_may_read_a_file_is_told_by_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.toml");
    std::fs::write(&path, "MQTT_PASSWORD = 'hunter2'").unwrap();
    for (mode, is_fine) in [(0o600, true), (0o640, true), (0o644, false), (0o604, false)] {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, permissions).unwrap();
        let file = ConfigFile::read(&path);
        let entry = file.get(&table::MQTT_PASSWORD).unwrap();
        assert_eq!(entry.text.is_ok(), is_fine, "{mode:o}");
    }
}

#[test]
fn a_json_object_says_the_same() {
    let file = parse(
        "{\"TOPIC_PREFIX\":\"a \\\"b\\\"\",\n \"RECORD_DELIMITER\":\"\\\\n\",\n \"PUBLISH_WHEN_FULL\":false,\n \
         \"PUBLISH_INTERVAL\":30,\n \"MEMORY_SIZE\":40000.0,\n \"RECORD_MAX_AGE\":0.0,\n \"QUEUE_DIR\":\"\",\n \
         \"LOG_FORMAT\":null}\n",
    );
    assert!(file.faults.is_empty(), "{:?}", file.faults);
    for (parameter, text) in [
        (&table::TOPIC_PREFIX, Some("a \"b\"")),
        (&table::RECORD_DELIMITER, Some("\\n")),
        (&table::PUBLISH_WHEN_FULL, Some("false")),
        (&table::PUBLISH_INTERVAL, Some("30")),
        (&table::MEMORY_SIZE, Some("40000")),
        (&table::RECORD_MAX_AGE, Some("0")),
        (&table::QUEUE_DIR, None),
        (&table::LOG_FORMAT, None),
    ] {
        assert_eq!(
            value(&file, parameter).as_deref(),
            text,
            "{}",
            parameter.env
        );
    }
    let place = &file
        .get(&table::PUBLISH_INTERVAL)
        .expect("it is there")
        .place;
    assert_eq!(place.to_string(), "/etc/k.toml:4");
}

#[test]
fn faults_of_a_json_object_are_told_as_those_of_toml() {
    for (written, kind) in [
        ("1.5", "fraction"),
        ("1e3", "exponent"),
        ("[\"aws\"]", "a list"),
        ("{\"A\":1}", "an object"),
    ] {
        let file = parse(&format!("{{\"RECORD_MAX_AGE\":{written}}}"));
        let text = &file.get(&table::RECORD_MAX_AGE).expect(written).text;
        let not_text = text.as_ref().expect_err(written);
        assert!(not_text.problem.contains(kind), "{}", not_text.problem);
        assert_eq!(not_text.shown, written);
    }
    let told = faults("{\n\"PUBLISH_INTERVALL\": 1\n}");
    assert_eq!(told[0].0, 2);
    assert!(
        told[0].1.contains("PUBLISH_INTERVAL is the nearest"),
        "{told:?}"
    );
    let told = faults("{\"PUBLISH_INTERVAL\": 1\n");
    assert!(told[0].1.starts_with("it is not JSON: "), "{told:?}");
    assert!(!parse("{").is_whole);
    // A password is as secret as in TOML.
    let open = ConfigFile::parse(PATH, b"{\"MQTT_PASSWORD\":\"x\"}", true);
    assert!(
        open.get(&table::MQTT_PASSWORD)
            .expect("it is there")
            .text
            .is_err()
    );
}
