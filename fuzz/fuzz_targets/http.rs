//! Gives the fuzzer's bytes to `checks::http`, which says what holds of them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::http::check(bytes));
