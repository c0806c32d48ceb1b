//! Maps from the identifiers and addresses that a packet names.
//!
//! Peers choose some of them, so the hash has a secret seed: none can make all of its own fall together. What goes through
//! a map in an order that shows puts it in order itself.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// A map with a seeded hash.
pub type Map<K, V> = HashMap<K, V, FixedState>;

/// The secret of an endpoint's maps.
#[derive(Clone, Copy)]
pub struct HashSeed(u64);

impl HashSeed {
    /// Of the endpoint with this seed for its random choices.
    pub fn new(seed: &[u8; 32]) -> HashSeed {
        // Not drawn from the generator: what a run does must not depend on there being maps.
        let mut hash = 0;
        for word in seed.chunks_exact(8) {
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            hash = (hash ^ word)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
        HashSeed(hash)
    }

    /// An empty map.
    pub fn map<K, V>(self) -> Map<K, V> {
        Map::with_hasher(FixedState::with_seed(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_seeds() {
        let order = |seed: u8| {
            let mut map = HashSeed::new(&[seed; 32]).map();
            map.extend((0..100u32).map(|key| (key, ())));
            map.into_keys().collect::<Vec<u32>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }
}
