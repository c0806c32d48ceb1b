//! The RTT leak of the paper's §5.1.1: can an entry relay learn the exit from round-trip times alone?
//!
//! The attacker runs the entry of a circuit, and sees cells pass (or, where relays only forward, datagrams: it cannot
//! read them). It takes the shortest time that it ever saw from something that went up after silence to what came down
//! first. It knows its own round-trip time to the second relay, takes that off, and holds the rest against the
//! round-trip times between the second relay and every other relay, which it has measured beforehand; here it knows
//! them exactly, which is more than it could.
//!
//! With TCP from end to end (UDP-OR) such a pair is data and its acknowledgement: the exit itself answers. (SYN and
//! SYN-ACK are too, before the network is under load; they are left out.) With TCP on each hop only the server's answer
//! comes back over the circuit, with the time to a server that the attacker does not know in it: two of three are within
//! 10 ms of the exit, the others anywhere. The nearer servers are, the more it learns, whatever the transport. How much the observed times differ from those of the
//! network in general, and by how much, the attacker has learnt from circuits of its own: for each circuit under attack
//! the differences on all other circuits of the run, as a density ([`super::attack::Density`]). Posteriors over
//! candidates, which were equally likely before, follow from it.
//!
//! What all transports leak alike is left out: the EXTEND cell that is answered when the circuit is built passes the
//! entry too.

use utcp::time::{Micros, SECOND};

use super::attack::{Density, auc, bits, first};
use super::geography::Position;
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
    /// Circuits that are attacked.
    pub circuits: usize,
    /// Other clients.
    pub others: usize,
    /// For how long.
    pub seconds: u64,
}

/// The whole form.
pub const FULL: Size = Size {
    relays: 40,
    circuits: 300,
    others: 200,
    seconds: 30,
};

/// The short form.
pub const QUICK: Size = Size {
    relays: 20,
    circuits: 120,
    others: 60,
    seconds: 12,
};

/// Time between requests of those under attack: there is silence between them.
const EVERY: Micros = 2 * SECOND;

fn prepare(size: Size, loss: f64, seed: u64) -> Layout {
    let mut layout = Layout::relays(seed, size.relays, 20.0, 60.0, loss);
    let mut rng = Rng::new(mix(seed), 6);
    for _ in 0..size.circuits {
        let [entry, middle, exit] = layout.choose(&mut rng, false);
        let client = layout.client(Position::draw(&mut rng), 50.0);
        layout.circuits.push(Circuit {
            path: [client, entry, middle, exit],
            load: Load::Quiet(EVERY),
            begins: rng.below(EVERY),
            server: layout.server(&mut rng, exit),
        });
    }
    layout.populate(size.others, 6, 60, 5 * SECOND);
    layout
}

/// What the attacker saw on a circuit: the time from the second relay on and back, in ms, and the candidates' times.
struct Seen {
    rest: f64,
    right: f64,
    others: Vec<f64>,
}

/// Runs it.
pub fn run(size: Size, transport: Transport, loss: f64, seed: u64) -> Figures {
    let layout = prepare(size, loss, seed);
    let mut net = Net::new(&layout, transport);
    net.run_until(START + size.seconds * SECOND);
    let rtt = |a, b| 2.0 * layout.delay(a, b) as f64 / 1e3;
    let seen = (0..size.circuits).filter_map(|number| {
        let [_, entry, middle, exit] = layout.circuits[number].path;
        let shortest = net.taps[number].shortest? as f64 / 1e3;
        let candidates = (0..size.relays).filter(|c| ![entry, middle, exit].contains(c));
        Some(Seen {
            rest: shortest - rtt(entry, middle),
            right: rtt(middle, exit),
            others: candidates.map(|c| rtt(middle, c)).collect(),
        })
    });
    judge(&seen.collect::<Vec<Seen>>(), size.relays - 2)
}

fn judge(seen: &[Seen], candidates: usize) -> Figures {
    let differences: Vec<f64> = seen.iter().map(|s| s.rest - s.right).collect();
    let density = Density::new(differences.clone(), 0.5);
    let (mut areas, mut hits, mut learnt) = (0.0, 0.0, 0.0);
    for (number, s) in seen.iter().enumerate() {
        let score = |rtt: &f64| density.at(s.rest - rtt, number);
        let right = score(&s.right);
        let others: Vec<f64> = s.others.iter().map(score).collect();
        areas += auc(right, &others).expect("there are other candidates");
        hits += first(right, &others);
        learnt += bits(right, &others);
    }
    let count = seen.len() as f64;
    vec![
        ("accuracy_ratio", hits / count),
        ("accuracy_of_chance_ratio", 1.0 / candidates as f64),
        ("auc_ratio", areas / count),
        ("learnt_bits", learnt / count),
        ("to_learn_bits", (candidates as f64).log2()),
        ("error_p50_ms", crate::figures::median(&differences)),
        ("circuits", count),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(noise: f64) -> Vec<Seen> {
        let mut rng = Rng::new(1, 0);
        let mut draw = |most: f64| rng.below(1_000_000) as f64 / 1e6 * most;
        let one = |_| {
            let right = draw(200.0);
            Seen {
                rest: right + 3.0 + draw(noise),
                right,
                others: (0..9).map(|_| draw(200.0)).collect(),
            }
        };
        (0..200).map(one).collect()
    }

    #[test]
    fn exact_times_give_the_exit_away_and_blurred_ones_do_not() {
        let get = |figures: &Figures, name| figures.iter().find(|f| f.0 == name).unwrap().1;
        let exact = judge(&seen(0.5), 10);
        assert!(get(&exact, "accuracy_ratio") > 0.8, "{exact:?}");
        assert!(get(&exact, "auc_ratio") > 0.95, "{exact:?}");
        assert!(get(&exact, "learnt_bits") > 2.0, "{exact:?}");
        let blurred = judge(&seen(2_000.0), 10);
        assert!(get(&blurred, "accuracy_ratio") < 0.25, "{blurred:?}");
        assert!(
            (get(&blurred, "auc_ratio") - 0.5).abs() < 0.15,
            "{blurred:?}"
        );
        assert!(get(&blurred, "learnt_bits") < 0.5, "{blurred:?}");
    }
}
