#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::report::seed(), |data: &[u8]| cube_fuzz::report::run(data));
