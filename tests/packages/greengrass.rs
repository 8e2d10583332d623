//! The Greengrass component's `run` script, with its variables filled in as each nucleus does it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kinesis_edge::parameters::{PARAMETERS, Secrecy};
use serde_json::{Value, json};

use super::common::{ConnectorProcess, STREAM, program, stderr, stdout};
use super::recipe::{manifest, recipe};
use super::unit::script;
use super::{World, borrowed, output};

/// Which of the two.
#[derive(Clone, Copy, Debug)]
enum Nucleus {
    Classic,
    Lite,
}

/// A device that the component was deployed to.
struct Device {
    folder: tempfile::TempDir,
    nucleus: Nucleus,
    configuration: Value,
}

impl Device {
    /// `merged` is what a deployment merges into the configuration.
    fn new(nucleus: Nucleus, merged: &Value) -> Self {
        let mut configuration = recipe()["ComponentConfiguration"]["DefaultConfiguration"].clone();
        merge(&mut configuration, merged);
        // With a space, as paths may have.
        let folder = tempfile::Builder::new()
            .prefix("green grass")
            .tempdir()
            .expect("a folder");
        for path in ["artifacts", "work"] {
            fs::create_dir(folder.path().join(path)).expect("made");
        }
        symlink(
            program(),
            folder.path().join("artifacts/kinesis-edge-amd64"),
        )
        .expect("linked");
        Device {
            folder,
            nucleus,
            configuration,
        }
    }

    fn folder(&self, name: &str) -> String {
        let path = self.folder.path().join(name).display().to_string();
        match self.nucleus {
            Nucleus::Classic => path,
            // It ends its paths with a slash.
            Nucleus::Lite => path + "/",
        }
    }

    fn fill_in(&self, text: &str, escape: impl Fn(&str) -> String) -> String {
        let mut filled = String::new();
        let mut parts = text.split('{');
        filled += parts.next().expect("there is a first part");
        for part in parts {
            let (variable, rest) = part.split_once('}').expect("it ends");
            filled += &match variable {
                "work:path" => self.folder("work"),
                "artifacts:path" => self.folder("artifacts"),
                configuration => {
                    let pointer = configuration
                        .strip_prefix("configuration:")
                        .expect("a pointer");
                    let value = self.configuration.pointer(pointer).expect("it is there");
                    escape(
                        &value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned),
                    )
                }
            };
            filled += rest;
        }
        filled
    }

    /// What is started, in the work path.
    fn command(&self) -> Command {
        let run = manifest("amd64")["Lifecycle"]["run"].clone();
        let setenv = run["Setenv"].as_object().expect("a map").clone();
        let setenv = setenv
            .iter()
            .map(|(name, value)| (name, value.as_str().expect("a string")));
        let lines = run["Script"].as_str().expect("a script");
        let mut command = Command::new("/bin/sh");
        match self.nucleus {
            // The environment of a shell that is given the script.
            Nucleus::Classic => {
                for (name, value) in setenv {
                    command.env(name, self.fill_in(value, str::to_owned));
                }
                command.args(["-c", &self.fill_in(lines, str::to_owned)]);
            }
            // One script, which exports the environment first.
            Nucleus::Lite => {
                let mut whole = "#!/bin/sh\n".to_owned();
                for (name, value) in setenv {
                    let value = self.fill_in(value, |text| text.replace('\'', "'\\''"));
                    whole += &format!("export {name}='{value}'\n");
                }
                whole += &self.fill_in(lines, |text| {
                    ["\\", "\"", "$", "`"]
                        .iter()
                        .fold(text.to_owned(), |text, special| {
                            text.replace(special, &format!("\\{special}"))
                        })
                });
                let path = self.folder.path().join("script");
                fs::write(&path, whole).expect("written");
                command.arg(path);
            }
        }
        command.current_dir(self.folder.path().join("work"));
        command
    }
}

/// As a deployment does it: maps grow together, everything else takes the place of what was there.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => into.clone_from(from),
    }
}

fn environment(variables: Value) -> Value {
    json!({"lambdaExecutionParameters": {"EnvironmentVariables": variables}})
}

async fn it_delivers_on(nucleus: Nucleus) {
    let world = World::start().await;
    let mut merged = environment(json!({
        "DEFAULT_DELIVERY_STREAM_ARN": STREAM,
        "MQTT_URL": world.broker.url(),
        // The nucleus makes floats of numbers.
        "PUBLISH_INTERVAL": 1.0,
        "MQTT_CLIENT_ID": "it's \"$HOME\" `id` \\ {x}",
    }));
    // What else a configuration of the AWS component has.
    merged["pubsubTopics"] = json!({"0": {"topic": "kinesisfirehose/message", "type": "PUB_SUB"}});
    merged["containerMode"] = json!("GreengrassContainer");
    let device = Device::new(nucleus, &merged);
    let command = device.command();
    let mut variables = world.variables();
    for (name, value) in command.get_envs() {
        let text = |part: &std::ffi::OsStr| part.to_str().expect("text").to_owned();
        variables.push((text(name), text(value.expect("it is set"))));
    }
    // The process of the test's helper has a folder of its own; the script goes to the work path by itself.
    let component = ConnectorProcess::start_command(command, &borrowed(&variables));
    world.is_served_by(component, "component").await;
    let work = device.folder.path().join("work");
    assert!(work.join("queue").is_dir(), "the queue is on disk");
    let file = work.join("parameters.json");
    let text = super::read(&file);
    let file: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(file["MQTT_CLIENT_ID"], "it's \"$HOME\" `id` \\ {x}");
    nobody_else_reads(&work.join("parameters.json"));
}

fn nobody_else_reads(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "{}", path.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_delivers_on_the_nucleus() {
    it_delivers_on(Nucleus::Classic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_delivers_on_nucleus_lite() {
    it_delivers_on(Nucleus::Lite).await;
}

/// The line of the README, beside a component that has its credentials from its surroundings alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_line_for_check_finds_the_components_credentials() {
    let merged = environment(json!({
        "DEFAULT_DELIVERY_STREAM_ARN": STREAM,
        "MQTT_URL": "mqtt://127.0.0.1:1",
    }));
    let device = Device::new(Nucleus::Classic, &merged);
    let command = device.command();
    let value = command.get_envs().find_map(|(_, value)| value?.to_str());
    let variables = [
        ("KINESIS_EDGE_PARAMETERS", value.expect("it is set")),
        ("AWS_ENDPOINT_URL_FIREHOSE", "http://127.0.0.1:1"),
        ("AWS_ACCESS_KEY_ID", "it's \"one\""),
        ("AWS_SECRET_ACCESS_KEY", "none"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let component = ConnectorProcess::start_command(command, &borrowed(&variables));
    let pid = component.pid();
    let deadline = Instant::now() + Duration::from_secs(10);
    // Until then it is the script.
    while !super::read(format!("/proc/{pid}/comm")).starts_with("kinesis-edge") {
        assert!(Instant::now() < deadline, "{}", component.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let readme = super::read("packaging/greengrass/README.md");
    let line = readme.split_once("\nsudo -u ggc_user ").expect("a line").1;
    let line = line.split_once("\n```").expect("it ends").0;
    // Others run here as well.
    let path = device.folder.path();
    script(&path.join("pgrep"), &format!("echo {pid}"));
    let mut check = Command::new("sh");
    check.args(["-c", line]).current_dir("/").env_clear();
    check.env("PATH", format!("{}:/usr/bin:/bin", path.display()));
    let said = output(&mut check);
    let (told, faults) = (stdout(&said), stderr(&said));
    assert!(told.contains("\n✓ credentials "), "{told}{faults}");
    assert!(told.contains("\n✓ queue         ./queue"), "{told}{faults}");
}

#[test]
fn every_parameter_can_be_set_by_a_deployment() {
    let examples = PARAMETERS
        .iter()
        .map(|parameter| (parameter.env.to_owned(), parameter.example.into()));
    let device = Device::new(
        Nucleus::Lite,
        &environment(Value::Object(examples.collect())),
    );
    // Instead of the connector, something that shows what it would be told.
    let artifact = device.folder.path().join("artifacts/kinesis-edge-amd64");
    fs::remove_file(&artifact).expect("removed");
    let show = format!(
        "[ \"$1 $2\" = 'run --config' ] && exec '{}' config --json --config \"$3\"",
        program().display()
    );
    script(&artifact, &show);
    // Some of the examples fit no other, so its exit status says nothing.
    let shown = stdout(&output(
        device.command().env_remove("DEFAULT_DELIVERY_STREAM_ARN"),
    ));
    let objects: Vec<Value> = shown
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(objects.len(), PARAMETERS.len());
    for (parameter, object) in PARAMETERS.iter().zip(&objects) {
        assert_eq!(object["parameter"], parameter.env);
        assert_eq!(object["from"], "file", "{}", parameter.env);
        if parameter.secrecy != Secrecy::Secret {
            assert_eq!(object["value"], parameter.example, "{}", parameter.env);
        }
    }
}

#[test]
fn without_a_stream_it_ends_and_says_what_is_missing() {
    let device = Device::new(Nucleus::Lite, &json!({}));
    let ended = output(&mut device.command());
    assert_eq!(ended.status.code(), Some(2));
    assert!(stderr(&ended).contains("DEFAULT_DELIVERY_STREAM_ARN"));
}
