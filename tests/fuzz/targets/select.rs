//! What of a part is kept, dropped and renamed. Never more than one line: the promises stand in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringway::aggregate::fuzz::select(data));
