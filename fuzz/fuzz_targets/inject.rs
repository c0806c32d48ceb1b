#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| utcp_fuzz::inject::run(data));
