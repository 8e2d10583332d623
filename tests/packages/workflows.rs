//! The workflows can be read, and build for every architecture that a package names.

use super::recipe::recipe;
use super::{read, yaml};

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
