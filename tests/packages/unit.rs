//! The systemd unit, by systemd's own judgement, and the limit of memory that is worked out at each start.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::common::{program, stderr, stdout};
use super::{output, read, run, setting};

const UNIT: &str = "packaging/kinesis-edge.service";
const MEMORY_MAX: &str = "packaging/debian/memory-max";

#[test]
fn systemd_understands_every_line_of_it() {
    // With programs that are there, as it looks for them.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kinesis-edge.service");
    let here = fs::canonicalize(MEMORY_MAX).expect("it is there");
    let unit = read(UNIT)
        .replace(
            "/usr/lib/kinesis-edge/memory-max",
            &here.display().to_string(),
        )
        .replace("/usr/bin/kinesis-edge", &program().display().to_string());
    fs::write(&path, unit).expect("written");
    let verify = output(
        Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&path),
    );
    let said = stderr(&verify);
    let of_it: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("kinesis-edge"))
        .collect();
    assert!(verify.status.success() && of_it.is_empty(), "{said}");
}

/// What its comments and the README have for a drop-in: for secrets, keys, a folder elsewhere, and a low port.
#[test]
fn its_drop_ins_are_understood() {
    let unit = read(UNIT);
    let commented = unit.lines().filter_map(|line| line.strip_prefix("#   "));
    let drop_in: Vec<&str> = commented.filter(|line| !line.contains(" = ")).collect();
    let readme = read("README.md");
    for line in [
        "LoadCredential=mqtt-password:/etc/kinesis-edge/mqtt-password",
        "SupplementaryGroups=kinesis-edge-keys",
        "ReadWritePaths=/data/ke",
        "SupplementaryGroups=kinesis-edge-data",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE",
    ] {
        let lines = drop_in.iter().filter(|found| **found == line);
        assert_eq!(lines.count(), 1, "{line}: {drop_in:?}");
        assert!(readme.contains(line), "{line}");
        if let Some(group) = line.strip_prefix("SupplementaryGroups=") {
            let made = format!("groupadd --system {group}");
            assert!(readme.contains(&made) && unit.contains(&made), "{made}");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kinesis-edge-check-drop-in.service");
    let text = format!("{}\nExecStart=/bin/true\n", drop_in.join("\n"));
    fs::write(&path, text).expect("written");
    let mut verify = Command::new("systemd-analyze");
    let said = output(verify.args(["verify", "--man=no"]).arg(&path));
    assert!(said.status.success(), "{}", stderr(&said));
    assert!(
        !stderr(&said).contains("drop-in.service:"),
        "{}",
        stderr(&said)
    );
}

#[test]
fn its_exposure_is_below_two() {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager", "--threshold=20"]);
    let said = output(command.arg(UNIT));
    assert!(said.status.success(), "{}{}", stdout(&said), stderr(&said));
    assert!(stdout(&said).contains("Overall exposure level for kinesis-edge.service"));
}

#[test]
fn its_limit_of_memory_follows_the_parameter() {
    let default = limit("").expect("a limit is set");
    assert_eq!(
        default,
        format!("MemoryMax={}", setting(&read(UNIT), "MemoryMax"))
    );
    assert_eq!(
        limit("MEMORY_SIZE = 131072").as_deref(),
        Some("MemoryMax=180224K")
    );
    // What is known of a queue on disk comes beside it.
    for (queue, expected) in [
        ("QUEUE_DIR_MAX_BYTES = 68719476736", "MemoryMax=180224K"),
        ("QUEUE_DIR = \"/var/queue\"", "MemoryMax=196608K"),
        (
            "QUEUE_DIR = \"/var/a \\\"queue\\\"\"\nQUEUE_DIR_MAX_BYTES = 68719476736",
            "MemoryMax=1228800K",
        ),
    ] {
        let text = format!("MEMORY_SIZE = 131072\n{queue}");
        assert_eq!(limit(&text).as_deref(), Some(expected), "{queue}");
    }
    // The parameter's fault is for the connector to tell.
    for faulty in [
        "MEMORY_SIZE = \"lots\"",
        "MEMORY_SIZE = 1",
        "MEMORY_SIZE = \"-1\"",
    ] {
        assert_eq!(limit(faulty), None, "{faulty}");
    }
}

/// What systemd is told for a configuration file.
pub fn limit(text: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("kinesis-edge.toml"), text).expect("written");
    symlink(program(), path("kinesis-edge")).expect("linked");
    script(
        &path("systemctl"),
        "printf '%s\\n' \"$*\" > \"${0%/*}/told\"",
    );
    let mut command = Command::new(MEMORY_MAX);
    command
        .arg("kinesis-edge.service")
        .arg(path("kinesis-edge.toml"));
    let search = format!("{}:/usr/bin:/bin", folder.path().display());
    run(command.env_clear().env("PATH", search));
    let told = fs::read_to_string(path("told")).ok()?;
    let limit = told
        .trim_end()
        .strip_prefix("set-property --runtime kinesis-edge.service ");
    Some(limit.expect("the unit is named").to_owned())
}

/// Writes a program for sh.
pub fn script(path: &Path, lines: &str) {
    fs::write(path, format!("#!/bin/sh\n{lines}\n")).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode is set");
}
