//! Flows that have just begun: how long until so much has arrived.

use utcp::time::SECOND;

use super::{Scenario, completion};
use crate::bench::{Extent, Figures, Job};
use crate::contestant::{Contestant, Ours};
use crate::path::Path;
use crate::world::{Load, START, World};

/// See the module.
pub const SCENARIO: Scenario = Scenario {
    name: "fresh",
    about: "ms until all has arrived at 100 Mbit/s: round-trip ms / octets; flows are established before, circuits of a connection are not",
    jobs,
    columns: &[("ms", "ms")],
};

const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];

fn jobs(extent: &Extent) -> Vec<Job> {
    let mut jobs = Vec::new();
    for rtt in [20.0, 50.0, 100.0, 200.0] {
        for size in SIZES {
            let at = [("rtt", rtt), ("octets", size as f64)];
            let path = Path::new(100.0, rtt, 0.0);
            for &contestant in &extent.contestants {
                let run = move |seed| flow(contestant, path, size, seed);
                jobs.push(Job::new(SCENARIO.name, contestant.name, &at, 3.0, run));
            }
            for &ours in &extent.connections {
                let name = format!("{} circuit", ours.name);
                let run = move |seed| circuit(ours, path, size, seed);
                jobs.push(Job::new(SCENARIO.name, &name, &at, 3.0, run));
            }
        }
    }
    jobs
}

fn flow(contestant: Contestant, path: Path, size: u64, seed: u64) -> Figures {
    finish(path.world(&[contestant], seed), size)
}

fn circuit(ours: Ours, path: Path, size: u64, seed: u64) -> Figures {
    finish(ours.world(path, seed), size)
}

fn finish(mut world: World, size: u64) -> Figures {
    let app = world.add(0, 0, Load::Bulk(size));
    world.run_to_end(START + 60 * SECOND);
    vec![("ms", completion(&world.apps[app]))]
}
