//! A device to run `check` on, and what it says there.

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;

use kinesis_edge::local::Endpoint;
use serde_json::Value;
use tokio::process::Command;

use crate::common::{
    ConnectorProcess, Mosquitto, MosquittoOptions, STREAM, endpoint_with, finish, program, stderr,
    stdout,
};

pub const ID: &str = "checked";

/// What is not asked for, unless it is.
pub const NO_SEND: (&str, &str) = ("send", "skipped");

/// A set-up that is well; tests break one thing of it.
pub struct Site {
    pub broker: Mosquitto,
    pub endpoint: Endpoint,
    pub folder: tempfile::TempDir,
    /// Beside the usual ones, and instead of them.
    pub variables: BTreeMap<&'static str, String>,
    /// What starts the program where it can see its directories, if that takes something.
    pub wrapper: Vec<String>,
}

impl Site {
    pub async fn new() -> Self {
        Self::with_broker(Mosquitto::start()).await
    }

    pub async fn with_broker(broker: Mosquitto) -> Self {
        let endpoint = endpoint_with(&["test"]).await;
        let folder = tempfile::tempdir().expect("a folder for the directories");
        let path = |name| folder.path().join(name).display().to_string();
        let variables = BTreeMap::from([
            ("DEFAULT_DELIVERY_STREAM_ARN", STREAM.to_owned()),
            ("MQTT_URL", broker.url()),
            ("MQTT_CLIENT_ID", ID.to_owned()),
            ("PUBLISH_INTERVAL", "1".to_owned()),
            ("QUEUE_DIR", path("queue")),
            ("DEAD_LETTER_DIR", path("letters")),
            // So that the default fits the small disks of tests.
            ("QUEUE_DIR_MAX_BYTES", "8388608".to_owned()),
            ("DEAD_LETTER_MAX_BYTES", "1048576".to_owned()),
            ("AWS_ENDPOINT_URL", endpoint.url()),
            ("AWS_ACCESS_KEY_ID", "AKIAABCDEFGHIJKLMNOP".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "made-up".to_owned()),
        ]);
        Site {
            broker,
            endpoint,
            folder,
            variables,
            wrapper: Vec::new(),
        }
    }

    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.insert(name, value.into());
    }

    pub async fn run(&self, arguments: &[&str]) -> Output {
        let mut words = self.wrapper.clone();
        words.push(program().display().to_string());
        words.push("check".to_owned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("AWS_EC2_METADATA_DISABLED", "true")
            // For the wrapper.
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(&self.variables);
        finish(&mut command).await
    }

    pub async fn check(&self, arguments: &[&str]) -> Report {
        Report::of(&self.run(&[arguments, &["--json"]].concat()).await)
    }

    /// A connector with the same parameters.
    pub fn connector(&self, more: &[(&str, &str)]) -> ConnectorProcess {
        let mut variables: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(&name, value)| (name, value.as_str()))
            .collect();
        variables.extend(more);
        ConnectorProcess::start(&variables)
    }
}

/// What `check` said.
pub struct Report {
    pub steps: BTreeMap<String, Value>,
    status: Option<i32>,
}

impl Report {
    pub fn of(output: &Output) -> Self {
        assert_eq!(stderr(output), "", "there is nothing to say beside");
        let steps = stdout(output)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .map(|step: Value| (step["step"].as_str().unwrap().to_owned(), step))
            .collect();
        Report {
            steps,
            status: output.status.code(),
        }
    }

    /// These steps have these results, and all others are `ok`; the exit status fits.
    pub fn is(&self, expected: &[(&str, &str)]) -> &Self {
        assert_eq!(self.steps.len(), 14, "{:#?}", self.steps);
        for (name, step) in &self.steps {
            let expected = expected.iter().find(|(expected, _)| expected == name);
            let expected = expected.map_or("ok", |(_, result)| result);
            assert_eq!(step["result"], expected, "{:#?}", self.steps);
        }
        let failed = expected.iter().any(|(_, result)| *result == "failed");
        assert_eq!(self.status, Some(i32::from(failed)));
        self
    }

    /// The step says all of this, in its message, advice or details.
    pub fn says(&self, step: &str, words: &[&str]) -> &Self {
        let step = &self.steps[step];
        for word in words {
            assert!(step.to_string().contains(word), "{word}: {step:#}");
        }
        if step["result"] == "failed" {
            assert!(step["advice"].is_string(), "what to do: {step:#}");
        }
        self
    }
}

/// What follows from a broker that is not reached.
pub const NO_BROKER: [(&str, &str); 6] = [
    NO_SEND,
    ("broker", "failed"),
    ("login", "skipped"),
    ("subscribe", "skipped"),
    ("publish", "skipped"),
    ("client-id", "skipped"),
];

/// A mosquitto that lets in one user, with further lines of its configuration.
pub fn with_password(lines: &[&str], files: &[(&str, &str)]) -> Mosquitto {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["edge", "the right one"])
        .output();
    assert!(made.expect("mosquitto_passwd starts").status.success());
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mut all = vec![
        "listener {port} 127.0.0.1".to_owned(),
        "allow_anonymous false".to_owned(),
        "password_file {dir}/passwords".to_owned(),
    ];
    all.extend(lines.iter().map(|&line| line.to_owned()));
    Mosquitto::start_in(
        folder,
        MosquittoOptions {
            own_listener: true,
            lines: all,
            ..MosquittoOptions::default()
        },
    )
}
