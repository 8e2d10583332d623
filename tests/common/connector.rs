//! The connector: in the test's process, with short time limits towards the destination, or as
//! the program itself.

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kinesis_edge::connector::{self, Connector, Leftover};
use kinesis_edge::destination::{Destination, Firehose, FirehoseSettings};
use kinesis_edge::parameters::{self, Parameters};
use kinesis_edge::telemetry::{Observer, ServiceManager, Snapshot};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{PATIENCE, STREAM};

/// Parameters from their environment variables' names; the default stream is [`STREAM`].
pub fn parameters(given: &[(&str, &str)]) -> Parameters {
    let parsed = parameters::parse(&|parameter| {
        let value = given
            .iter()
            .find(|(name, _)| *name == parameter.env)
            .map(|(_, value)| *value);
        let default = (parameter.env == "DEFAULT_DELIVERY_STREAM_ARN").then_some(STREAM);
        value.or(default).map(|value| Ok(value.to_owned()))
    });
    parsed.unwrap_or_else(|faults| panic!("{faults}"))
}

/// Firehose at a stand-in's URL, with a time limit short enough for tests of hanging calls.
pub async fn quick_firehose(url: &str) -> Firehose {
    Firehose::new(FirehoseSettings {
        call_timeout: Duration::from_secs(1),
        stand_in: Some(url.to_owned()),
        ..FirehoseSettings::default()
    })
    .await
}

/// A connector in this process.
pub struct RunningConnector {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Leftover>,
    observer: Observer,
    /// Ends with what was wrong with the ledger, if anything was.
    auditor: JoinHandle<Option<String>>,
}

impl RunningConnector {
    /// Starts one.
    pub fn start<D: Destination>(parameters: &Parameters, destination: D) -> Self {
        let connector = Connector::new(parameters, destination, ServiceManager::none())
            .expect("the connector is made");
        let (stop, stopped) = oneshot::channel::<()>();
        let stop_requested = async move {
            // A test that forgets the connector leaves it running until the runtime ends.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let observer = connector.observer();
        RunningConnector {
            stop: Some(stop),
            auditor: tokio::spawn(audit(observer.clone())),
            observer,
            task: tokio::spawn(connector.run(stop_requested)),
        }
    }

    /// Looks at it.
    pub fn look(&self) -> Snapshot {
        self.observer.look()
    }

    /// What looks at it, for as long as a test wants.
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Asks it to stop, and waits until it has. Whatever the test is about, at every instant
    /// received = delivered + failed + rejected + held.
    pub async fn stop(mut self) -> Leftover {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let leftover = self.task.await.expect("the connector ends without a panic");
        assert_eq!(imbalance(&self.observer.look()), None, "after the stop");
        if self.auditor.is_finished() {
            let wrong = self.auditor.await.expect("the auditor does not panic");
            assert_eq!(wrong, None, "while it ran");
        } else {
            self.auditor.abort();
        }
        leftover
    }
}

/// Looks again and again, until something is wrong.
async fn audit(observer: Observer) -> Option<String> {
    loop {
        let wrong = imbalance(&observer.look());
        if wrong.is_some() {
            return wrong;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What does not add up.
pub fn imbalance(snapshot: &Snapshot) -> Option<String> {
    let totals = &snapshot.totals;
    let ended = totals.delivered + totals.failed_records() + totals.rejected_requests();
    (totals.received != ended + snapshot.held).then(|| {
        format!(
            "received {} is not delivered {} + failed {:?} + rejected {:?} + held {}",
            totals.received, totals.delivered, totals.failed, totals.rejected, snapshot.held
        )
    })
}

/// The program, as a process.
pub struct ConnectorProcess {
    child: Child,
    folder: tempfile::TempDir,
}

impl ConnectorProcess {
    /// Starts `kinesis-edge run` with these environment variables and no others.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        Self::start_with("run", &[], variables)
    }

    /// Starts a subcommand with arguments and environment variables, in a folder of its own.
    pub fn start_with(subcommand: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program());
        command.arg(subcommand).args(arguments);
        Self::spawn(command, variables)
    }

    /// Starts `kinesis-edge run` through a command that ends by becoming the one it is given.
    pub fn start_through(wrapper: &[String], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).arg(program()).arg("run");
        Self::spawn(command, variables)
    }

    /// Starts `run` of another build of the program.
    pub fn start_program(program: &str, variables: &[(&str, &str)]) -> Self {
        let program = fs::canonicalize(program).expect("the program is there");
        let mut command = Command::new(program);
        command.arg("run");
        Self::spawn(command, variables)
    }

    /// Starts any command, with these environment variables and no others.
    pub fn start_command(command: Command, variables: &[(&str, &str)]) -> Self {
        Self::spawn(command, variables)
    }

    fn spawn(mut command: Command, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the process");
        let log = |name| fs::File::create(folder.path().join(name)).expect("a log is made");
        let child = command
            .current_dir(folder.path())
            .env_clear()
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log("stdout"))
            .stderr(log("stderr"))
            .spawn()
            .expect("the program starts");
        ConnectorProcess { child, folder }
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default()
    }

    /// Its working folder.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as TERM.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// Kills it (SIGKILL), and returns once it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "the process does not end:\n{}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("it can be waited for")
            .is_none()
    }

    /// The most memory it had resident at a time, in KB (`VmHWM`).
    pub fn peak_memory_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .expect("Linux tells");
        line.split_whitespace()
            .nth(1)
            .and_then(|kb| kb.parse().ok())
            .expect("a number of kB")
    }
}

/// What the program's own code takes of memory at the most, in KB, as it is built for use: 9,356 in all cases of
/// `tests/limits.rs` with the packaged program. Built for tests it takes more than twice that; the difference is not
/// held against MEMORY_SIZE.
const OPTIMISED_CODE_KB: u64 = 9_500;

impl ConnectorProcess {
    /// The most memory it had resident at a time, in KB, as it would have been if it were built for use.
    pub fn peak_memory_as_optimised_kb(&self) -> u64 {
        self.peak_memory_kb().saturating_sub(self.code_kb()) + OPTIMISED_CODE_KB
    }

    /// Pages of the program's file that are resident.
    fn code_kb(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(path).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("RssFile:"));
        let kb = line.and_then(|line| line.split_whitespace().nth(1));
        kb.and_then(|kb| kb.parse().ok()).expect("Linux tells")
    }
}

impl Drop for ConnectorProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary that cargo built for the tests.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_kinesis-edge"))
}
