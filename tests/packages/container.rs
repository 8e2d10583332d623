//! The container without an engine: the program with what the Dockerfile sets, in a root that cannot be written and has
//! only the libraries of the base and no shell, as the image's user.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::{ConnectorProcess, STREAM, free_port, http, program, stderr};
use super::{World, borrowed, output, read, run, yaml};

/// What an instruction of the Dockerfile's last stage says.
fn instruction(name: &str) -> Vec<String> {
    let file = read("packaging/container/Dockerfile");
    let (_, stage) = file.rsplit_once("\nFROM ").expect("a stage");
    let lines = stage
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("{name} ")));
    lines.map(str::to_owned).collect()
}

/// An instruction in the form that needs no shell.
fn words(name: &str) -> Vec<String> {
    let said = instruction(name);
    let list = said[0].find('[').expect("a list");
    serde_json::from_str(&said[0][list..]).expect("a list of words")
}

/// A root with what the image has.
fn root(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    let needed = run(Command::new("ldd").arg(program()));
    let libraries = needed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    let authorities = "/etc/ssl/certs/ca-certificates.crt";
    for file in libraries.chain([authorities]) {
        copy(Path::new(file), &root.join(&file[1..]));
    }
    copy(&program(), &root.join("usr/bin/kinesis-edge"));
    fs::create_dir_all(root.join("var/lib/kinesis-edge")).expect("made");
    root
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a parent")).expect("made");
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// What starts a program in a root: nothing can be written but the volume, and nobody is root.
fn in_container(root: &Path, words: &[String]) -> Command {
    let is_root = run(Command::new("id").arg("-u")) == "0\n";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    let user = instruction("USER").remove(0);
    // Who is not root can only be himself in there.
    let user = if is_root { user } else { "0:0".to_owned() };
    if !is_root {
        command.args(["--user", "--map-root-user"]);
    }
    let script = r#"set -e
        root=$1; user=$2; shift 2
        mount --bind "$root" "$root"
        mount -o remount,bind,ro "$root"
        mount -t tmpfs tmpfs "$root/var/lib/kinesis-edge"
        chown "$user" "$root/var/lib/kinesis-edge"
        exec chroot --userspec="$user" "$root" "$@""#;
    command
        .args(["sh", "-c", script, "sh"])
        .arg(root)
        .arg(user)
        .args(words);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn it_delivers_and_is_healthy() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode is set");
    let root = root(folder.path());
    let world = World::start().await;
    let mut variables = world.variables();
    for line in instruction("ENV") {
        let (name, value) = line.split_once('=').expect("a value");
        variables.push((name.to_owned(), value.to_owned()));
    }
    let set: HashMap<_, _> = variables.iter().cloned().collect();
    assert_eq!(set["QUEUE_DIR"], "/var/lib/kinesis-edge/queue");
    let volume = instruction("VOLUME").remove(0);
    assert!(set["QUEUE_DIR"].starts_with(&volume));
    // Its own port may be taken here, where there is no network of its own.
    let listen = set["HTTP_LISTEN"].replace("9477", &free_port().to_string());
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    variables.extend([
        own("HTTP_LISTEN", &listen),
        own("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        own("MQTT_URL", &world.broker.url()),
        own("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ]);
    let start = [words("ENTRYPOINT"), words("CMD")].concat();
    let container =
        ConnectorProcess::start_command(in_container(&root, &start), &borrowed(&variables));

    let health = words("HEALTHCHECK");
    let address = listen
        .replace("0.0.0.0", "127.0.0.1")
        .parse()
        .expect("an address");
    http::until_ready(address).await;
    let healthy = output(
        in_container(&root, &health)
            .env_clear()
            .envs(borrowed(&variables)),
    );
    assert!(healthy.status.success(), "{}", stderr(&healthy));
    world.is_served_by(container, "contained").await;
    let ill = output(
        in_container(&root, &health)
            .env_clear()
            .envs(borrowed(&variables)),
    );
    assert_eq!(ill.status.code(), Some(1), "{}", stderr(&ill));
}

#[test]
fn compose_takes_away_what_the_image_does_without() {
    let compose = yaml("packaging/container/compose.yaml");
    let service = &compose["services"]["kinesis-edge"];
    assert_eq!(service["read_only"], true);
    assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]));
    // What the packaged service has with a queue on disk.
    let limit = super::unit::limit("QUEUE_DIR = \"/var/queue\"").expect("a limit");
    let mem_limit = service["mem_limit"].as_str().expect("a size");
    assert_eq!(limit, format!("MemoryMax={}", mem_limit.to_uppercase()));
    assert_eq!(instruction("USER"), ["65532:65532"]);
}

/// Its parameters, and what it takes away, are those of the file for compose.
#[test]
fn the_command_in_the_dockerfile_is_complete() {
    let file = read("packaging/container/Dockerfile");
    let (_, rest) = file.split_once("docker run ").expect("a command");
    let command = rest.split_once("\n#\n").expect("it ends").0;
    let command = command.replace("\\\n#", " ");
    let words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(words.last(), Some(&"kinesis-edge"), "{command}");
    let compose = yaml("packaging/container/compose.yaml");
    let service = &compose["services"]["kinesis-edge"];
    let variables = service["environment"].as_object().expect("a map");
    for name in variables.keys() {
        let is_set = |words: &[&str]| words[0] == "-e" && words[1].split('=').next() == Some(name);
        assert!(words.windows(2).any(is_set), "{name} is not in {command}");
    }
    let volume = instruction("VOLUME").remove(0);
    let grace = service["stop_grace_period"].as_str().expect("a time");
    let limit = service["mem_limit"].as_str().expect("a size");
    for option in [
        "--read-only".to_owned(),
        "--cap-drop ALL".to_owned(),
        format!("--stop-timeout {}", grace.trim_end_matches('s')),
        format!("--memory {limit}"),
        format!("-v state:{volume}"),
    ] {
        assert!(words.join(" ").contains(&option), "{option}: {command}");
    }
}

/// With the host's network no published port stands before the page.
#[test]
fn who_uses_the_hosts_network_is_told_to_keep_the_page_on_the_device() {
    assert!(instruction("ENV").contains(&"HTTP_LISTEN=0.0.0.0:9477".to_owned()));
    for document in ["packaging/container/Dockerfile", "README.md", "SECURITY.md"] {
        let text = read(document);
        let said = text.split_once("--network host").expect(document).1;
        assert!(said.contains("HTTP_LISTEN=127.0.0.1:9477"), "{document}");
    }
}
