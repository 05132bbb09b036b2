//! Replies of the store of the fleet's limits. Never more than one line: the promises stand in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway::net::fuzz::resp(data));
