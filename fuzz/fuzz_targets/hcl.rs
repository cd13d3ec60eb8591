#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::hcl::seed(), |data: &[u8]| cube_fuzz::hcl::run(data));
