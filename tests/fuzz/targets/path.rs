//! Path spellings and their rewriting. Never more than one line: the promises stand in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway::route::fuzz::path(data));
