//! A configuration as any operator may write it, in the environment and in a file: it holds, or all that is wrong
//! with it is told, and a password never is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::Command;
use kinesis_edge::parameters::{self, PARAMETERS, Parameter, Secrecy};

/// What stands in each password, and so must not stand in any fault.
const HUSH: &str = "hush-5f1e";

/// Reads the bytes as lines of the environment, `NAME=value`, and as a configuration file.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return read_file(bytes);
    };
    let given: Vec<(&str, String)> = text
        .split('\0')
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name, with_hush(name, value)))
        .collect();
    let lookup = |parameter: &Parameter| {
        let is_ours = |(name, _): &&(&str, String)| *name == parameter.env;
        // What is on this machine's disk is not what is looked at here.
        let found = given
            .iter()
            .find(is_ours)
            .filter(|_| !names_a_file(parameter));
        found.map(|(_, value)| Ok(value.clone()))
    };
    is_told_well(parameters::parse(&lookup).map_err(|faults| faults.to_string()));
    if !["_FILE", "_DIR"].iter().any(|kind| text.contains(kind)) {
        read_file(bytes);
    }
}

fn names_a_file(parameter: &Parameter) -> bool {
    ["FILE", "DIR"].contains(&parameter.value_name)
}

fn with_hush(name: &str, value: &str) -> String {
    let parameter = PARAMETERS.iter().find(|parameter| parameter.env == name);
    match parameter.map(|parameter| parameter.secrecy) {
        Some(Secrecy::Secret) => format!("{HUSH}{value}"),
        _ => value.to_owned(),
    }
}

fn read_file(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kinesis-edge.toml");
    fs::write(&path, bytes).expect("it can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    is_told_well(load(&path));
}

fn load(path: &Path) -> Result<parameters::Parameters, String> {
    let command = Command::new("kinesis-edge").args(parameters::args());
    let path = path.to_str().expect("the folder's name is text");
    let matches = command.get_matches_from(["kinesis-edge", "--config", path]);
    parameters::load(&matches).map_err(|faults| faults.to_string())
}

fn is_told_well(loaded: Result<parameters::Parameters, String>) {
    let told = match loaded {
        Ok(parameters) => format!("{parameters:?}"),
        Err(faults) => {
            let is_fit = |character: char| character == '\n' || !character.is_control();
            assert!(
                !faults.is_empty() && faults.chars().all(is_fit),
                "{faults:?}"
            );
            faults
        }
    };
    assert!(!told.contains(HUSH), "{told}");
}
