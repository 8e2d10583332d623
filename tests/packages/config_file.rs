//! The configuration file of the package has every parameter, each as it would be set.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use kinesis_edge::parameters::{DefaultValue, PARAMETERS, Secrecy};
use serde_json::Value;

use super::common::{STREAM, stderr, stdout};
use super::kinesis_edge;

fn file() -> String {
    let output = kinesis_edge(&["config-file"], &[]);
    assert!(output.status.success());
    stdout(&output)
}

/// What `config` says of a file: its exit status, its objects and its faults.
fn config(text: &str) -> (Option<i32>, Vec<Value>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kinesis-edge.toml");
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode is set");
    let path = path.display().to_string();
    let output = kinesis_edge(&["config", "--json", "--config", &path], &[]);
    let objects = stdout(&output);
    let objects = objects
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    (output.status.code(), objects.collect(), stderr(&output))
}

#[test]
fn as_it_is_installed_only_the_stream_is_missing() {
    let (status, objects, faults) = config(&file());
    assert_eq!(status, Some(2));
    assert!(
        faults.contains("The configuration has a fault:"),
        "{faults}"
    );
    assert!(faults.contains("DEFAULT_DELIVERY_STREAM_ARN"), "{faults}");
    assert!(objects.iter().all(|object| object["from"] == "default"));
}

#[test]
fn every_parameter_can_be_uncommented_and_is_what_it_shows() {
    let file = file();
    let mut place = 0;
    for parameter in PARAMETERS {
        let name = parameter.env;
        let line = file
            .lines()
            .find(|line| line.starts_with(&format!("#{name} = ")));
        let line = line.unwrap_or_else(|| panic!("{name} is not in the file"));
        // In the order of the table, below the heading of its group.
        let at = file.find(&format!("\n{line}\n")).expect(name);
        assert!(at > place, "{name}");
        place = at;
        let mut headings = file[..at]
            .lines()
            .filter_map(|line| line.strip_prefix("# --- "));
        let heading = headings.next_back().expect("a heading");
        assert!(
            heading.starts_with(parameter.topic.heading()),
            "{name}: {heading}"
        );

        let mut set = file.replace(&format!("\n{line}\n"), &format!("\n{}\n", &line[1..]));
        if parameter.default != DefaultValue::Required {
            set += &format!("DEFAULT_DELIVERY_STREAM_ARN = \"{STREAM}\"\n");
        }
        let (status, objects, faults) = config(&set);
        let object = objects.iter().find(|object| object["parameter"] == name);
        let object = object.expect(name);
        assert_eq!(object["from"], "file", "{name}");
        match parameter.default {
            DefaultValue::Value(default) => {
                assert_eq!(object["value"], default);
                assert_eq!(
                    (status, &object["differs"]),
                    (Some(0), &Value::from(false)),
                    "{faults}"
                );
            }
            _ if parameter.secrecy == Secrecy::Secret => assert_eq!(object["value"], "***"),
            _ => assert_eq!(object["value"], parameter.example),
        }
    }
}

#[test]
fn its_lines_are_short_and_it_says_what_is_valid() {
    let file = file();
    let of_parameters = file.split_once("\n# --- ").expect("groups").1;
    for line in of_parameters.lines().filter(|line| line.starts_with("# ")) {
        let is_one_word = !line[2..].contains(' ');
        assert!(line.chars().count() <= 100 || is_one_word, "{line}");
    }
    let unwrapped = file.replace("\n# ", " ");
    for parameter in PARAMETERS {
        assert!(unwrapped.contains(parameter.help), "{}", parameter.env);
        assert!(
            unwrapped.contains(&format!("Valid: {}.", parameter.valid)),
            "{}",
            parameter.env
        );
    }
}
