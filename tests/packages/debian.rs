//! The Debian package in a root folder of its own: installed, configured, started as its unit says, upgraded, removed
//! and purged. dpkg and the package's own scripts do it; where they would talk to this machine's systemd they find
//! nobody.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::common::{ConnectorProcess, STREAM, stderr, stdout};
use super::unit::script;
use super::{World, borrowed, output, read, run, setting, yaml};

const CONFIGURATION: &str = "etc/kinesis-edge/kinesis-edge.toml";
const UNIT: &str = "usr/lib/systemd/system/kinesis-edge.service";
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/kinesis-edge.service";

/// The most that the program of a package may have, in bytes: 12 MB.
const MAX_PROGRAM_BYTES: u64 = 12_000_000;

/// A root folder that packages are installed into.
struct Root {
    folder: tempfile::TempDir,
}

impl Root {
    fn new() -> Self {
        let root = Root {
            folder: tempfile::tempdir().expect("a folder"),
        };
        for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "bin"] {
            fs::create_dir_all(root.path(folder)).expect("made");
        }
        fs::write(root.path("var/lib/dpkg/status"), "").expect("written");
        // As on every Debian since 12: what looks for units looks in /lib.
        fs::create_dir_all(root.path("usr/lib")).expect("made");
        symlink("usr/lib", root.path("lib")).expect("linked");
        // Links of units are made by systemctl, inside the root that it is given.
        let systemctl = "case \"$*\" in *--root=*) exec /usr/bin/systemctl \"$@\" ;; esac; exit 1";
        script(&root.path("bin/systemctl"), systemctl);
        script(&root.path("bin/deb-systemd-invoke"), "exit 1");
        root
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    fn has(&self, inside: &str) -> bool {
        fs::symlink_metadata(self.path(inside)).is_ok()
    }

    /// Has dpkg do something here; what it said.
    fn dpkg(&self, arguments: &[&str]) -> String {
        // Files of the package belong to root, which a user can only pretend to be.
        let is_root = run(Command::new("id").arg("-u")) == "0\n";
        let mut command = match is_root {
            true => Command::new("dpkg"),
            false => {
                let mut command = Command::new("unshare");
                command.args(["--user", "--map-root-user", "dpkg"]);
                command
            }
        };
        let own = self.path("bin");
        let said = output(
            command
                .arg(format!("--root={}", self.folder.path().display()))
                // The scripts run beside this root, and are told where it is. What the package depends on is not in it.
                .args([
                    "--force-script-chrootless",
                    "--force-depends",
                    "--force-confdef",
                    "--force-confold",
                ])
                .args(arguments)
                .env(
                    "PATH",
                    format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", own.display()),
                ),
        );
        assert!(said.status.success(), "{}{}", stdout(&said), stderr(&said));
        stdout(&said) + &stderr(&said)
    }

    fn install(&self, package: &Path) -> String {
        self.dpkg(&["--install", &package.display().to_string()])
    }

    /// Sets parameters as an operator would: by uncommenting their lines.
    fn configure(&self, values: &[(&str, &str)]) {
        let path = self.path(CONFIGURATION);
        let mut file = read(&path);
        for (name, value) in values {
            let at = file.find(&format!("\n#{name} = ")).expect(name) + 1;
            let end = at + file[at..].find('\n').expect("a line ends");
            file.replace_range(at..end, &format!("{name} = \"{value}\""));
        }
        fs::write(path, file).expect("written");
    }

    /// Starts what the unit starts, with what systemd would have handed over.
    fn start(&self, world: &World) -> ConnectorProcess {
        let unit = read(self.path(UNIT));
        let credentials = self.path("credentials");
        fs::create_dir_all(&credentials).expect("made");
        let (name, from) = setting(&unit, "LoadCredential")
            .split_once(':')
            .expect("a path");
        fs::copy(self.path(&from[1..]), credentials.join(name)).expect("copied");
        let credentials = credentials.display().to_string();
        let line = setting(&unit, "ExecStart").replace("${CREDENTIALS_DIRECTORY}", &credentials);
        let mut words = line.split(' ');
        let mut command = Command::new(self.path(&words.next().expect("a program")[1..]));
        command.args(words);
        ConnectorProcess::start_command(command, &borrowed(&world.variables()))
    }
}

/// The package as it was built.
fn package() -> PathBuf {
    let built = fs::read_dir("target/packaged/debian").into_iter().flatten();
    let mut packages = built
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let package = packages
        .next()
        .expect("there is no package; `make packages` builds it");
    assert_eq!(
        packages.next(),
        None,
        "`rm -r target/packaged/debian`, and `make packages` again"
    );
    package
}

/// The same with a higher version, and another configuration file.
fn newer(folder: &Path) -> PathBuf {
    let (tree, to) = (folder.join("newer"), folder.join("newer.deb"));
    let dpkg_deb = |arguments: &[&Path]| run(Command::new("dpkg-deb").args(arguments));
    dpkg_deb(&[Path::new("--raw-extract"), &package(), &tree]);
    let control = tree.join("DEBIAN/control");
    let version = format!("Version: {}-1\n", env!("CARGO_PKG_VERSION"));
    let text = read(&control);
    assert!(text.contains(&version), "{text}");
    fs::write(&control, text.replace(&version, "Version: 1000.0.0-1\n")).expect("written");
    let configuration = tree.join(CONFIGURATION);
    fs::write(
        &configuration,
        read(&configuration) + "\n# Of the newer version.\n",
    )
    .expect("written");
    dpkg_deb(&[
        Path::new("--root-owner-group"),
        Path::new("-Znone"),
        Path::new("--build"),
        &tree,
        &to,
    ]);
    to
}

#[test]
fn a_new_installation_has_all_its_files_and_is_not_started() {
    let root = Root::new();
    let said = root.install(&package());
    assert!(
        said.contains("not configured yet") && said.contains("DEFAULT_DELIVERY_STREAM_ARN"),
        "{said}"
    );
    assert!(root.has(ENABLED));
    for (path, mode) in [
        ("usr/bin/kinesis-edge", 0o755),
        ("usr/lib/kinesis-edge/memory-max", 0o755),
        (UNIT, 0o644),
        (CONFIGURATION, 0o600),
        ("usr/share/man/man1/kinesis-edge.1.gz", 0o644),
        ("usr/share/man/man1/kinesis-edge-run.1.gz", 0o644),
        ("usr/share/man/man1/kinesis-edge-queue-drain.1.gz", 0o644),
        ("usr/share/bash-completion/completions/kinesis-edge", 0o644),
        (
            "usr/share/fish/vendor_completions.d/kinesis-edge.fish",
            0o644,
        ),
        ("usr/share/zsh/vendor-completions/_kinesis-edge", 0o644),
        ("usr/share/doc/kinesis-edge/README.md", 0o644),
        ("usr/share/doc/kinesis-edge/NOTICES.gz", 0o644),
        ("usr/share/doc/kinesis-edge/copyright", 0o644),
        ("usr/share/doc/kinesis-edge/changelog.Debian.gz", 0o644),
    ] {
        let metadata =
            fs::metadata(root.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
    }
    assert!(
        read(root.path("usr/share/doc/kinesis-edge/copyright"))
            .contains("Files: src/telemetry/page/uplot/*")
    );
    assert_eq!(
        read(root.path(UNIT)),
        read("packaging/kinesis-edge.service")
    );
    assert_eq!(root.dpkg(&["--verify", "kinesis-edge"]), "");
}

/// Where the links of a document lead, those to other sites and within it aside.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

#[test]
fn its_documents_have_what_they_link_to() {
    // What is of the source alone; the licence is in `copyright`.
    const OF_THE_SOURCE: [&str; 3] = ["LICENSE", "deny.toml", "fuzz/README.md"];
    let root = Root::new();
    root.install(&package());
    for document in [
        "README.md",
        "MIGRATION.md",
        "SECURITY.md",
        "BENCHMARKS.md",
        "policies/README.md",
        "examples/scale-out/README.md",
        "packaging/README.md",
        "packaging/greengrass/README.md",
        "packaging/layout/README.md",
    ] {
        let path = root.path("usr/share/doc/kinesis-edge").join(document);
        let text = read(&path);
        for link in links(&text).filter(|link| !OF_THE_SOURCE.contains(link)) {
            let there = path.parent().expect("a folder").join(link);
            assert!(there.exists(), "{document}: there is no {link}");
        }
    }
}

#[test]
fn its_notices_are_of_what_is_linked() {
    let root = Root::new();
    root.install(&package());
    let path = root.path("usr/share/doc/kinesis-edge/NOTICES.gz");
    let notices = run(Command::new("gzip").arg("-dc").arg(path));
    for name in ["tokio", "rustls", "aws-sdk-firehose", "uPlot"] {
        assert!(notices.contains(&format!("\n{name} ")), "{name}");
    }
    assert!(notices.contains("Copyright (c) Tokio Contributors"));
}

#[test]
fn its_program_is_the_small_one() {
    let root = Root::new();
    root.install(&package());
    let program = root.path("usr/bin/kinesis-edge");
    let bytes = fs::metadata(&program).expect("it is there").len();
    assert!(bytes <= MAX_PROGRAM_BYTES, "{bytes}");
    let help = run(Command::new(program).arg("--help"));
    for (command, is_there) in [
        ("run", true),
        ("health", true),
        ("local", false),
        ("man", false),
    ] {
        let line = format!("\n  {command} ");
        assert_eq!(help.contains(&line), is_there, "{command}: {help}");
    }
}

#[test]
fn its_list_of_components_is_of_what_is_linked() {
    let root = Root::new();
    root.install(&package());
    let list = read(root.path("usr/share/doc/kinesis-edge/kinesis-edge.cdx.json"));
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list["bomFormat"], "CycloneDX");
    assert_eq!(
        list["metadata"]["component"]["version"],
        env!("CARGO_PKG_VERSION")
    );
    let components = list["components"].as_array().expect("components");
    let find = |name: &str| {
        components
            .iter()
            .find(|component| component["name"] == name)
    };
    for linked in ["tokio", "rustls", "aws-sdk-firehose", "rumqttc"] {
        let component = find(linked).unwrap_or_else(|| panic!("{linked} is missing"));
        assert!(
            component["version"].is_string() && component["licenses"].is_array(),
            "{component}"
        );
    }
    // The stand-in's broker, the tests' library, and what prints manual pages.
    for other in ["mqtt5", "proptest", "clap_mangen"] {
        assert_eq!(find(other), None, "{other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_installation_to_purge() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::start().await;
    let root = Root::new();
    root.install(&package());
    let state = root.path("var/lib/private/kinesis-edge");
    let link = fs::read_link(root.path("var/lib/kinesis-edge")).expect("a link");
    assert_eq!(link, Path::new("private/kinesis-edge"));
    assert!(state.is_dir(), "a QUEUE_DIR in it can be looked at");
    root.configure(&[
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_URL", &world.broker.url()),
        ("QUEUE_DIR", &state.join("queue").display().to_string()),
    ]);
    let configured = read(root.path(CONFIGURATION));
    world.is_served_by(root.start(&world), "installed").await;
    for beside in ["kinesis-edge.env", "device.key"] {
        fs::write(root.path("etc/kinesis-edge").join(beside), "").expect("written");
    }

    let said = root.install(&newer(folder.path()));
    assert!(!said.contains("cannot start"), "{said}");
    assert_eq!(
        read(root.path(CONFIGURATION)),
        configured,
        "what was set is kept"
    );
    assert!(root.has(&format!("{CONFIGURATION}.dpkg-dist")), "{said}");
    let mode = fs::metadata(root.path(CONFIGURATION))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    world.is_served_by(root.start(&world), "upgraded").await;

    root.dpkg(&["--remove", "kinesis-edge"]);
    assert!(!root.has("usr/bin/kinesis-edge") && !root.has(UNIT));
    assert_eq!(
        read(root.path(CONFIGURATION)),
        configured,
        "a removal leaves it"
    );
    assert!(state.join("queue").is_dir(), "a removal leaves what waits");

    root.dpkg(&["--purge", "kinesis-edge"]);
    let left: Vec<_> = fs::read_dir(root.path("etc/kinesis-edge"))
        .expect("it is there")
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(
        root.has("etc/kinesis-edge/device.key"),
        "somebody else's file stays"
    );
    assert!(!state.exists() && !root.has("var/lib/kinesis-edge") && !root.has(ENABLED));
}

#[test]
fn an_untouched_configuration_is_renewed_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = Root::new();
    root.install(&package());
    root.install(&newer(folder.path()));
    assert!(read(root.path(CONFIGURATION)).ends_with("# Of the newer version.\n"));
    root.dpkg(&["--purge", "kinesis-edge"]);
    assert!(!root.has("etc/kinesis-edge"));
}

#[test]
fn an_upgrade_tells_what_keeps_the_service_from_starting() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = Root::new();
    root.install(&package());
    root.configure(&[
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("PUBLISH_INTERVAL", "901"),
    ]);
    let said = root.install(&newer(folder.path()));
    assert!(said.contains("cannot start as it is configured"), "{said}");
    assert!(
        said.contains("PUBLISH_INTERVAL") && said.contains("\"901\""),
        "{said}"
    );
}

/// As on a machine that has booted: what is asked of its systemd is noted.
fn booted() -> Root {
    let root = Root::new();
    fs::create_dir_all(root.path("run/systemd/system")).expect("made");
    let note = format!("echo \"$*\" >> '{}'", root.path("asked").display());
    script(&root.path("bin/deb-systemd-invoke"), &note);
    root
}

/// How often the service was to be started.
fn starts(root: &Root) -> usize {
    let asked = fs::read_to_string(root.path("asked")).unwrap_or_default();
    let starts = asked.lines().filter(|line| line.starts_with("start "));
    starts.count()
}

/// Also after a removal, which leaves the configuration: dpkg then names the version before, as at an upgrade.
#[test]
fn an_installation_starts_what_is_configured_and_an_upgrade_leaves_what_is_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = booted();
    root.install(&package());
    assert_eq!(starts(&root), 0, "without a stream");
    root.configure(&[("DEFAULT_DELIVERY_STREAM_ARN", STREAM)]);
    root.dpkg(&["--remove", "kinesis-edge"]);
    root.install(&package());
    assert_eq!(starts(&root), 1, "installed again");
    root.dpkg(&["--unpack", &package().display().to_string()]);
    root.dpkg(&["--configure", "kinesis-edge"]);
    assert_eq!(starts(&root), 1, "the same version anew");
    root.install(&newer(folder.path()));
    assert_eq!(starts(&root), 1, "upgraded");
    let left: Vec<_> = fs::read_dir(root.path("run")).expect("made").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// Somebody may have put the configuration there before.
#[test]
fn a_new_installation_tells_each_fault() {
    let root = booted();
    fs::create_dir_all(root.path("etc/kinesis-edge")).expect("made");
    let lines = format!("DEFAULT_DELIVERY_STREAM_ARN = \"{STREAM}\"\nPUBLISH_INTERVAL = 901\n");
    fs::write(root.path(CONFIGURATION), lines).expect("written");
    let said = root.install(&package());
    assert!(
        said.contains("not started") && said.contains("PUBLISH_INTERVAL"),
        "{said}"
    );
    assert!(said.contains("more than 900"), "{said}");
    assert_eq!(starts(&root), 0);
}

/// They are there only while the service runs.
#[test]
fn files_that_systemd_hands_over_are_no_faults() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = booted();
    root.install(&package());
    root.configure(&[
        ("DEFAULT_DELIVERY_STREAM_ARN", STREAM),
        ("MQTT_USERNAME", "edge"),
        (
            "MQTT_PASSWORD_FILE",
            "/run/credentials/kinesis-edge.service/mqtt-password",
        ),
    ]);
    let newer = newer(folder.path());
    let said = root.install(&newer);
    assert!(!said.contains("cannot start"), "{said}");
    root.dpkg(&["--remove", "kinesis-edge"]);
    root.install(&package());
    assert_eq!(starts(&root), 1);

    // Others are, beside them too.
    let configured = read(root.path(CONFIGURATION));
    for (line, fault) in [
        ("IOT_CA_FILE = \"/etc/none.pem\"", "IOT_CA_FILE"),
        ("PUBLISH_INTERVAL = 901", "PUBLISH_INTERVAL"),
    ] {
        fs::write(root.path(CONFIGURATION), format!("{configured}{line}\n")).expect("written");
        let said = root.install(&newer);
        assert!(
            said.contains("cannot start") && said.contains(fault),
            "{said}"
        );
        assert!(!said.contains("mqtt-password"), "{said}");
    }
}

fn field(package: &Path, name: &str) -> String {
    let said = run(Command::new("dpkg-deb")
        .arg("--field")
        .arg(package)
        .arg(name));
    said.trim_end().to_owned()
}

/// For the machine that builds it, what is linked says which.
#[test]
fn it_depends_on_the_c_library() {
    let depends = field(&package(), "Depends");
    assert!(depends.contains("libc6 (>= 2."), "{depends}");
}

/// For other machines nothing says which but the release, which links for one.
#[test]
fn a_package_of_the_release_depends_on_the_c_library_that_it_is_linked_for() {
    let cargo = read("Cargo.toml");
    let variant = cargo
        .split_once("[package.metadata.deb.variants.linked-for-release]\n")
        .and_then(|(_, rest)| rest.split_once("\n\n"))
        .expect("it is there")
        .0;
    assert!(variant.contains("name = \"kinesis-edge\""), "{variant}");
    let workflow = yaml(".github/workflows/release.yml");
    let builds = &workflow["jobs"]["build"]["strategy"]["matrix"]["include"];
    let builds = builds.as_array().expect("a list").iter();
    let linked: Vec<_> = builds.filter_map(|build| build["glibc"].as_str()).collect();
    assert_eq!(linked.len(), 3);
    for glibc in linked {
        let wanted = format!("depends = \"libc6 (>= {})\"", &glibc[1..]);
        assert!(variant.contains(&wanted), "{variant}");
    }
    let script = read("packaging/build-deb");
    let for_target = script
        .split_once("--target \"$TARGET\"")
        .expect("it builds for one")
        .1;
    assert!(for_target.contains("--variant linked-for-release"));
}
