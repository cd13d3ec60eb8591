#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::crl::seed(), |data: &[u8]| cube_fuzz::crl::run(data));
