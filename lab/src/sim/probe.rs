//! The reconnaissance probe of the paper's §4.2: can an entry relay learn which third relay is used?
//!
//! The attacker runs the entry of a circuit. It sees that a bulk transfer begins on it, and knows the second relay. The
//! exit may be any other relay. All along it keeps a circuit of its own through the same entry and second relay to
//! each candidate, with a small request every 250 ms. Where circuits between two relays share a TCP connection, the
//! transfer delays what else goes between the second relay and the exit, and nothing between the second relay and the
//! others; so the guess is the candidate whose probes have become slower by the most, in the mean, since the transfer
//! began (the difference takes out distance, and load that was there before). The paper's second round of probes,
//! minutes later, against load that has moved meanwhile, is not made: other load here begins before and stays.
//!
//! The attacker's own link is as fast as the entry, and it knows exactly when the transfer began: more than a real
//! one would. Some clients browse and download through the same relays as noise.

use utcp::time::{MILLISECOND, Micros, SECOND};

use super::attack::{auc, first};
use super::layout::{Circuit, Layout, Load};
use super::net::{Net, START};
use super::transport::Transport;
use crate::bench::Figures;
use crate::rng::{Rng, mix};

/// Of an experiment.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Relays.
    pub relays: usize,
    /// Circuits that are attacked, at the same time.
    pub victims: usize,
    /// Other clients.
    pub others: usize,
    /// Seconds before the transfers begin, and as many after.
    pub seconds: u64,
}

/// The whole form.
pub const FULL: Size = Size {
    relays: 24,
    victims: 6,
    others: 120,
    seconds: 20,
};

/// The short form.
pub const QUICK: Size = Size {
    relays: 14,
    victims: 4,
    others: 40,
    seconds: 10,
};

/// Time between probes.
const EVERY: Micros = 250 * MILLISECOND;
/// What begins takes so long until it is under way.
const SETTLE: Micros = 2 * SECOND;

/// A circuit under attack: which one it is, and the attacker's circuits with their candidates.
struct Victim {
    exit: usize,
    probes: Vec<(usize, usize)>,
}

fn prepare(size: Size, loss: f64, seed: u64) -> (Layout, Vec<Victim>) {
    let mut layout = Layout::relays(seed, size.relays, 20.0, 60.0, loss);
    layout.populate(size.others, 4, 40, 10 * SECOND);
    let mut rng = Rng::new(mix(seed), 5);
    let mut victims = Vec::new();
    for _ in 0..size.victims {
        let [entry, middle, exit] = layout.choose(&mut rng, false);
        let near = layout.nodes[entry].position;
        let client = layout.client(super::geography::Position::draw(&mut rng), 50.0);
        layout.circuits.push(Circuit {
            path: [client, entry, middle, exit],
            load: Load::Bulk,
            begins: size.seconds * SECOND,
            server: layout.server(&mut rng, exit),
        });
        let attacker = layout.client(near, 1_000.0);
        let mut probes = Vec::new();
        for candidate in (0..size.relays).filter(|c| *c != entry && *c != middle) {
            probes.push((candidate, layout.circuits.len()));
            layout.circuits.push(Circuit {
                path: [attacker, entry, middle, candidate],
                load: Load::Quiet(EVERY),
                begins: rng.below(EVERY),
                server: 0,
            });
        }
        victims.push(Victim { exit, probes });
    }
    (layout, victims)
}

/// Runs it.
pub fn run(size: Size, transport: Transport, loss: f64, seed: u64) -> Figures {
    let (layout, victims) = prepare(size, loss, seed);
    let mut net = Net::new(&layout, transport);
    net.run_until(START + 2 * size.seconds * SECOND);
    let mean = |circuit: usize, from: Micros, to: Micros| {
        let delays = net.clients[circuit].delays.iter();
        let delays: Vec<f64> = delays
            .filter(|(at, _)| (from..to).contains(at))
            .map(|(_, took)| *took as f64 / 1e3)
            .collect();
        delays.iter().sum::<f64>() / delays.len() as f64
    };
    let (mut areas, mut hits, mut slower) = (Vec::new(), Vec::new(), Vec::new());
    for victim in &victims {
        let middle = size.seconds * SECOND;
        let score = |circuit| {
            let before = mean(circuit, SETTLE, middle);
            let score = mean(circuit, middle + SETTLE, 2 * middle) - before;
            // No answer in all that time is the slowest of all.
            if score.is_nan() { f64::INFINITY } else { score }
        };
        let (mut right, mut others) = (f64::NAN, Vec::new());
        for &(candidate, circuit) in &victim.probes {
            if candidate == victim.exit {
                right = score(circuit);
            } else {
                others.push(score(circuit));
            }
        }
        areas.push(auc(right, &others).expect("there are other candidates"));
        hits.push(first(right, &others));
        slower.push(right);
    }
    let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    vec![
        ("accuracy_ratio", average(&hits)),
        ("accuracy_of_chance_ratio", 1.0 / (size.relays - 2) as f64),
        ("auc_ratio", average(&areas)),
        ("probe_slower_by_ms", average(&slower)),
        ("victim_mbit", {
            let victims: Vec<f64> = layout
                .circuits
                .iter()
                .zip(&net.clients)
                .filter(|(c, _)| c.load == Load::Bulk && c.begins >= size.seconds * SECOND)
                .map(|(_, client)| {
                    client.mbit(size.seconds as usize + 2, 2 * size.seconds as usize)
                })
                .collect();
            average(&victims)
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_is_probed_through_the_same_two_relays() {
        let (layout, victims) = prepare(QUICK, 0.0, 3);
        for victim in &victims {
            assert_eq!(victim.probes.len(), QUICK.relays - 2);
            assert!(victim.probes.iter().any(|(c, _)| *c == victim.exit));
            let first = layout.circuits[victim.probes[0].1].path;
            for &(candidate, circuit) in &victim.probes {
                let path = layout.circuits[circuit].path;
                assert_eq!(path[..3], first[..3]);
                assert_eq!(path[3], candidate);
            }
        }
    }
}
