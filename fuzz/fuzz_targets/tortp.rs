#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| utcp_fuzz::tortp::run(data));
