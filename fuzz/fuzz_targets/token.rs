#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::token::seed(), |data: &[u8]| cube_fuzz::token::run(data));
