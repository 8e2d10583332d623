//! Whose files are that root makes: a connector mostly runs as another user, and could not read what is left to it by a
//! visit of root's to its queue.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

/// The user that may do everything.
pub const ROOT: u32 = 0;

/// Whether this process is root's.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whom root gives the files to that it makes in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// Whoever has files in this directory, or else has the directory itself. `None` for root, and for whoever is not
    /// root and can give nothing away.
    pub fn of(directory: &Path) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let files = fs::read_dir(directory).into_iter().flatten().flatten();
        // The directory may be a group's, and the files a member's.
        let everything = files
            .map(|file| file.metadata())
            .chain([fs::metadata(directory)]);
        let mut owners = everything.flatten().map(|it| Owner {
            uid: it.uid(),
            gid: it.gid(),
        });
        owners.find(|owner| owner.uid != ROOT)
    }

    /// Gives a file away. Where root is not allowed to, as in some containers, it stays root's.
    pub fn give(self, file: &File, name: &str) {
        if let Err(error) = fchown(file, Some(self.uid), Some(self.gid)) {
            let Owner { uid, .. } = self;
            tracing::warn!(file = name, uid, %error, "a file cannot be given to the user of its directory, and stays root's");
        }
    }
}
