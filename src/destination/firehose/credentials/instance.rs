//! Whether there can be instance metadata: asking for it where nobody answers takes seconds, and on somebody else's
//! network it asks a stranger.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::parameters;

/// What the firmware says of the machine.
const FIRMWARE: &str = "/sys/class/dmi/id";

/// Its entries that name the maker on EC2: `Amazon EC2`, or on older instances a version that ends with `.amazon`.
/// Source: EC2 user guide, "Detect whether a host is an EC2 instance".
const ENTRIES: [&str; 4] = ["sys_vendor", "board_vendor", "bios_vendor", "bios_version"];

/// Who sets one of these wants the instance to be asked, or not; the SDK reads what they say.
const SET_BY_HAND: [&str; 3] = [
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
];

/// Whether this is an EC2 instance as far as one can see, or somebody said that it is to be asked.
pub(super) fn can_answer() -> bool {
    SET_BY_HAND.into_iter().any(parameters::is_set) || may_be_ec2(Path::new(FIRMWARE))
}

fn may_be_ec2(firmware: &Path) -> bool {
    // EC2 has firmware that says so on each of its processors: where there is none, it is another machine.
    ENTRIES.iter().any(|entry| {
        match fs::read_to_string(firmware.join(entry)) {
            Ok(text) => text.to_ascii_lowercase().contains("amazon"),
            // Hidden from us: it may.
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(entries: &[(&str, &str)]) -> bool {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in entries {
            fs::write(folder.path().join(name), text).unwrap();
        }
        may_be_ec2(folder.path())
    }

    #[test]
    fn the_firmware_tells() {
        for (entries, expected) in [
            (&[("sys_vendor", "Amazon EC2\n")][..], true),
            (
                &[("sys_vendor", "Xen\n"), ("bios_version", "4.11.amazon\n")],
                true,
            ),
            (
                &[("sys_vendor", "QEMU\n"), ("bios_version", "1.16.3\n")],
                false,
            ),
            // A board without such firmware.
            (&[], false),
        ] {
            assert_eq!(machine(entries), expected, "{entries:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_does_not_tell() {
        let folder = tempfile::tempdir().unwrap();
        // Nobody can read a directory as a file, not even root.
        fs::create_dir(folder.path().join("sys_vendor")).unwrap();
        assert!(may_be_ec2(folder.path()));
    }
}
