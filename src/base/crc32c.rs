//! CRC-32C (Castagnoli), the checksum of PROXY protocol headers (RFC 4960 Appendix B gives the polynomial).
//!
//! A table of 256 words, one step per byte: a header is checked once per connection, so hardware
//! instructions would save nothing. It is a checksum against accidents and never a proof of who sent it.

/// The polynomial 0x1EDC6F41, bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut word = index as u32;
        let mut bit = 0;
        while bit < 8 {
            word = if word & 1 == 1 { word >> 1 ^ POLYNOMIAL } else { word >> 1 };
            bit += 1;
        }
        table[index] = word;
        index += 1;
    }
    table
};

/// A checksum under way.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32c {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 >> 8 ^ TABLE[((self.0 ^ u32::from(*byte)) & 0xff) as usize];
        }
    }

    /// The checksum of all bytes so far.
    pub fn sum(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> u32 {
        let mut crc = Crc32c::default();
        crc.update(bytes);
        crc.sum()
    }

    #[test]
    fn the_published_vectors_come_out() {
        // RFC 3720 Appendix B.4, and the check value of the catalogue.
        assert_eq!(of(b"123456789"), 0xE306_9283);
        assert_eq!(of(&[0; 32]), 0x8A91_36AA);
        assert_eq!(of(&[0xff; 32]), 0x62A8_AB43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(of(&rising), 0x46DD_794E);
    }
}
