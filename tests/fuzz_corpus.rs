//! What the fuzz targets found, and what they began with: all of it holds, without a fuzzer.

#[path = "../fuzz/src/lib.rs"]
mod checks;

use std::fs;
use std::path::Path;

/// Gives each file of a target's corpus to its check.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let files = fs::read_dir(&folder).expect("there is a corpus");
    let mut count = 0;
    for file in files {
        let path = file.expect("it can be listed").path();
        // Shown where the check fails.
        println!("{}", path.display());
        check(&fs::read(&path).expect("it can be read"));
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn requests() {
    replay("request", checks::request::check);
}

#[test]
fn arns() {
    replay("arn", checks::arn::check);
}

#[test]
fn parameters() {
    replay("parameters", checks::parameters::check);
}

#[test]
fn segments() {
    replay("segment", checks::segment::check);
}

#[test]
fn http() {
    replay("http", checks::http::check);
}
