#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| medseal_fuzz::witness::hold(data));
