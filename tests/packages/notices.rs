//! The notices that go with the program: of what is linked and of nothing else, and with nothing of the machine in them.

use std::env;
use std::process::Command;

use super::run;

fn notices() -> String {
    run(&mut Command::new("packaging/notices"))
}

#[test]
fn they_are_of_what_is_linked() {
    let notices = notices();
    let (listed, texts) = notices.split_once("\n-----").expect("texts");
    for name in [
        "kinesis-edge",
        "tokio",
        "rustls",
        "aws-lc-sys",
        "zstd-sys",
        "rumqttc",
        "uPlot",
    ] {
        assert!(listed.contains(&format!("\n{name} ")), "{name}: {listed}");
    }
    assert!(listed.contains("\nRust's standard library: "));
    // The stand-in's broker, the tests' libraries, and what prints manual pages.
    for name in ["mqtt5", "proptest", "rcgen", "ring", "clap_mangen"] {
        assert!(!listed.contains(&format!("\n{name} ")), "{name}: {listed}");
    }
    for part in [
        "Copyright (c) Tokio Contributors",
        "Copyright (c) 2022 Leon Sorokin",
        "Redistribution and use in source and binary forms",
        "Permission to use, copy, modify, and/or distribute this software",
        "Apache License\n",
    ] {
        assert!(texts.contains(part), "{part}");
    }
    // Of zstd's two licences it is the other that is taken.
    assert!(!texts.contains("GNU GENERAL PUBLIC LICENSE"));
}

#[test]
fn they_tell_nothing_of_the_machine_and_are_the_same_each_time() {
    let first = notices();
    for variable in ["HOME", "CARGO_HOME", "CARGO_MANIFEST_DIR"] {
        let Ok(folder) = env::var(variable) else {
            continue;
        };
        assert!(!first.contains(&format!("{folder}/")), "{folder}");
    }
    assert!(first == notices(), "it differs");
}
