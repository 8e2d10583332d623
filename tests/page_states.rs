//! The page of the connector in a browser, against scripted states: `tests/page/states.py` holds the promises, one test each, and
//! `tests/page/stand_in.py` the states. Ends by itself, as each of its waits does.

mod common;

use std::process::Command;

use common::python;

#[test]
fn the_page_says_how_things_are_in_every_state() {
    let output = Command::new(python())
        .arg("tests/page/states.py")
        .output()
        .expect("Python starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
