#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::quote::seed(), |data: &[u8]| cube_fuzz::quote::run(data));
