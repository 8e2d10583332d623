//! Mosquitto, started for a test and ended with it.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, free_port};

/// How Mosquitto is set up.
#[derive(Debug, Clone, Default)]
pub struct MosquittoOptions {
    /// Whether it keeps sessions and messages over a restart.
    pub persistent: bool,
    /// Further lines of its configuration. `{dir}` stands for the test's folder.
    pub lines: Vec<String>,
    /// Whether `lines` bring the listener and its access rules.
    pub own_listener: bool,
    /// What more its environment has in it. `{dir}` stands for the test's folder.
    pub environment: Vec<(&'static str, String)>,
}

/// A running Mosquitto.
pub struct Mosquitto {
    /// Where it listens.
    pub port: u16,
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
    process: Option<Child>,
}

impl Mosquitto {
    /// Starts one that lets anyone in and keeps nothing.
    pub fn start() -> Self {
        Self::start_with(MosquittoOptions::default())
    }

    /// Starts one set up as asked; it answers when this returns.
    pub fn start_with(options: MosquittoOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder for mosquitto");
        Self::start_in(folder, options)
    }

    /// The same in a folder that has something in it already (certificates, password files).
    pub fn start_in(folder: tempfile::TempDir, options: MosquittoOptions) -> Self {
        let port = free_port();
        let dir = folder.path().display().to_string();
        let mut text = String::new();
        if !options.own_listener {
            text += &format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        }
        // As root it would change to a user that cannot read the folder.
        text += "user root\nmax_queued_messages 100000\n";
        if options.persistent {
            text +=
                &format!("persistence true\npersistence_location {dir}/\nautosave_interval 1\n");
        }
        for line in &options.lines {
            text += &line
                .replace("{dir}", &dir)
                .replace("{port}", &port.to_string());
            text += "\n";
        }
        fs::write(folder.path().join("mosquitto.conf"), text)
            .expect("its configuration is written");
        let environment = options.environment.into_iter();
        let mut mosquitto = Mosquitto {
            port,
            environment: environment
                .map(|(name, value)| (name, value.replace("{dir}", &dir)))
                .collect(),
            folder,
            process: None,
        };
        mosquitto.launch();
        mosquitto
    }

    /// Starts one that refuses every subscription and takes whatever is published.
    pub fn without_subscriptions() -> Self {
        let plugin = fs::read_dir("/usr/lib")
            .expect("there are libraries")
            .filter_map(|entry| Some(entry.ok()?.path().join("mosquitto_dynamic_security.so")))
            .chain([PathBuf::from("/usr/lib/mosquitto_dynamic_security.so")])
            .find(|path| path.exists())
            .expect("mosquitto brings its plugin along");
        let folder = tempfile::tempdir().expect("a folder for mosquitto");
        let rights = r#"{"defaultACLAccess": {"publishClientSend": true, "publishClientReceive": true,
            "subscribe": false, "unsubscribe": true}, "clients": [], "groups": [], "roles": []}"#;
        fs::write(folder.path().join("rights.json"), rights).expect("its rights are written");
        let lines = [
            "listener {port} 127.0.0.1",
            "allow_anonymous true",
            &format!("plugin {}", plugin.display()),
            "plugin_opt_config_file {dir}/rights.json",
        ];
        Self::start_in(
            folder,
            MosquittoOptions {
                own_listener: true,
                lines: lines.map(str::to_owned).to_vec(),
                ..MosquittoOptions::default()
            },
        )
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL for `MQTT_URL`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Starts it (again) on the same port, with the same configuration.
    pub fn launch(&mut self) {
        let process = Command::new(program())
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.folder.path().join("log")).expect("its log is made"))
            .spawn()
            .expect("mosquitto starts; `make setup` installs it");
        self.process = Some(process);
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                start.elapsed() < PATIENCE,
                "mosquitto does not listen:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How often anybody connected.
    pub fn connections(&self) -> usize {
        self.log().matches("New connection from").count()
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Asks it to end (SIGTERM: a persistent one saves), and waits.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = Command::new("kill").arg(process.id().to_string()).status();
            let _ = process.wait();
        }
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian keeps it where an ordinary user's PATH does not look.
fn program() -> PathBuf {
    let sbin = PathBuf::from("/usr/sbin/mosquitto");
    if sbin.exists() {
        sbin
    } else {
        PathBuf::from("mosquitto")
    }
}
