//! The rows of the table about the disk: both directions of each, and the checks across them.

use super::*;

const TIB: u64 = 1024 * 1024 * 1024 * 1024;

/// A path of a test, as text.
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What is wrong with each of two directories.
fn problems(queue: &Path, dead_letters: &Path) -> Vec<(&'static str, String)> {
    let set = [
        ("QUEUE_DIR", text(queue)),
        ("DEAD_LETTER_DIR", text(dead_letters)),
    ];
    let faults = with(&set).err().map(|faults| faults.0).unwrap_or_default();
    faults
        .into_iter()
        .map(|fault| (fault.parameter, fault.problem))
        .collect()
}

/// One problem of DEAD_LETTER_DIR, with these words in it.
fn check(problems: &[(&'static str, String)], words: &str) {
    let [("DEAD_LETTER_DIR", problem)] = problems else {
        panic!("{problems:?}")
    };
    assert!(problem.contains(words), "{problem}");
}

#[test]
fn numbers() {
    for name in ["QUEUE_DIR_MAX_BYTES", "DEAD_LETTER_MAX_BYTES"] {
        for text in ["0", "-1", "1GiB", "1e9", "01073741824", "1073741824.0"] {
            bad(name, text);
        }
        assert!(
            bad(name, &(TIB + 1).to_string())
                .problem
                .contains("more than")
        );
    }
    for bytes in [8_388_608, 4_294_967_296, TIB] {
        let parameters = good("QUEUE_DIR_MAX_BYTES", &bytes.to_string());
        assert_eq!(parameters.queue_dir_max_bytes, bytes);
    }
    bad("QUEUE_DIR_MAX_BYTES", "8388607");
    for bytes in [1_048_576, 4_294_967_296, TIB] {
        let parameters = good("DEAD_LETTER_MAX_BYTES", &bytes.to_string());
        assert_eq!(parameters.dead_letter_max_bytes, bytes);
    }
    bad("DEAD_LETTER_MAX_BYTES", "1048575");
    for milliseconds in [0, 1, 2, 1000] {
        let parameters = good("COMMIT_INTERVAL_MS", &milliseconds.to_string());
        let expected = Duration::from_millis(milliseconds);
        assert_eq!(parameters.commit_interval, expected);
    }
    for text in ["1001", "-1", "0.5", "2ms", "02"] {
        bad("COMMIT_INTERVAL_MS", text);
    }
}

#[test]
fn a_directory_is_there_or_its_parent_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "file", b"");
    let missing = folder.path().join("missing");
    for name in ["QUEUE_DIR", "DEAD_LETTER_DIR"] {
        let found = |text: &str| {
            let parameters = good(name, text);
            let (queue, dead_letters) = (parameters.queue_dir, parameters.dead_letter_dir);
            assert_ne!(queue.is_some(), dead_letters.is_some());
            queue.or(dead_letters).unwrap()
        };
        assert_eq!(found(text(folder.path())), folder.path());
        assert_eq!(found(text(&missing)), missing);
        // Slashes and dots that could not be created are left out.
        assert_eq!(found(&format!("{}//./", text(&missing))), missing);
        // Tests run in the package's folder.
        assert_eq!(found("src"), Path::new("src"));
        assert_eq!(found("no-such-queue"), Path::new("no-such-queue"));
        assert_eq!(found("./no-such-queue"), Path::new("./no-such-queue"));

        assert!(bad(name, &file).problem.contains("not a directory"));
        let slash = format!("{file}/");
        assert!(bad(name, &slash).problem.contains("not a directory"));
        bad(name, &format!("{file}/queue"));
        let deep = missing.join("queue");
        let problem = bad(name, text(&deep)).problem;
        assert!(problem.contains(text(&missing)), "{problem}");
        bad(name, "no-such-folder/queue");
        for strange in ["queue\n", "que\0ue", " queue", "queue "] {
            bad(name, strange);
        }
    }
    assert!(!missing.exists(), "reading a configuration creates nothing");
}

#[cfg(unix)]
#[test]
fn a_link_to_nowhere_is_no_directory() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path().join("missing"), &link).unwrap();
    assert!(bad("QUEUE_DIR", text(&link)).problem.contains("link"));
}

#[test]
fn queue_and_dead_letters_are_apart() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "one-more"].map(|name| folder.path().join(name));
    // Names that begin alike are no matter, whether the directories are there or not.
    assert_eq!(problems(&one, &two), []);
    check(&problems(&one, &one), "as well");
    std::fs::create_dir(&one).unwrap();
    assert_eq!(problems(&one, &two), []);
    assert_eq!(problems(&two, &one), []);
    check(&problems(&one, &one.join("")), "as well");
    check(&problems(&one, &two.join("../one")), "cannot be created");
    check(&problems(&one, &one.join("../one")), "as well");
    check(&problems(&one, &one.join("dead")), "lies in QUEUE_DIR");
    check(&problems(&one.join("queue"), &one), "QUEUE_DIR lies in it");
    check(
        &problems(Path::new("src/parameters"), Path::new("src")),
        "QUEUE_DIR lies in it",
    );
    let here = std::env::current_dir().unwrap();
    check(&problems(Path::new("queue"), &here), "QUEUE_DIR lies in it");
    check(
        &problems(Path::new("queue"), &here.join("queue")),
        "as well",
    );
}

#[cfg(unix)]
#[test]
fn a_link_hides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [one, link] = ["one", "link"].map(|name| folder.path().join(name));
    std::fs::create_dir(&one).unwrap();
    std::os::unix::fs::symlink(&one, &link).unwrap();
    check(&problems(&one, &link), "as well");
    check(&problems(&one, &link.join("dead")), "lies in QUEUE_DIR");
    check(&problems(&link.join("queue"), &one), "QUEUE_DIR lies in it");
}

#[test]
fn a_queue_on_disk_needs_more_memory() {
    let folder = tempfile::tempdir().unwrap();
    let read = |memory: &str, queue: &str| with(&[("MEMORY_SIZE", memory), ("QUEUE_DIR", queue)]);
    let queue = text(folder.path());
    assert!(read("32768", queue).is_ok());
    assert!(read("28672", "").is_ok());
    // Whether the directory can be used or not, so that one fault does not hide the other.
    for (queue, count) in [(queue, 1), ("/nonexistent/queue", 2)] {
        let faults = read("0032767", queue).unwrap_err();
        assert_eq!(faults.0.len(), count, "{faults}");
        let fault = &faults.0[0];
        assert_eq!(fault.parameter, "MEMORY_SIZE");
        assert_eq!(fault.value.as_deref(), Some("\"0032767\""));
        for part in ["QUEUE_DIR", "32768 KB"] {
            assert!(fault.problem.contains(part), "{fault}");
        }
    }
    // Too little for anything is one fault.
    let faults = read("28671", queue).unwrap_err();
    assert_eq!(faults.0.len(), 1, "{faults}");
    assert!(faults.0[0].problem.contains("28672"), "{faults}");
    // Dead letters alone need no more.
    assert!(with(&[("MEMORY_SIZE", "28672"), ("DEAD_LETTER_DIR", queue)]).is_ok());
}
