//! What can be wrong with the directories, and with files that are secret.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use kinesis_edge::local::{CallFault, Faults};

use crate::common::{App, SmallDisk};
use crate::site::{NO_SEND, Site, with_password};

/// A site whose queue is on a small disk of its own.
async fn on_a_small_disk(kib: u32) -> (Site, SmallDisk, String) {
    let mut site = Site::new().await;
    let disk = SmallDisk::new(kib);
    site.wrapper = disk.enter();
    let queue = disk.path().join("queue").display().to_string();
    site.set("QUEUE_DIR", &*queue);
    let mut words = disk.enter();
    words.extend(["mkdir".to_owned(), queue.clone()]);
    run(&words);
    (site, disk, queue)
}

fn run(words: &[String]) {
    let status = std::process::Command::new(&words[0])
        .args(&words[1..])
        .status();
    assert!(status.expect("it starts").success(), "{words:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_named() {
    let (site, disk, queue) = on_a_small_disk(6 * 1024).await;
    // Less than the bound, and enough to begin with.
    let report = site.check(&[]).await;
    report.is(&[NO_SEND]).says(
        "queue",
        &["can be written", "QUEUE_DIR_MAX_BYTES", "full first"],
    );
    let mut fill = disk.enter();
    let file = disk.path().join("others").display().to_string();
    let fill_up = |mib: &str| {
        vec![
            "sh".to_owned(),
            "-c".to_owned(),
            format!("head -c {mib} /dev/zero >{file} 2>&1; true"),
        ]
    };
    let mut nearly = fill.clone();
    nearly.extend(fill_up("3M"));
    run(&nearly);
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND, ("queue", "failed")])
        .says("queue", &["KiB are free", "nearly full", "make room"]);
    fill.extend(fill_up("20M"));
    run(&fill);
    let report = site.check(&[]).await;
    report.is(&[NO_SEND, ("queue", "failed")]).says(
        "queue",
        &[&queue, "No space left", "the disk is full", "make room"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_cannot_be_written_is_named() {
    let (site, disk, queue) = on_a_small_disk(16 * 1024).await;
    site.check(&[])
        .await
        .is(&[NO_SEND])
        .says("queue", &["intact", "0 records"]);
    disk.set_read_only(true);
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND, ("queue", "failed")])
        .says("queue", &[&queue, "Read-only file system", "for writing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_named_and_left_as_it_is() {
    let site = Site::new().await;
    let queue = site.folder.path().join("queue");
    let letters = site.folder.path().join("letters");
    let app = App::connect(site.broker.port).await;
    site.endpoint.faults().set_all(Faults {
        call: CallFault::ServerError,
        ..Faults::default()
    });
    let mut connector = site.connector(&[("SHUTDOWN_TIMEOUT", "0")]);
    app.until_answered().await;
    for number in 0..20 {
        app.request(
            &number.to_string(),
            "some data that is long enough to be hit",
        )
        .await;
    }
    app.flush().await;
    // It comes behind the others.
    app.until_answered().await;
    connector.signal("TERM");
    connector.wait();
    site.endpoint.faults().clear();
    fs::write(letters.join("letters-0000000007.log"), [7; 500]).unwrap();
    fs::write(letters.join("letters-0000000008.log"), b"").unwrap();
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND, ("dead-letters", "failed")])
        .says("queue", &["20 records wait"])
        .says(
            "dead-letters",
            &["letters-0000000007.log", "dead-letters ls"],
        );

    let segment = fs::read_dir(&queue)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "log"))
        .expect("there is a file of the queue");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&segment, &bytes).unwrap();
    let report = site.check(&[]).await;
    report
        .is(&[NO_SEND, ("queue", "failed"), ("dead-letters", "failed")])
        .says("queue", &["damaged", "queue ls", "queue repair"]);
    assert_eq!(fs::read(&segment).unwrap(), bytes);
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_every_user_can_read_is_told() {
    let mut site = Site::with_broker(with_password(&[], &[])).await;
    let file = site.folder.path().join("password");
    fs::write(&file, "the right one\n").unwrap();
    site.set("MQTT_USERNAME", "edge");
    site.set("MQTT_PASSWORD_FILE", file.display().to_string());
    for mode in [0o644, 0o602] {
        allow(&file, mode);
        let report = site.check(&[]).await;
        report.is(&[NO_SEND]).says(
            "files",
            &["can be read", "every user", "chmod o=", "password"],
        );
    }
    // A group is how the packaged service may read what is renewed while it runs.
    for mode in [0o640, 0o600] {
        allow(&file, mode);
        let report = site.check(&[]).await;
        let message = report.steps["files"]["message"].as_str().unwrap();
        assert!(message.starts_with("it can be read"), "{message}");
        assert!(!message.contains("chmod"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_roots_rights_show_is_told_as_that() {
    const OTHER: u32 = 12345;
    let mut site = Site::with_broker(with_password(&[], &[])).await;
    let (queue, config) = (site.folder.path().join("queue"), "c.toml");
    fs::create_dir(&queue).unwrap();
    // Who is not root is it in a namespace of its own, and has nobody else there.
    let whose = if chown(&queue, Some(OTHER), None).is_ok() {
        "uid 12345"
    } else {
        site.wrapper = ["unshare", "--user", "--map-root-user"]
            .map(str::to_owned)
            .to_vec();
        "as another user"
    };
    let password = site.folder.path().join("password");
    for (file, text) in [
        (&password, "the right one\n"),
        (&site.folder.path().join(config), "MQTT_USERNAME = 'edge'\n"),
    ] {
        fs::write(file, text).unwrap();
        allow(file, 0o600);
    }
    site.set("MQTT_PASSWORD_FILE", "password");
    let report = site.check(&["--config", config]).await;
    report
        .is(&[NO_SEND])
        .says("parameters", &["root, who asks", "may read c.toml shows"])
        .says("files", &["root, who asks", "may read password shows"])
        .says("queue", &["root, who asks", whose])
        .says("dead-letters", &["root, who asks", "as another user"]);
    // What everybody may read needs no word.
    allow(&site.folder.path().join(config), 0o644);
    let report = site.check(&["--config", config]).await;
    assert_eq!(report.steps["parameters"]["message"], "each is valid");
}
