#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::runtime_data::seed(), |data: &[u8]| cube_fuzz::runtime_data::run(data));
