//! Other people's programs, as users have them: Python with its libraries, and commands that are
//! given some time to end by themselves.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::PATIENCE;

/// The Python environment that `tests/setup` makes.
pub fn python() -> PathBuf {
    environment().join("python")
}

/// The stand-in for AWS out of the same environment.
pub fn moto_server() -> PathBuf {
    environment().join("moto_server")
}

fn environment() -> PathBuf {
    // Absolute, since programs are started in other folders too.
    let here = std::env::current_dir().expect("there is a working directory");
    let programs = here.join("target/test-python/bin");
    assert!(
        programs.join("python").exists(),
        "there is no {}; `make setup` makes it",
        programs.display()
    );
    programs
}

/// Runs a command to its end.
pub async fn finish(command: &mut Command) -> Output {
    finish_with(command, b"").await
}

/// The same with something on its standard input.
pub async fn finish_with(command: &mut Command, input: &[u8]) -> Output {
    let shown = format!("{:?}", command.as_std());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    // On a task of its own, as the command may write before it has read all; it may also end early.
    tokio::spawn(async move {
        let _ = stdin.write_all(&input).await;
    });
    tokio::time::timeout(2 * PATIENCE, child.wait_with_output())
        .await
        .unwrap_or_else(|_| panic!("does not end: {shown}"))
        .unwrap_or_else(|error| panic!("{shown}: {error}"))
}

/// What a command wrote to standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command wrote to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
