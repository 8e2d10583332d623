//! Gives the fuzzer's bytes to `checks::parameters`, which says what holds of them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::parameters::check(bytes));
