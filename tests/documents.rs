//! The documents: their links lead somewhere, and the guide for those who move over names every key of the original
//! and only parameters that there are.

use std::fs;

use kinesis_edge::parameters::PARAMETERS;

/// The documents in the package's folder that link to each other.
const DOCUMENTS: [&str; 3] = ["README.md", "MIGRATION.md", "examples/scale-out/README.md"];

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names under which the headings of a document are linked to.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Where the links of a text lead, those to other sites aside.
fn links(text: &str) -> Vec<String> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let near = targets.filter(|target| !target.contains("://"));
    near.map(str::to_owned).collect()
}

#[test]
fn links_to_sections_lead_to_one() {
    for document in DOCUMENTS {
        let own = text(document);
        for link in links(&own) {
            let Some((path, anchor)) = link.split_once('#') else {
                continue;
            };
            let there = match path {
                "" => own.clone(),
                path => {
                    let folder = std::path::Path::new(document).parent().expect("a folder");
                    text(folder.join(path).to_str().expect("it is text"))
                }
            };
            assert!(
                anchors(&there).iter().any(|found| found == anchor),
                "{document}: there is no {link}"
            );
        }
    }
}

#[test]
fn the_guide_names_every_key_of_the_original() {
    let guide = text("MIGRATION.md");
    for key in [
        "DefaultDeliveryStreamArn",
        "DeliveryStreamQueueSize",
        "MemorySize",
        "PublishInterval",
        "IsolationMode",
        "GreengrassContainer",
        "NoContainer",
        "lambdaExecutionParameters.EnvironmentVariables",
        "containerMode",
        "containerParams.memorySize",
        "pubsubTopics",
        "\"type\": \"Pubsub\"",
        "\"type\": \"IotCore\"",
        "aws.greengrass.LegacySubscriptionRouter",
        "aws.greengrass.TokenExchangeService",
        "firehose:PutRecordBatch",
        "kinesisfirehose/message/binary/",
        "kinesisfirehose/message/status",
        "greengrasssdk",
    ] {
        assert!(guide.contains(key), "{key} is not in the guide");
    }
}

/// `build.rs` leaves the layout out for that linker, and so for what people download.
#[test]
fn what_has_no_layout_in_memory_is_told() {
    assert!(text("build.rs").contains("\"zig\""));
    assert!(text(".github/workflows/release.yml").contains("cargo zigbuild"));
    for document in [
        "README.md",
        "BENCHMARKS.md",
        "packaging/README.md",
        "packaging/layout/README.md",
    ] {
        assert!(text(document).contains("linked by zig"), "{document}");
    }
}

/// The page and the metrics are off unless it is set.
#[test]
fn the_guide_sets_what_its_steps_look_at() {
    let guide = text("MIGRATION.md");
    let steps = guide
        .split_once("\n## Moving a device over\n")
        .expect("steps")
        .1;
    let set = steps.find("`HTTP_LISTEN=").expect("it is set");
    for looked_at in ["/readyz", "on the page", "kinesis_edge_records_held"] {
        let at = steps.find(looked_at).expect(looked_at);
        assert!(set < at, "{looked_at}");
    }
}

#[test]
fn the_guide_names_no_parameter_that_there_is_not() {
    let guide = text("MIGRATION.md");
    let quoted = guide.split('`').skip(1).step_by(2);
    let names = quoted.filter_map(|quoted| {
        let name = quoted.split(['=', ' ']).next()?;
        let is_name =
            name.contains('_') && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        is_name.then_some(name)
    });
    let mut count = 0;
    for name in names {
        assert!(
            PARAMETERS.iter().any(|parameter| parameter.env == name),
            "{name} is no parameter"
        );
        count += 1;
    }
    assert!(count > 20, "{count} names are found");
}
