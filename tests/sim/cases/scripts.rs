//! Mixtures of scripts.

use utcp::time::MILLISECOND;

use crate::plan::{self, Ends};
use crate::rng::Rng;

/// Any orderly script, moving about `scale` octets.
pub fn orderly(rng: &mut Rng, scale: u64) -> Ends {
    let size = rng.between(1, scale);
    match rng.below(7) {
        0 => plan::upload(size),
        1 => plan::download(size),
        2 => plan::both_ways(size, rng.between(0, scale)),
        3 => plan::requests(rng.between(1, 6), rng.between(8, 600), size / 6 + 1),
        4 => plan::cells(rng.between(1, 20), 514, 50 * MILLISECOND),
        5 => plan::half_close_by_opener(size / 2 + 1, size),
        _ => plan::half_close_by_acceptor(size / 2 + 1, size),
    }
}

/// Short circuits of any kind, also such that end badly.
pub fn short(rng: &mut Rng) -> Ends {
    let size = rng.between(8, 5_000);
    match rng.below(11) {
        0 => plan::abort_by_opener(size),
        1 => plan::abort_by_acceptor(size),
        2 => plan::close_early(60_000, size),
        3 => plan::both_ways(size, size),
        4 => plan::upload(8),
        5 => plan::download(size),
        6 => plan::let_go(size),
        _ => plan::requests(1, 100, size),
    }
}
