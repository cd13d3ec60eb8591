#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::policy::seed(), |data: &[u8]| cube_fuzz::policy::run(data));
