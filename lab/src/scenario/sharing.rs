//! A connection with eight bulk circuits beside one flow that is not ours.

use utcp::time::SECOND;

use super::{Scenario, mbit};
use crate::bench::{Extent, Figures, Job};
use crate::contestant::{Contestant, Ours, QUINN_CUBIC, UTCP_CUBIC};
use crate::path::Path;
use crate::world::{ENDLESS, Load, START};

/// See the module.
pub const SCENARIO: Scenario = Scenario {
    name: "beside-foreign",
    about: "8 bulk circuits of a connection beside 1 flow of another, 60 s: Mbit/s / round-trip ms; of half of the goodput, what the 8 together get",
    jobs,
    columns: &[("share", "x"), ("goodput", "Mbit/s")],
};

/// Circuits of ours.
const OURS: usize = 8;

fn jobs(extent: &Extent) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (rate, rtt) in [(10.0, 50.0), (100.0, 50.0)] {
        for foreign in [QUINN_CUBIC, UTCP_CUBIC] {
            for &ours in &extent.connections {
                let name = format!("{} : {}", ours.name, foreign.name);
                let at = [("rate", rate), ("rtt", rtt)];
                let path = Path::new(rate, rtt, 0.0);
                jobs.push(Job::new(SCENARIO.name, &name, &at, 2_000.0, move |seed| {
                    one(ours, foreign, path, seed)
                }));
            }
        }
    }
    jobs
}

fn one(ours: Ours, foreign: Contestant, path: Path, seed: u64) -> Figures {
    let mut world = ours.world_beside(path, seed, &[foreign]);
    for _ in 0..OURS {
        world.add(0, 0, Load::Bulk(ENDLESS));
    }
    // The other one is there already.
    let other = world.add(1, 0, Load::Bulk(ENDLESS));
    let duration = 60 * SECOND;
    world.run_until(START + duration);
    let from = duration / 6;
    let each: Vec<f64> = world.apps.iter().map(|a| mbit(a, from, duration)).collect();
    let sum: f64 = each.iter().sum();
    vec![
        ("share", (sum - each[other]) / (sum / 2.0)),
        ("goodput", sum),
        ("foreign_mbit", each[other]),
    ]
}
