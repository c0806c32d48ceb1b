//! All random choices of the core come from one seeded generator, so that a simulation repeats.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// ChaCha20, seeded by the caller.
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// A generator with this seed.
    pub fn new(seed: [u8; 32]) -> Rng {
        Rng(ChaCha20Rng::from_seed(seed))
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// 32 random octets, for a secret.
    pub fn secret(&mut self) -> [u8; 32] {
        let mut secret = [0; 32];
        self.0.fill_bytes(&mut secret);
        secret
    }
}
