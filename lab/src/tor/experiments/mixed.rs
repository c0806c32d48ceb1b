//! §3.2: a network in which some of the relays are patched.
//!
//! Circuits go over four places in any order; patched relays take the first of them. Every link between relays loses packets.

use std::error::Error;

use super::shared::CLIENT_COUNT;
use crate::emulate::LinkSettings;
use crate::rng::Rng;
use crate::tor::network::{Kernel, Set};
use crate::tor::programs::Program;
use crate::tor::session::{Judgement, Measured, Session, end_all};

/// Places for relays.
pub const PLACES: usize = 4;
/// Loss between relays, in percent.
pub const LOSS_PERCENT: f64 = 0.1;

/// The sets that relays are taken from.
pub fn sets() -> [Set; 2] {
    [Program::Vanilla, Program::Patched].map(|program| Set {
        program,
        kernel: Kernel::Cubic,
    })
}

/// The relays in all places, the first `patched` of which are patched.
fn relays(patched: usize) -> Vec<String> {
    let [vanilla, ours] = sets();
    (0..PLACES)
        .map(|place| if place < patched { ours } else { vanilla }.relay(place + 1))
        .collect()
}

/// A path for each client, by places: the same whichever relays are there.
fn paths(seed: u64) -> Vec<[usize; 3]> {
    let mut rng = Rng::new(seed, 77);
    let mut path = || {
        let mut places: Vec<usize> = (0..PLACES).collect();
        let mut take = || places.remove(rng.below(places.len() as u64) as usize);
        [take(), take(), take()]
    };
    (0..CLIENT_COUNT).map(|_| path()).collect()
}

/// `network_mbit`, `circuit_mbit`, `jain`, `base_ms`, `delay_ms` as of Experiment 1; `udp_hops_percent`: of the hops between
/// relays on all paths, those with a patched relay at both ends.
///
/// # Errors
/// If circuits or streams fail.
pub fn run(
    session: &mut Session,
    patched: usize,
    seed: u64,
) -> Result<(Measured, Judgement), Box<dyn Error>> {
    let relays = relays(patched);
    let mut links = Vec::new();
    for (number, a) in relays.iter().enumerate() {
        links.extend(relays[..number].iter().map(|b| (a.clone(), b.clone())));
    }
    let places = paths(seed);
    let lossy = |percent: f64| LinkSettings {
        loss: Some(percent / 100.0),
        ..LinkSettings::default()
    };
    session.set_links(&links, &lossy(LOSS_PERCENT))?;
    let outcome = measure(session, &relays, &places);
    session.set_links(&links, &lossy(0.0))?;
    let (mut measured, verdict) = outcome?;
    let hops = places.iter().flat_map(|path| path.windows(2));
    let udp = hops
        .filter(|hop| hop.iter().all(|place| *place < patched))
        .count();
    measured.set(
        "udp_hops_percent",
        udp as f64 / (2 * places.len()) as f64 * 100.0,
    );
    Ok((measured, verdict))
}

fn measure(
    session: &mut Session,
    relays: &[String],
    places: &[[usize; 3]],
) -> Result<(Measured, Judgement), Box<dyn Error>> {
    let path = |client: usize| {
        places[client]
            .iter()
            .map(|place| relays[*place].clone())
            .collect()
    };
    let wanted: Vec<(usize, Vec<String>)> = (0..2 * CLIENT_COUNT)
        .map(|n| (n % CLIENT_COUNT, path(n % CLIENT_COUNT)))
        .collect();
    let circuits = session.circuits(&wanted)?;
    let (quiet, bulk) = circuits.split_at(CLIENT_COUNT);
    let lengths = session.lengths;
    let probes = session.probes(quiet)?;
    session.sleep(0.5)?;
    let base = session.window(lengths.idle)?;
    let bulk = session.bulk(bulk)?;
    session.sleep(lengths.settle)?;
    session.begin_counting()?;
    let busy = session.window(lengths.measure)?;
    let mut measured = Measured::default();
    let verdict = session.end_counting(&mut measured)?;
    session.grace()?;
    let bulk = end_all(bulk)?;
    let quiet = end_all(probes)?.concat();
    session.close(&circuits);
    measured.set_rates(
        &bulk
            .iter()
            .map(|samples| busy.mbit(samples))
            .collect::<Vec<f64>>(),
    );
    measured.set_delays("base", &base.delays(&quiet));
    measured.set_delays("delay", &busy.delays(&quiet));
    measured.set_ratio();
    Ok((measured, verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_of_three_relays_and_the_same_for_a_seed() {
        for path in paths(5) {
            assert!(path[0] != path[1] && path[1] != path[2] && path[0] != path[2]);
        }
        assert_eq!(paths(5), paths(5));
        assert_ne!(paths(5), paths(6));
        assert_eq!(relays(1)[..2], ["patchedcubic1", "vanillacubic2"]);
    }
}
