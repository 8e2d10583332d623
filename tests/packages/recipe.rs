//! The Greengrass recipe keeps to what the nucleus and nucleus lite both understand, and to the limits of the latter.

use serde_json::{Map, Value};

use super::{read, yaml};

const RECIPE: &str = "packaging/greengrass/recipe.yaml";

/// Nucleus lite reads a recipe into a buffer of this many bytes (`file_mem` in its `ggl-recipe`).
const MAX_BYTES: usize = 8_196;

/// What the service adds to each artifact when it takes a recipe: `Digest` and `Algorithm`, in bytes.
const ADDED_BYTES: usize = 128;

/// The most objects below one in nucleus lite (`GG_MAX_OBJECT_SUBOBJECTS` in its SDK).
const MAX_OBJECTS: usize = 255;

pub fn recipe() -> Value {
    yaml(RECIPE)
}

/// The manifest of an architecture, as Greengrass calls it.
pub fn manifest(architecture: &str) -> Value {
    let recipe = recipe();
    let manifests = recipe["Manifests"].as_array().expect("a list");
    let manifest = manifests
        .iter()
        .find(|manifest| manifest["Platform"]["architecture"] == architecture);
    manifest.expect(architecture).clone()
}

fn keys(map: &Value) -> Vec<&str> {
    map.as_object()
        .expect("a map")
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn it_has_the_keys_of_a_generic_component() {
    let recipe = recipe();
    let known = [
        "RecipeFormatVersion",
        "ComponentName",
        "ComponentVersion",
        "ComponentType",
        "ComponentDescription",
        "ComponentPublisher",
        "ComponentConfiguration",
        "ComponentDependencies",
        "Manifests",
    ];
    for key in keys(&recipe) {
        assert!(known.contains(&key), "{key}");
    }
    assert_eq!(recipe["RecipeFormatVersion"], "2020-01-25");
    assert_eq!(recipe["ComponentType"], "aws.greengrass.generic");
    let name = recipe["ComponentName"].as_str().expect("a name");
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    assert!(
        name.len() <= 128 && name.bytes().all(is_allowed) && !name.starts_with("aws.greengrass")
    );
    assert_eq!(
        keys(&recipe["ComponentConfiguration"]),
        ["DefaultConfiguration"]
    );
    let exchange = &recipe["ComponentDependencies"]["aws.greengrass.TokenExchangeService"];
    assert_eq!(exchange["DependencyType"], "HARD");
    assert!(exchange["VersionRequirement"].is_string());
}

#[test]
fn its_defaults_are_strings_under_the_keys_of_the_aws_component() {
    let recipe = recipe();
    let defaults = &recipe["ComponentConfiguration"]["DefaultConfiguration"];
    let variables = defaults["lambdaExecutionParameters"]["EnvironmentVariables"].as_object();
    let variables = variables.expect("a map");
    for name in [
        "DEFAULT_DELIVERY_STREAM_ARN",
        "PUBLISH_INTERVAL",
        "DELIVERY_STREAM_QUEUE_SIZE",
    ] {
        assert!(variables.contains_key(name), "{name}");
    }
    for (name, value) in variables {
        let known = kinesis_edge::parameters::PARAMETERS
            .iter()
            .any(|parameter| parameter.env == name);
        assert!(known, "{name} is no parameter");
        let value = value
            .as_str()
            .unwrap_or_else(|| panic!("{name} is no string"));
        assert!(!value.contains('{'), "{name}: lite puts nothing in there");
    }
}

/// The nucleus kills 5 s after SIGTERM (`gracefulShutdownTimeout` in its `util/Exec.java`), and the last statuses may take 2.
#[test]
fn a_stop_ends_before_the_nucleus_kills() {
    let recipe = recipe();
    let defaults = &recipe["ComponentConfiguration"]["DefaultConfiguration"];
    let timeout =
        &defaults["lambdaExecutionParameters"]["EnvironmentVariables"]["SHUTDOWN_TIMEOUT"];
    let seconds: u64 = timeout
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("it is set");
    assert!(seconds + 2 <= 5, "{seconds}");
}

#[test]
fn every_manifest_runs_on_both() {
    let recipe = recipe();
    let manifests = recipe["Manifests"].as_array().expect("a list");
    let architectures: Vec<_> = manifests
        .iter()
        .map(|manifest| &manifest["Platform"]["architecture"])
        .collect();
    assert_eq!(architectures, ["amd64", "aarch64", "arm"]);
    for manifest in manifests {
        assert_eq!(keys(manifest), ["Artifacts", "Lifecycle", "Platform"]);
        let platform = &manifest["Platform"];
        assert_eq!(keys(platform), ["architecture", "os", "runtime"]);
        assert_eq!(
            (&platform["os"], &platform["runtime"]),
            (&"linux".into(), &"*".into())
        );
        // Lite has no shutdown and no recover, and no Skipif.
        assert_eq!(keys(&manifest["Lifecycle"]), ["run"]);
        let run = &manifest["Lifecycle"]["run"];
        assert_eq!(keys(run), ["Script", "Setenv"]);
        let script = run["Script"].as_str().expect("a script");
        assert_eq!(variables(script), ["artifacts:path", "work:path"]);
        for (name, value) in run["Setenv"].as_object().expect("a map") {
            let value = value
                .as_str()
                .unwrap_or_else(|| panic!("{name} is no string"));
            for variable in variables(value) {
                let pointer = variable.strip_prefix("configuration:").expect("a pointer");
                // Lite does not start a component whose recipe names what is not there.
                let found =
                    recipe["ComponentConfiguration"]["DefaultConfiguration"].pointer(pointer);
                assert!(found.is_some(), "{pointer}");
            }
        }
        let [artifact] = &manifest["Artifacts"].as_array().expect("a list")[..] else {
            panic!("one program");
        };
        assert_eq!(keys(artifact), ["Permission", "Uri"]);
        assert_eq!(
            artifact["Permission"],
            Value::from(Map::from_iter([("Execute".to_owned(), "OWNER".into())]))
        );
        let uri = artifact["Uri"].as_str().expect("an address");
        let program = uri
            .strip_prefix("s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/")
            .expect(uri);
        assert!(
            script.contains(&format!("exec \"{{artifacts:path}}/{program}\" run ")),
            "{script}"
        );
    }
}

/// What stands in braces; lite takes every brace for the beginning of a variable.
fn variables(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = text
        .split('{')
        .skip(1)
        .map(|rest| rest.split_once('}').expect("it ends").0)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn nucleus_lite_has_room_for_it() {
    let recipe = recipe();
    let artifacts = recipe["Manifests"].as_array().expect("a list").len();
    let bytes = read(RECIPE).len() + artifacts * ADDED_BYTES;
    assert!(bytes < MAX_BYTES, "{bytes}");
    let objects = objects_below(&recipe) + artifacts * 4;
    assert!(objects <= MAX_OBJECTS, "{objects}");
}

/// As its SDK counts: a pair is two, an item one.
fn objects_below(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len() + items.iter().map(objects_below).sum::<usize>(),
        Value::Object(pairs) => 2 * pairs.len() + pairs.values().map(objects_below).sum::<usize>(),
        _ => 0,
    }
}
