//! Bearer tokens, taken apart as if verified. Never more than one line: the promises stand in the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ringway::policy::jose::fuzz_token(data);
});
