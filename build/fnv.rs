//! FNV-1a, 64 bits. It spots files that are out of date and is no protection
//! against files made to collide; it is here because a build script without
//! dependencies and a Python script must agree on it.

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// A running hash.
pub struct Hasher(u64);

impl Hasher {
    /// The hash of nothing yet.
    pub fn new() -> Self {
        Self(OFFSET_BASIS)
    }

    /// Adds bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }

    /// Adds a text with its `\r\n` read as `\n`: a checkout on Windows hashes
    /// like any other.
    pub fn write_text(&mut self, bytes: &[u8]) {
        for (at, &byte) in bytes.iter().enumerate() {
            if byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
                self.write(&[byte]);
            }
        }
    }

    /// The hash as 16 hexadecimal digits.
    pub fn finish(&self) -> String {
        format!("{:016x}", self.0)
    }
}

/// The hash of these bytes, as they are.
pub fn of_bytes(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new();
    hasher.write(bytes);
    hasher.finish()
}
