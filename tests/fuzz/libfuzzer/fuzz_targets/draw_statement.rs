//! Fuzzes the decoder of this name; see `tally_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tally_fuzz::run("draw_statement", data));
