#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::manifest::seed(), |data: &[u8]| cube_fuzz::manifest::run(data));
