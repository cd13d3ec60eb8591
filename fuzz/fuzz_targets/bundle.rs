#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::bundle::seed(), |data: &[u8]| cube_fuzz::bundle::run(data));
