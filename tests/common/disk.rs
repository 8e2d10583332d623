//! A small disk of its own for a queue: a tmpfs in a mount namespace that only the programs started
//! in it see. It ends with the test, and needs root only where the system keeps namespaces to root.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A file system that is kept by a shell in a namespace.
pub struct SmallDisk {
    /// Where it is mounted, in the namespace.
    path: PathBuf,
    holder: Child,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one of this size.
    pub fn new(kib: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder to mount on");
        let path = folder.path().to_owned();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        // It lives until its input ends, which is at the latest when the test's process does.
        let script = r#"mount -t tmpfs -o "size=$2k" tmpfs "$1" && echo mounted && read -r end"#;
        let mut holder = command
            .args(["sh", "-c", script, "sh"])
            .arg(&path)
            .arg(kib.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (of util-linux) starts");
        let mut said = String::new();
        let stdout = holder.stdout.take().expect("it is piped");
        let read = BufReader::new(stdout).read_line(&mut said);
        assert!(
            read.is_ok() && said == "mounted\n",
            "no small disk can be mounted: that needs root, or user namespaces for everyone \
             (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
        );
        SmallDisk {
            path,
            holder,
            _folder: folder,
        }
    }

    /// Where it is, for programs started with [`SmallDisk::enter`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The command that starts another one where the disk can be seen, in the same process.
    pub fn enter(&self) -> Vec<String> {
        let holder = self.holder.id().to_string();
        let mut command = vec!["nsenter", "--target", &holder, "--mount"];
        if !is_root() {
            command.extend(["--user", "--preserve-credentials"]);
        }
        command.into_iter().map(str::to_owned).collect()
    }

    /// Makes it read-only, or writable again. Nothing may be open for writing on it.
    pub fn set_read_only(&self, read_only: bool) {
        let options = if read_only {
            "remount,bind,ro"
        } else {
            "remount,bind,rw"
        };
        let path = self.path.display().to_string();
        self.run(&["mount", "-o", options, &path]);
    }

    /// Runs a command where the disk can be seen.
    fn run(&self, command: &[&str]) {
        let enter = self.enter();
        let status = Command::new(&enter[0])
            .args(&enter[1..])
            .args(command)
            .status();
        assert!(status.expect("nsenter starts").success(), "{command:?}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.holder.stdin.take() {
            let _ = stdin.write_all(b"end\n");
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id starts");
    id.stdout == b"0\n"
}
