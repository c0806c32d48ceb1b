//! Losses of chosen packets: how much later a transfer is complete than without them.

use std::collections::BTreeSet;

use utcp::time::SECOND;

use super::{Scenario, completion};
use crate::bench::{Extent, Figures, Job};
use crate::contestant::Contestant;
use crate::path::Path;
use crate::rng::Rng;
use crate::world::{Load, START};

/// The last packets are lost.
pub const TAIL: Scenario = Scenario {
    name: "tail-loss",
    about: "the last 1 to 3 packets of 100 kB are lost, 100 Mbit/s: round-trip ms / lost; ms more than without",
    jobs: tail,
    columns: &[("extra_ms", "ms")],
};

/// Some of one window are lost.
pub const WINDOW: Scenario = Scenario {
    name: "window-loss",
    about: "packets of one window of a transfer of 2 MB are lost, 100 Mbit/s, 50 ms: lost; ms more than without, timeouts",
    jobs: window,
    columns: &[("extra_ms", "ms"), ("timeouts", "RTO")],
};

const TAIL_SIZE: u64 = 100_000;
const WINDOW_SIZE: u64 = 2_000_000;

/// The window from which packets are lost: the fifth round of slow start.
const FIRST: u64 = 200;
const SPAN: u64 = 40;

struct Transfer {
    ms: f64,
    timeouts: f64,
    /// Packets with data that were needed for it.
    packets: u64,
}

fn transfer(
    contestant: Contestant,
    path: Path,
    seed: u64,
    size: u64,
    victims: BTreeSet<u64>,
) -> Transfer {
    let mut world = path.world(&[contestant], seed);
    world.sent = Some(Vec::new());
    world.victims = victims;
    let app = world.add(0, 0, Load::Bulk(size));
    world.run_to_end(START + 120 * SECOND);
    let arrived = world.apps[app].finished;
    let sent = world.sent.take().unwrap_or_default();
    let needed = |finished| {
        sent.iter()
            .filter(|s| s.at + path.rtt() / 2 <= finished)
            .count()
    };
    Transfer {
        ms: completion(&world.apps[app]),
        timeouts: world.info(app).timeouts as f64,
        packets: arrived.map_or(0, needed) as u64,
    }
}

fn extra(
    contestant: Contestant,
    path: Path,
    seed: u64,
    size: u64,
    choose: impl Fn(u64) -> BTreeSet<u64>,
) -> Figures {
    let without = transfer(contestant, path, seed, size, BTreeSet::new());
    let with = transfer(contestant, path, seed, size, choose(without.packets));
    vec![
        ("extra_ms", with.ms - without.ms),
        ("without_ms", without.ms),
        ("timeouts", with.timeouts),
    ]
}

fn tail(extent: &Extent) -> Vec<Job> {
    let points = [20.0, 50.0, 100.0, 200.0].into_iter();
    let points = points.flat_map(|rtt| [1, 2, 3].map(|lost| (rtt, lost)));
    let each = points.flat_map(|(rtt, lost)| {
        extent.contestants.iter().map(move |&contestant| {
            let at = [("rtt", rtt), ("lost", lost as f64)];
            let path = Path::new(100.0, rtt, 0.0);
            Job::new(TAIL.name, contestant.name, &at, 5.0, move |seed| {
                extra(contestant, path, seed, TAIL_SIZE, |n| {
                    (n - lost..n).collect()
                })
            })
        })
    });
    each.collect()
}

fn window(extent: &Extent) -> Vec<Job> {
    let each = (1..=10).flat_map(|lost| {
        extent.contestants.iter().map(move |&contestant| {
            let at = [("lost", f64::from(lost))];
            let path = Path::new(100.0, 50.0, 0.0);
            Job::new(WINDOW.name, contestant.name, &at, 10.0, move |seed| {
                extra(contestant, path, seed, WINDOW_SIZE, |_| {
                    let mut rng = Rng::new(seed, 7);
                    let mut victims = BTreeSet::new();
                    while victims.len() < lost as usize {
                        victims.insert(FIRST + rng.below(SPAN));
                    }
                    victims
                })
            })
        })
    });
    each.collect()
}
