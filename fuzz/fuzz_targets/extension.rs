#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::extension::seed(), |data: &[u8]| cube_fuzz::extension::run(data));
