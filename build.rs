//! Two things before the program is built. The files of the page are compressed: so they are embedded, and so
//! they go to a browser. And the linker is told in which order to lay out the functions of the packaged program:
//! those that every device runs side by side, the others behind them (`packaging/layout/README.md`).

use std::env::var;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

const LAYOUT: &str = "packaging/layout/used.ld";
const PAGE: &str = "src/telemetry/page";

fn main() -> io::Result<()> {
    lay_out();
    println!("cargo:rerun-if-changed={PAGE}");
    let to = PathBuf::from(var("OUT_DIR").expect("cargo sets it")).join("page");
    compress(Path::new(PAGE), &to)
}

/// Compresses each file of a folder, and of those in it, to the same name and `.gz`.
fn compress(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() {
            compress(&path, &to.join(name))?;
            continue;
        }
        let compressed = fs::File::create(to.join(format!("{}.gz", name.display())))?;
        let mut encoder = GzEncoder::new(compressed, Compression::best());
        encoder.write_all(&fs::read(&path)?)?;
        encoder.finish()?;
    }
    Ok(())
}

fn lay_out() {
    println!("cargo:rerun-if-changed={LAYOUT}");
    let is = |name, value| var(name).is_ok_and(|found| found == value);
    let packaged = is("PROFILE", "release") && var("CARGO_FEATURE_LOCAL").is_err();
    if packaged && is("CARGO_CFG_TARGET_OS", "linux") && !has_other_linker() {
        let folder = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        // Understood by C compilers and by linkers themselves.
        println!("cargo:rustc-link-arg-bin=kinesis-edge=-T{folder}/{LAYOUT}");
    }
}

/// Whether a linker was chosen that does not understand the layout: the program works without it.
fn has_other_linker() -> bool {
    let chosen = [var("CARGO_ENCODED_RUSTFLAGS"), var("RUSTC_LINKER")];
    chosen.iter().flatten().any(|chosen| {
        let others = ["mold", "gold", "wild", "zig"];
        others.iter().any(|other| chosen.contains(other))
    })
}
