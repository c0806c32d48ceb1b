//! Many circuits of one connection.

use utcp::time::{MILLISECOND, SECOND};

use super::{Scenario, mbit};
use crate::bench::{Extent, Figures, Job};
use crate::contestant::Ours;
use crate::figures::{jain, quantile};
use crate::path::Path;
use crate::world::{ENDLESS, Load, START};

/// Bulk data in all of them.
pub const SCENARIO: Scenario = Scenario {
    name: "siblings",
    about: "bulk circuits of one connection, 100 Mbit/s, 50 ms, 60 s: circuits; Jain's index, the longest that one of them got nothing, Mbit/s together",
    jobs,
    columns: &[
        ("jain", "Jain"),
        ("starved_s", "starved s"),
        ("goodput", "Mbit/s"),
    ],
};

/// Many are opened at once.
pub const OPENED: Scenario = Scenario {
    name: "opened-at-once",
    about: "500 circuits are opened at once, 10 segments each: Mbit/s; packets of the first round trip of 50 ms, % dropped in the first second",
    jobs: opened,
    columns: &[
        ("first_round", "packets"),
        ("dropped_percent", "dropped %"),
        ("ms", "ms for all"),
    ],
};

const PATH: (f64, f64) = (100.0, 50.0);

fn jobs(extent: &Extent) -> Vec<Job> {
    let mut jobs = Vec::new();
    for count in [10, 1_000] {
        for &ours in &extent.connections {
            let at = [("circuits", f64::from(count))];
            let seconds = if extent.quick { 20 } else { 60 };
            jobs.push(Job::new(
                SCENARIO.name,
                ours.name,
                &at,
                6_000.0,
                move |seed| many(ours, count, seconds, seed),
            ));
        }
    }
    jobs
}

fn many(ours: Ours, count: i32, seconds: u64, seed: u64) -> Figures {
    let path = Path::new(PATH.0, PATH.1, 0.0);
    let mut world = ours.world(path, seed);
    for _ in 0..count {
        world.add(0, 0, Load::Bulk(ENDLESS));
    }
    let duration = seconds * SECOND;
    world.run_until(START + duration);
    let shares = |from| -> Vec<f64> {
        let apps = world.apps.iter();
        apps.map(|app| mbit(app, from, duration)).collect()
    };
    let starved = world.apps.iter().map(|app| app.starved(world.now()));
    let starved: Vec<f64> = starved.map(|gap| gap as f64 / 1e6).collect();
    let [there, _] = world.counters();
    vec![
        ("jain", jain(&shares(0))),
        ("jain_warm", jain(&shares(duration / 3))),
        ("starved_s", quantile(&starved, 1.0)),
        ("starved_median_s", quantile(&starved, 0.5)),
        ("goodput", shares(0).iter().sum()),
        (
            "dropped_percent",
            there.dropped as f64 / there.entered as f64 * 100.0,
        ),
    ]
}

fn opened(extent: &Extent) -> Vec<Job> {
    let each = [10.0, 100.0].into_iter().flat_map(|rate| {
        extent.connections.iter().map(move |&ours| {
            let at = [("rate", rate)];
            Job::new(OPENED.name, ours.name, &at, 100.0, move |seed| {
                open(ours, rate, seed)
            })
        })
    });
    each.collect()
}

fn open(ours: Ours, rate: f64, seed: u64) -> Figures {
    let path = Path::new(rate, PATH.1, 0.0);
    let mut world = ours.world(path, seed);
    world.sent = Some(Vec::new());
    for _ in 0..500 {
        world.add(0, 0, Load::Bulk(10 * crate::tcb::MSS as u64));
    }
    world.run_until(START + SECOND);
    let [there, _] = world.counters();
    let sent = world.sent.take().unwrap_or_default();
    let within = |span| sent.iter().filter(|s| s.at < START + span).count() as f64;
    world.run_to_end(START + 120 * SECOND);
    let ends = world.apps.iter().map(super::completion);
    let ends: Vec<f64> = ends.collect();
    vec![
        ("first_ms", within(MILLISECOND)),
        ("first_round", within(path.rtt())),
        ("second_round", within(2 * path.rtt()) - within(path.rtt())),
        (
            "dropped_percent",
            there.dropped as f64 / there.entered as f64 * 100.0,
        ),
        ("ms", quantile(&ends, 1.0)),
    ]
}
