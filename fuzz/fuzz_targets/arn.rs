//! Gives the fuzzer's bytes to `checks::arn`, which says what holds of them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::arn::check(bytes));
