//! Tells the linker in which order to lay out the functions of the packaged program: those that every
//! device runs side by side, the others behind them (`packaging/layout/README.md`).

use std::env::var;

const LAYOUT: &str = "packaging/layout/used.ld";

fn main() {
    println!("cargo:rerun-if-changed={LAYOUT}");
    let is = |name, value| var(name).is_ok_and(|found| found == value);
    let packaged = is("PROFILE", "release") && var("CARGO_FEATURE_LOCAL").is_err();
    if packaged && is("CARGO_CFG_TARGET_OS", "linux") {
        let folder = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-link-arg-bin=kinesis-edge=-Wl,-T,{folder}/{LAYOUT}");
    }
}
