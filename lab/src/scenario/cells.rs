//! A cell of 514 octets every 50 ms, alone on a lossy link, and beside bulk data.

use utcp::time::{MILLISECOND, Micros, SECOND};

use super::{Scenario, mbit};
use crate::bench::{Extent, Figures, Job};
use crate::contestant::{Contestant, Ours};
use crate::figures::quantile;
use crate::path::Path;
use crate::world::{ENDLESS, Load, START, World};

/// Octets of a cell.
pub const CELL: usize = 514;
/// Time between cells.
pub const EVERY: Micros = 50 * MILLISECOND;

/// Cells alone.
pub const ALONE: Scenario = Scenario {
    name: "cells",
    about: "a cell every 50 ms, round trip 50 ms, 100 Mbit/s: loss % each way; one-way delay in ms",
    jobs: alone,
    columns: &[("p50", "p50"), ("p99", "p99"), ("p999", "p99.9")],
};

/// Cells and bulk data in circuits of one connection.
pub const BESIDE_BULK: Scenario = Scenario {
    name: "cells-beside-bulk",
    about: "cells beside a bulk circuit of the same connection, queue 1 BDP: Mbit/s / round-trip ms; delay of a cell relative to idle, and Mbit/s of the bulk",
    jobs: beside_bulk,
    columns: &[
        ("p50_ratio", "p50 x"),
        ("p99_ratio", "p99 x"),
        ("bulk_mbit", "bulk"),
    ],
};

fn delays(world: &World, app: usize) -> Vec<f64> {
    let delays = world.apps[app].delays.iter();
    delays.map(|&d| d as f64 / 1e3).collect()
}

fn load(count: u64) -> Load {
    Load::Cells {
        size: CELL,
        every: EVERY,
        count,
    }
}

fn alone(extent: &Extent) -> Vec<Job> {
    let count = if extent.quick { 5_000 } else { 20_000 };
    let each = [0.0, 1.0, 3.0].into_iter().flat_map(|loss| {
        extent.contestants.iter().map(move |&contestant| {
            let at = [("loss", loss)];
            Job::new(ALONE.name, contestant.name, &at, 50.0, move |seed| {
                one(contestant, loss, count, seed)
            })
        })
    });
    each.collect()
}

fn one(contestant: Contestant, loss: f64, count: u64, seed: u64) -> Figures {
    let mut world = Path::new(100.0, 50.0, loss).world(&[contestant], seed);
    let app = world.add(0, 0, load(count));
    world.run_to_end(START + count * EVERY + 60 * SECOND);
    let delays = delays(&world, app);
    vec![
        ("p50", quantile(&delays, 0.5)),
        ("p99", quantile(&delays, 0.99)),
        ("p999", quantile(&delays, 0.999)),
        ("worst", quantile(&delays, 1.0)),
        ("arrived", delays.len() as f64),
        ("timeouts", world.info(app).timeouts as f64),
    ]
}

fn beside_bulk(extent: &Extent) -> Vec<Job> {
    let points = [(10.0, 50.0), (100.0, 50.0)];
    let each = points.into_iter().flat_map(|(rate, rtt)| {
        extent.connections.iter().map(move |&ours| {
            let at = [("rate", rate), ("rtt", rtt)];
            let path = Path::new(rate, rtt, 0.0);
            Job::new(BESIDE_BULK.name, ours.name, &at, 500.0, move |seed| {
                beside(ours, path, seed)
            })
        })
    });
    each.collect()
}

fn beside(ours: Ours, path: Path, seed: u64) -> Figures {
    let duration = 120 * SECOND;
    let cells = load(duration / EVERY);
    let end = START + duration + 10 * SECOND;
    let mut world = ours.world(path, seed);
    let app = world.add(0, 0, cells);
    world.run_to_end(end);
    let idle = delays(&world, app);

    let mut world = ours.world(path, seed);
    let bulk = world.add(0, 0, Load::Bulk(ENDLESS));
    let app = world.add(0, 0, cells);
    world.run_until(end);
    let beside = delays(&world, app);
    let (p50, p99) = (quantile(&beside, 0.5), quantile(&beside, 0.99));
    vec![
        ("p50", p50),
        ("p99", p99),
        ("idle_p50", quantile(&idle, 0.5)),
        ("idle_p99", quantile(&idle, 0.99)),
        ("p50_ratio", p50 / quantile(&idle, 0.5)),
        ("p99_ratio", p99 / quantile(&idle, 0.99)),
        ("bulk_mbit", mbit(&world.apps[bulk], 0, duration)),
    ]
}
