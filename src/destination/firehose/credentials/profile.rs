//! What is wrong with a profile that somebody named: the SDK takes a file that it cannot read for an empty one, and a
//! profile that is nowhere for none, and whoever looks on would find credentials of another identity, or none at all.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::arn::quoted;
use crate::parameters;

/// The variable that names a profile.
const PROFILE: &str = "AWS_PROFILE";

/// The files that profiles are in: the variable that names each, and where it is otherwise.
const FILES: [(&str, &str); 2] = [
    ("AWS_CONFIG_FILE", "~/.aws/config"),
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
];

/// How much of a name is shown.
const SHOWN_CHARS: usize = 100;

/// What is wrong with what the environment names, where it names a profile or its files.
pub(super) fn fault() -> Option<String> {
    let profile = parameters::value_of(PROFILE).map(|name| name.to_string_lossy().into_owned());
    let files = FILES.into_iter().filter_map(|(variable, usual)| {
        let named = parameters::value_of(variable);
        // Nobody asked for those that are where they usually are.
        let is_asked_for = named.is_some() || profile.is_some();
        is_asked_for.then(|| {
            let path = named.map_or_else(|| PathBuf::from(usual), PathBuf::from);
            at_home(&path)
        })
    });
    fault_of(profile.as_deref(), &files.collect::<Vec<_>>())
}

/// The path that `~` begins.
fn at_home(path: &Path) -> PathBuf {
    let rest = path.strip_prefix("~").ok();
    let home = parameters::value_of("HOME").map(PathBuf::from);
    match (rest, home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

fn fault_of(profile: Option<&str>, files: &[PathBuf]) -> Option<String> {
    let mut is_there = false;
    for path in files {
        match read(path) {
            Ok(text) => is_there |= profile.is_some_and(|profile| has_section(&text, profile)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Some(format!(
                    "{} cannot be read: {error}; give the user that this runs as the right to read it",
                    path.display()
                ));
            }
        }
    }
    let profile = profile.filter(|_| !is_there)?;
    let paths: Vec<_> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    Some(format!(
        "{PROFILE} names the profile {}, and there is none of this name in {}; correct the name, or unset it",
        quoted(profile, SHOWN_CHARS),
        paths.join(" or ")
    ))
}

fn read(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// Whether a section may be of this profile: `[name]` or `[profile name]`.
fn has_section(text: &str, profile: &str) -> bool {
    let mut heads = text
        .lines()
        .filter(|line| line.trim_start().starts_with('['));
    heads.any(|head| head.contains(profile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_and_is_not_there_or_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        let missing = folder.path().join("missing");
        fs::write(
            &config,
            "[default]\nregion = x\n[profile press 7]\nregion = x\n",
        )
        .unwrap();
        let files = [config, missing];
        for there in [None, Some("press 7"), Some("default")] {
            assert_eq!(fault_of(there, &files), None, "{there:?}");
        }
        let told = fault_of(Some("region"), &files).unwrap();
        for part in ["AWS_PROFILE", "\"region\"", "config", "missing"] {
            assert!(told.contains(part), "{told}");
        }
        // Nobody can read a directory as a file, not even root.
        let unreadable = [folder.path().to_owned()];
        for profile in [None, Some("press 7")] {
            let told = fault_of(profile, &unreadable).unwrap();
            let folder = folder.path().display().to_string();
            assert!(
                told.starts_with(&format!("{folder} cannot be read: ")),
                "{told}"
            );
        }
    }
}
