#![no_main]

libfuzzer_sys::fuzz_target!(init: cube_fuzz::host_table::seed(), |data: &[u8]| cube_fuzz::host_table::run(data));
