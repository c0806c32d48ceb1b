//! One flow of bulk data: rate x round-trip time x random loss both ways, with a queue of one bandwidth-delay product.

use utcp::time::{Micros, SECOND};

use super::{Scenario, common, mbit};
use crate::bench::{Extent, Figures, Job};
use crate::contestant::Contestant;
use crate::path::Path;
use crate::tcb::MSS;
use crate::world::{ENDLESS, Load, START};

/// See the module.
pub const SCENARIO: Scenario = Scenario {
    name: "grid",
    about: "bulk data: Mbit/s / round-trip ms / loss % each way; goodput in % of the link's rate",
    jobs,
    columns: &[("percent", "%")],
};

/// Mbit/s.
pub const RATES: [f64; 3] = [10.0, 100.0, 1_000.0];
/// Milliseconds.
pub const RTTS: [f64; 4] = [20.0, 50.0, 100.0, 200.0];
/// Percent.
pub const LOSSES: [f64; 5] = [0.0, 0.01, 0.1, 1.0, 3.0];

/// What the headers leave of an IP packet of 1,500 octets, of utcp's segments.
pub const PAYLOAD_SHARE: f64 = MSS as f64 / crate::end::MTU as f64;

/// Times as many seeds for the points with few packets: there the luck of a run counts most.
const REPEATS: u64 = 5;

/// How long a flow is watched: a second at 1 Gbit/s has as many packets as a minute at 10 Mbit/s.
pub fn duration(rate: f64) -> Micros {
    if rate > 100.0 {
        20 * SECOND
    } else {
        60 * SECOND
    }
}

fn jobs(extent: &Extent) -> Vec<Job> {
    let mut jobs = Vec::new();
    for rate in RATES {
        for rtt in RTTS {
            for loss in LOSSES {
                if extent.quick && ((rate > 100.0 && loss > 0.0) || rtt == 20.0 || loss == 0.01) {
                    continue;
                }
                for &contestant in &extent.contestants {
                    let at = [("rate", rate), ("rtt", rtt), ("loss", loss)];
                    let cost = cost(contestant, rate, loss);
                    let run = move |seed| one(contestant, Path::new(rate, rtt, loss), seed);
                    let mut job = Job::new(SCENARIO.name, contestant.name, &at, cost, run);
                    if cost < 200.0 && loss > 0.0 && !extent.quick {
                        job.repeats = REPEATS;
                    }
                    jobs.push(job);
                }
            }
        }
    }
    jobs
}

/// About the milliseconds that a run takes.
fn cost(contestant: Contestant, rate: f64, loss: f64) -> f64 {
    let packets = rate * duration(rate) as f64 / 1e6 * 83.0;
    let packet = if contestant.is_ours() { 1.0 } else { 3.0 } / 1_000.0;
    let share = if contestant.name.contains("bbr") || loss == 0.0 {
        1.0
    } else {
        0.2
    };
    1.0 + packets * packet * share
}

fn one(contestant: Contestant, path: Path, seed: u64) -> Figures {
    let mut world = path.world(&[contestant], seed);
    let app = world.add(0, 0, Load::Bulk(ENDLESS));
    let duration = duration(path.rate);
    world.run_until(START + duration);
    let flow = &world.apps[app];
    let goodput = mbit(flow, 0, duration);
    let warm = mbit(flow, duration / 3, duration);
    let mut figures = vec![
        ("goodput", goodput),
        ("goodput_20s", mbit(flow, 0, 20 * SECOND)),
        ("goodput_warm", warm),
        ("percent", goodput / path.rate * 100.0),
        ("percent_warm", warm / path.rate * 100.0),
        ("of_payload", goodput / path.rate / PAYLOAD_SHARE * 100.0),
        ("of_payload_warm", warm / path.rate / PAYLOAD_SHARE * 100.0),
    ];
    figures.extend(common(&world, app));
    figures
}
