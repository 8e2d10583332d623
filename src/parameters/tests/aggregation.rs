//! What a Firehose record holds: each parameter in both directions, and their checks against the others.

use super::super::aggregation as records;
use super::*;
use crate::aggregate::Compression;

const DELIMITED: (&str, &str) = ("RECORD_AGGREGATION", "delimited");

fn aggregation(set: &[(&str, &str)]) -> Aggregation {
    let read = with(&[&[DELIMITED], set].concat());
    read.unwrap_or_else(|faults| panic!("{faults}"))
        .aggregation
        .unwrap()
}

/// The parameters that have faults, and what is said of the first.
fn faults(set: &[(&str, &str)]) -> (Vec<&'static str>, String) {
    let faults = with(set).expect_err(&format!("{set:?}"));
    let names = faults.0.iter().map(|fault| fault.parameter).collect();
    (names, faults.0[0].problem.clone())
}

#[test]
fn a_delimiter_is_text_with_escapes() {
    let delimiter = |text| good("RECORD_DELIMITER", text).record_delimiter.unwrap();
    assert_eq!(delimiter(r"\n"), Delimiter::NEWLINE);
    assert_eq!(delimiter(r"\x1e\\,").as_bytes(), b"\x1e\\,");
    assert_eq!(good("RECORD_DELIMITER", r"\n").aggregation, None);
    for text in [r"\", r"\q", r"\x0", "12345678901234567"] {
        bad("RECORD_DELIMITER", text);
    }
}

#[test]
fn records_are_joined_with_a_newline_unless_another_delimiter_is_set() {
    let parameters = with(&[DELIMITED]).unwrap();
    assert_eq!(parameters.record_delimiter, Some(Delimiter::NEWLINE));
    assert_eq!(
        parameters.aggregation,
        Some(Aggregation {
            delimiter: Delimiter::NEWLINE,
            max_bytes: 102_400,
            compression: None,
        })
    );
    let other = with(&[DELIMITED, ("RECORD_DELIMITER", ";")]).unwrap();
    assert_eq!(other.record_delimiter.unwrap().as_bytes(), b";");
    assert_eq!(other.aggregation.unwrap().delimiter.as_bytes(), b";");
    for text in ["Delimited", "lines", "json", "true"] {
        bad("RECORD_AGGREGATION", text);
    }
}

#[test]
fn how_large_they_become() {
    for bytes in ["5120", "51201", "1024000"] {
        let max_bytes = aggregation(&[("AGGREGATION_MAX_BYTES", bytes)]).max_bytes;
        assert_eq!(max_bytes.to_string(), bytes);
    }
    for bytes in ["0", "5119", "1024001", "100k"] {
        let (names, _) = faults(&[DELIMITED, ("AGGREGATION_MAX_BYTES", bytes)]);
        assert_eq!(names, ["AGGREGATION_MAX_BYTES"], "{bytes}");
    }
}

#[test]
fn how_they_are_compressed() {
    for (text, compression) in [
        ("none", None),
        ("gzip", Some(Compression::Gzip)),
        ("zstd", Some(Compression::Zstd)),
    ] {
        let aggregation = aggregation(&[("RECORD_COMPRESSION", text)]);
        assert_eq!(aggregation.compression, compression);
        let max_bytes = if text == "none" { 102_400 } else { 512_000 };
        assert_eq!(aggregation.max_bytes, max_bytes);
    }
    for text in ["Gzip", "gz", "lz4", "zstd:9"] {
        let (names, _) = faults(&[DELIMITED, ("RECORD_COMPRESSION", text)]);
        assert_eq!(names, ["RECORD_COMPRESSION"], "{text}");
    }
}

#[test]
fn what_needs_aggregation_says_so() {
    for (name, value) in [
        ("AGGREGATION_MAX_BYTES", "51200"),
        ("RECORD_COMPRESSION", "zstd"),
    ] {
        let problem = bad(name, value).problem;
        assert!(
            problem.contains("RECORD_AGGREGATION=delimited"),
            "{problem}"
        );
        // It is what the wrong word would have been for.
        let (names, _) = faults(&[("RECORD_AGGREGATION", "lines"), (name, value)]);
        assert_eq!(names, ["RECORD_AGGREGATION"]);
    }
    assert_eq!(good("RECORD_COMPRESSION", "none").aggregation, None);
}

#[test]
fn there_is_nothing_to_join_without_batches() {
    let (_, problem) = faults(&[
        DELIMITED,
        ("PUBLISH_INTERVAL", "0"),
        ("CONNECTOR_VERSION", "1"),
    ]);
    assert!(problem.contains("PUBLISH_INTERVAL") && problem.contains("CONNECTOR_VERSION"));
    for (other, why) in [
        (("PUBLISH_INTERVAL", "0"), "PUBLISH_INTERVAL is 0"),
        (("CONNECTOR_VERSION", "1"), "CONNECTOR_VERSION is 1"),
    ] {
        let (names, problem) = faults(&[DELIMITED, other, ("RECORD_COMPRESSION", "gzip")]);
        assert_eq!(names, ["RECORD_AGGREGATION"]);
        assert!(problem.contains(why), "{problem}");
        assert!(with(&[other, ("RECORD_DELIMITER", r"\n")]).is_ok());
    }
}

#[test]
fn compression_needs_memory() {
    let directory = tempfile::tempdir().unwrap();
    let queue_dir = ("QUEUE_DIR", directory.path().to_str().unwrap());
    let zstd = ("RECORD_COMPRESSION", "zstd");
    for (set, least) in [(vec![], 34_816), (vec![queue_dir], 38_912)] {
        let set = [&set[..], &[DELIMITED, zstd]].concat();
        let enough = least.to_string();
        assert!(with(&[&set[..], &[("MEMORY_SIZE", &enough)]].concat()).is_ok());
        let less = (least - 1).to_string();
        let (names, problem) = faults(&[&set[..], &[("MEMORY_SIZE", &less)]].concat());
        assert_eq!(names, ["MEMORY_SIZE"]);
        assert!(problem.contains(&enough), "{problem}");
        // One fault, not two, where it is too small anyway.
        let (names, _) = faults(&[&set[..], &[("MEMORY_SIZE", "28000")]].concat());
        assert_eq!(names, ["MEMORY_SIZE"]);
    }
    assert!(with(&[DELIMITED, ("MEMORY_SIZE", "28672")]).is_ok());
}

#[test]
fn commands_that_send_read_these_and_no_others() {
    let command = Command::new("drain").args(args_sending());
    command.clone().debug_assert();
    let arguments = [
        "drain",
        "--record-aggregation=delimited",
        "--record-compression=gzip",
    ];
    let matches = command.try_get_matches_from(arguments).unwrap();
    let sources = Sources::new(&matches, &|_| None);
    let read = records::read(
        &mut Reader::new(&|parameter| Some(sources.find(parameter)?.0)),
        records::Rest::NONE,
    );
    let compression = read.ok().unwrap().aggregation.unwrap().compression;
    assert_eq!(compression, Some(Compression::Gzip));
}
