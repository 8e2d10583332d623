//! The workflows can be read, and build for every architecture that a package names.

use std::process::Command;

use serde_json::Value;

use super::recipe::recipe;
use super::{output, read, yaml};

#[test]
fn every_change_is_tested_as_by_hand() {
    let workflow = yaml(".github/workflows/ci.yml");
    let steps = workflow["jobs"]["test"]["steps"].as_array().expect("steps");
    assert!(steps.iter().any(|step| step["run"] == ".ci/run"));
}

#[test]
fn a_release_has_a_program_for_each_manifest_of_the_recipe() {
    let workflow = yaml(".github/workflows/release.yml");
    let builds = workflow["jobs"]["build"]["strategy"]["matrix"]["include"]
        .as_array()
        .expect("a list");
    let recipe = recipe();
    let script = read("packaging/greengrass/build");
    for manifest in recipe["Manifests"].as_array().expect("a list") {
        let architecture = &manifest["Platform"]["architecture"];
        let build = builds
            .iter()
            .find(|build| build["greengrass"] == *architecture);
        let target = build.unwrap_or_else(|| panic!("{architecture}"))["target"]
            .as_str()
            .expect("a target");
        let pair = format!("{}:{target}", architecture.as_str().expect("a name"));
        assert!(script.contains(&pair), "{pair}");
    }
    for triple in ["x86_64", "aarch64", "armv7"] {
        let musl = |target: &str| target.starts_with(triple) && target.contains("musl");
        assert!(
            builds
                .iter()
                .any(|build| build["target"].as_str().is_some_and(musl)),
            "{triple}"
        );
    }
}

/// The commands of a job of the release, step by step.
fn commands(job: &str) -> Vec<String> {
    let workflow = yaml(".github/workflows/release.yml");
    let steps = workflow["jobs"][job]["steps"].as_array().expect("steps");
    let commands = steps.iter().filter_map(|step| step["run"].as_str());
    commands.map(str::to_owned).collect()
}

#[test]
fn a_tag_that_is_not_the_version_is_not_released() {
    let command = commands("build").remove(0);
    for (tag, is_released) in [
        (concat!("v", env!("CARGO_PKG_VERSION")), true),
        ("v1000.0.0", false),
        (env!("CARGO_PKG_VERSION"), false),
    ] {
        let mut test = Command::new("bash");
        let test = test
            .args(["-e", "-c", &command])
            .env("GITHUB_REF_NAME", tag);
        assert_eq!(output(test).status.success(), is_released, "{tag}");
    }
}

/// Ubuntu's own Python refuses to have them installed beside its packages.
#[test]
fn what_pip_installs_has_an_environment() {
    let commands = commands("build");
    let at = |words: &str| commands.iter().position(|command| command.contains(words));
    assert!(at("-m venv").expect("it is made") < at("pip install").expect("it is used"));
    assert!(!read(".github/workflows/release.yml").contains("pip install --user"));
}

/// Beside the programs, in the archive for Greengrass, and in the image.
#[test]
fn notices_go_with_every_program_of_a_release() {
    let publish = commands("publish").remove(0);
    assert!(publish.contains("> out/NOTICES\n"), "{publish}");
    assert!(publish.contains("recipe.yaml -C \"$PWD/out\" NOTICES"));
    assert!(publish.contains("cp out/NOTICES named/container/"));
    let image = read("packaging/container/Dockerfile");
    assert!(image.contains("--chmod=644 /NOTICES "), "{image}");
    let asked = publish.split_once("$(").expect("targets").1;
    let asked = format!("{}p'", asked.split_once("p')").expect("it ends").0);
    let workflow = yaml(".github/workflows/release.yml");
    let builds = &workflow["jobs"]["build"]["strategy"]["matrix"]["include"];
    let targets: Vec<&str> = builds
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|build: &Value| build["target"].as_str())
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("out")).expect("made");
    for target in &targets {
        let program = folder.path().join(format!("out/kinesis-edge-{target}"));
        std::fs::write(program, "").expect("written");
    }
    std::fs::write(folder.path().join("out/kinesis-edge_1_amd64.deb"), "").expect("written");
    let mut list = Command::new("bash");
    let said = output(list.args(["-c", &asked]).current_dir(folder.path()));
    let said = super::stdout(&said);
    assert_eq!(said.lines().count(), targets.len(), "{said}");
    for target in targets {
        assert!(said.contains(&format!("--target {target}\n")), "{said}");
    }
}
