//! The only place that asks for randomness.
//!
//! Used for seeds of tables and generators; it never blocks after boot (getrandom(2)).

/// Random 64 bits from the kernel.
#[expect(unsafe_code, reason = "getrandom(2) has no wrapper in std")]
pub fn seed() -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the buffer is valid for writes of its own length.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert_eq!(got, 8, "getrandom(2) returns short reads only above 256 bytes");
    u64::from_ne_bytes(bytes)
}
