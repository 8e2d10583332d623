//! Tells the linker in which order to lay out the functions of the packaged program: those that every
//! device runs side by side, the others behind them (`packaging/layout/README.md`).

use std::env::var;

const LAYOUT: &str = "packaging/layout/used.ld";

fn main() {
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
        let others = ["mold", "gold", "wild"];
        others.iter().any(|other| chosen.contains(other))
    })
}
