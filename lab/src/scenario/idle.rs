//! A flow that has had the whole link falls silent for 10 s, then sends again.

use utcp::time::{MILLISECOND, SECOND};

use super::{Scenario, elapsed};
use crate::bench::{Extent, Figures, Job};
use crate::contestant::Contestant;
use crate::path::Path;
use crate::world::{Load, START};

/// See the module.
pub const SCENARIO: Scenario = Scenario {
    name: "idle-restart",
    about: "1 MB after 10 s idle, 100 Mbit/s: round-trip ms; packets of the first ms and of the first round trip, ms for all",
    jobs,
    columns: &[("burst", "burst"), ("first_round", "round"), ("ms", "ms")],
};

fn jobs(extent: &Extent) -> Vec<Job> {
    let each = [50.0, 200.0].into_iter().flat_map(|rtt| {
        extent.contestants.iter().map(move |&contestant| {
            let path = Path::new(100.0, rtt, 0.0);
            let at = [("rtt", rtt)];
            Job::new(SCENARIO.name, contestant.name, &at, 50.0, move |seed| {
                one(contestant, path, seed)
            })
        })
    });
    each.collect()
}

fn one(contestant: Contestant, path: Path, seed: u64) -> Figures {
    let mut world = path.world(&[contestant], seed);
    let app = world.add(0, 0, Load::Bulk(10_000_000));
    world.run_to_end(START + 60 * SECOND);
    let began = world.now() + 10 * SECOND;
    world.run_until(began);
    world.sent = Some(Vec::new());
    let before = elapsed(&world);
    world.offer(app, 1_000_000);
    world.run_to_end(began + 60 * SECOND);
    let ms = elapsed(&world) - before;
    let sent = world.sent.take().unwrap_or_default();
    let within = |span| sent.iter().filter(|s| s.at < began + span).count() as f64;
    vec![
        ("burst", within(MILLISECOND)),
        ("first_round", within(path.rtt())),
        ("ms", ms),
    ]
}
