//! What root is allowed says little of what the connector is, whose user is another one mostly: root may read and
//! write everywhere. So where root asks, what only root's rights have shown is told as that.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::files::{ROOT, is_root};

/// Bit of a file's mode: those who are neither its owner nor in its group may read it.
const OTHERS_READ: u32 = 0o004;

/// What to add where a directory can be written; empty where nobody needs to know more. One that is not there would
/// be root's.
pub(super) fn of_directory(path: &Path) -> String {
    if !is_root() {
        return String::new();
    }
    directory_of(fs::metadata(path).map_or(ROOT, |directory| directory.uid()))
}

fn directory_of(owner: u32) -> String {
    let whose = match owner {
        ROOT => "if the connector runs as another user, run `check` as that one".to_owned(),
        other => format!("it belongs to uid {other}, so run `check` as the connector's user"),
    };
    format!("; but root, who asks, may write everywhere: {whose}")
}

/// The same where files can be read.
pub(super) fn of_files<'a>(paths: impl IntoIterator<Item = &'a Path>) -> String {
    if !is_root() {
        return String::new();
    }
    let closed = paths.into_iter().filter(|path| {
        fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OTHERS_READ == 0)
    });
    files_of(
        &closed
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>(),
    )
}

fn files_of(closed: &[String]) -> String {
    if closed.is_empty() {
        return String::new();
    }
    format!(
        "; but root, who asks, may read everything: whether the connector's user may read {} shows when `check` runs as \
         that user",
        closed.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_directory_is_is_told() {
        assert!(directory_of(1001).contains("belongs to uid 1001"));
        assert!(directory_of(ROOT).contains("if the connector runs as another user"));
    }

    #[test]
    fn of_files_that_everybody_reads_there_is_nothing_to_say() {
        assert_eq!(files_of(&[]), "");
        let said = files_of(&["key".to_owned(), "password".to_owned()]);
        assert!(said.contains("may read key and password shows"), "{said}");
    }
}
