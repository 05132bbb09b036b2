//! A small seeded generator (SplitMix64, Steele et al. 2014) for balancing and identifiers.
//!
//! It must never be used where an attacker gains by guessing: keys and secrets come from the
//! cryptographic library. It never seeds itself: `runtime/entropy.rs` hands in the seed.

/// Pseudo-random numbers from one 64-bit state.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From a seed; equal seeds give equal sequences.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`, for `bound` > 0 (Lemire's multiply-shift; its bias is below 2^-32 here).
    pub fn below(&mut self, bound: u32) -> u32 {
        debug_assert!(bound > 0);
        (((self.bits() >> 32) * u64::from(bound)) >> 32) as u32
    }
}
