#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::launch::seed(), |data: &[u8]| cube_fuzz::launch::run(data));
