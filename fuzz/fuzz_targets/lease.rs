#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::lease::seed(), |data: &[u8]| cube_fuzz::lease::run(data));
