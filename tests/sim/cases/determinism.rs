//! A seed repeats: without that, no failure found here could be looked at again.

use utcp::time::{MILLISECOND, SECOND};

use super::{bad, pure_delay, scripts};
use crate::net::{Net, seeds};
use crate::rng::Rng;

/// Everything that the library said and sent after the handshake, with times and sizes.
fn trace(name: &str, seed: u64) -> Vec<(u64, usize, String)> {
    // OpenSSL draws its own randomness in the handshake, so that its signatures differ in length: no stage that
    // depends on sizes may see them. Ciphertext differs as well; sizes and times afterwards do not.
    let mut net = Net::pair(name, seed, pure_delay);
    net.establish();
    net.pass(SECOND);
    net.links(bad);
    net.shared.trace = Some(Vec::new());
    let mut rng = Rng::new(seed, 1);
    for number in 1..=40 {
        let (opener, acceptor) = if rng.chance(0.5) { (0, 1) } else { (1, 0) };
        let after = rng.below(500 * MILLISECOND);
        let ends = scripts::orderly(&mut rng, 30_000);
        net.open(opener, acceptor, number, after, ends);
    }
    net.complete(300 * SECOND);
    net.pass(100 * SECOND);
    net.shared.trace.take().expect("a trace")
}

#[test]
fn a_seed_repeats_to_the_microsecond() {
    seeds("determinism", 2, |name, seed| {
        let first = trace(name, seed);
        let again = trace(name, seed);
        for (one, other) in first.iter().zip(&again) {
            assert_eq!(one, other);
        }
        assert_eq!(first.len(), again.len());
        assert!(first.len() > 1_000);
        assert_ne!(first, trace(name, seed + 1));
    });
}
