//! What people install: the Debian package from its first installation to its purge, the systemd unit, the Greengrass
//! component as each nucleus would start it, the container as far as it goes without an engine, and what these are
//! made of: the configuration file with every parameter, the notices, and `health`.

#![cfg(all(feature = "local", feature = "pages"))]

#[path = "../common/mod.rs"]
mod common;

mod config_file;
mod container;
mod debian;
mod greengrass;
mod health;
mod notices;
mod recipe;
mod unit;
mod workflows;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{App, ConnectorProcess, Mosquitto, program, python, stderr, stdout};
use kinesis_edge::local::Endpoint;
use serde_json::Value;

/// A broker and an endpoint for what was installed.
struct World {
    broker: Mosquitto,
    endpoint: Endpoint,
}

impl World {
    async fn start() -> Self {
        World {
            broker: Mosquitto::start(),
            endpoint: common::endpoint().await,
        }
    }

    /// What comes from the surroundings of a connector, whatever starts it: the way to Amazon.
    fn variables(&self) -> Vec<(String, String)> {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            own("AWS_ENDPOINT_URL_FIREHOSE", &self.endpoint.url()),
            own("AWS_ACCESS_KEY_ID", "none"),
            own("AWS_SECRET_ACCESS_KEY", "none"),
        ]
    }

    /// A record arrives, its status says so, and SIGTERM ends the connector well.
    async fn is_served_by(&self, mut connector: ConnectorProcess, id: &str) {
        let app = App::connect(self.broker.port).await;
        app.until_answered().await;
        app.request(id, &format!("data of {id}")).await;
        let status = app.status_of(id).await;
        assert!(status.is_success(), "{status:?}\n{}", connector.stderr());
        let accepted = self.endpoint.accepted("test");
        let wanted = format!("data of {id}");
        assert!(accepted.iter().any(|one| one.data == wanted.as_bytes()));
        connector.signal("TERM");
        assert_eq!(connector.wait().code(), Some(0), "{}", connector.stderr());
    }
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    let pairs = variables.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// What a command that ends by itself says; it has to end well.
fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        stdout(&output),
        stderr(&output)
    );
    stdout(&output)
}

fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The program of the tests, with these arguments, variables and no others.
fn kinesis_edge(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).env_clear();
    output(command.envs(variables.iter().copied()))
}

/// A YAML document, by Python's reader of YAML.
fn yaml(path: impl AsRef<Path>) -> Value {
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let mut command = Command::new(python());
    let json = run(command.args(["-c", script]).arg(path.as_ref()));
    serde_json::from_str(&json).expect("JSON")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value of a key of an INI file, as the unit is one.
fn setting<'a>(file: &'a str, key: &str) -> &'a str {
    let mut lines = file.lines();
    let prefix = format!("{key}=");
    lines
        .find_map(|line| line.strip_prefix(&prefix))
        .unwrap_or_else(|| panic!("{key} is not set"))
}

#[test]
fn every_package_has_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = read("packaging/debian/changelog");
    assert!(changelog.starts_with(&format!("kinesis-edge ({version}-1) ")));
    assert_eq!(
        yaml("packaging/greengrass/recipe.yaml")["ComponentVersion"],
        version
    );
    let gdk: Value =
        serde_json::from_str(&read("packaging/greengrass/gdk-config.json")).expect("JSON");
    assert_eq!(gdk["component"]["kinesis-edge"]["version"], version);
}
