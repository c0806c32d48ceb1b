//! Bulk data over links that do something other than lose packets at random.

use utcp::time::{MILLISECOND, Micros, SECOND};

use super::{Scenario, common, mbit};
use crate::bench::{Extent, Figures, Job};
use crate::contestant::Contestant;
use crate::link::Link;
use crate::path::Path;
use crate::world::{ENDLESS, Load, START, World};

/// How long flows are watched.
const DURATION: Micros = 60 * SECOND;

const SPURIOUS: (&str, &str) = ("spurious_percent", "spurious %");

/// One packet in a hundred is late, nothing is lost but to the queue.
pub const REORDERING: Scenario = Scenario {
    name: "reordering",
    about: "1 % of packets late, both ways: Mbit/s / round-trip ms / ms late; % of the rate, and of what was sent needlessly",
    jobs: reordering,
    columns: &[("percent", "%"), SPURIOUS],
};

/// One packet in a hundred comes twice.
pub const DUPLICATION: Scenario = Scenario {
    name: "duplication",
    about: "1 % of packets come again up to 5 ms later, both ways: Mbit/s / round-trip ms",
    jobs: duplication,
    columns: &[("percent", "%"), ("resent_percent", "resent %")],
};

/// Acknowledgements are lost.
pub const ACK_LOSS: Scenario = Scenario {
    name: "ack-loss",
    about: "only packets on the way back are lost: Mbit/s / round-trip ms / loss %",
    jobs: ack_loss,
    columns: &[("percent", "%"), SPURIOUS],
};

/// Nothing comes through for a while.
pub const BLACKOUT: Scenario = Scenario {
    name: "blackout",
    about: "nothing comes through for 2 s, 100 Mbit/s: round-trip ms; ms from its end to the next octet, and Mbit/s of the 10 s after it",
    jobs: blackout,
    columns: &[("resumed_ms", "ms"), ("goodput_after", "Mbit/s")],
};

fn bulk(
    contestant: Contestant,
    path: Path,
    seed: u64,
    links: impl FnOnce() -> [Link; 2],
) -> Figures {
    let mut world = path.world_with(&[contestant], seed, links);
    let app = world.add(0, 0, Load::Bulk(ENDLESS));
    world.run_until(START + DURATION);
    let goodput = mbit(&world.apps[app], 0, DURATION);
    let mut figures = vec![
        ("goodput", goodput),
        ("percent", goodput / path.rate * 100.0),
    ];
    figures.extend(common(&world, app));
    figures
}

fn reordering(extent: &Extent) -> Vec<Job> {
    let points = [(10.0, 50.0, 5.0), (100.0, 50.0, 5.0), (100.0, 50.0, 20.0)];
    let each = points.into_iter().flat_map(|(rate, rtt, late)| {
        extent.contestants.iter().map(move |&contestant| {
            let at = [("rate", rate), ("rtt", rtt), ("late", late)];
            let path = Path::new(rate, rtt, 0.0);
            let by = (late * MILLISECOND as f64) as Micros;
            Job::new(REORDERING.name, contestant.name, &at, 1e3, move |seed| {
                let link = || path.bottleneck().late(0.01, by);
                bulk(contestant, path, seed, || [link(), link()])
            })
        })
    });
    each.collect()
}

fn duplication(extent: &Extent) -> Vec<Job> {
    let each = [10.0, 100.0].into_iter().flat_map(|rate| {
        extent.contestants.iter().map(move |&contestant| {
            let at = [("rate", rate), ("rtt", 50.0)];
            let path = Path::new(rate, 50.0, 0.0);
            Job::new(DUPLICATION.name, contestant.name, &at, 1e3, move |seed| {
                let link = || path.bottleneck().duplicate(0.01, 5 * MILLISECOND);
                bulk(contestant, path, seed, || [link(), link()])
            })
        })
    });
    each.collect()
}

fn ack_loss(extent: &Extent) -> Vec<Job> {
    let points = [10.0, 100.0].into_iter();
    let points = points.flat_map(|rate| [1.0, 10.0, 30.0, 50.0].map(|loss| (rate, loss)));
    let each = points.flat_map(|(rate, loss)| {
        extent.contestants.iter().map(move |&contestant| {
            let at = [("rate", rate), ("rtt", 50.0), ("loss", loss)];
            let path = Path::new(rate, 50.0, 0.0);
            Job::new(ACK_LOSS.name, contestant.name, &at, 1e3, move |seed| {
                let back = || path.bottleneck().loss(loss / 100.0);
                bulk(contestant, path, seed, || [path.bottleneck(), back()])
            })
        })
    });
    each.collect()
}

fn blackout(extent: &Extent) -> Vec<Job> {
    let each = [20.0, 50.0, 200.0].into_iter().flat_map(|rtt| {
        extent.contestants.iter().map(move |&contestant| {
            let path = Path::new(100.0, rtt, 0.0);
            Job::new(
                BLACKOUT.name,
                contestant.name,
                &[("rtt", rtt)],
                500.0,
                move |seed| through_blackout(contestant, path, seed),
            )
        })
    });
    each.collect()
}

fn through_blackout(contestant: Contestant, path: Path, seed: u64) -> Figures {
    let (from, until) = (START + 10 * SECOND, START + 12 * SECOND);
    let link = || {
        Link::new()
            .blackout(from, until)
            .rate(path.octets(), path.queue())
            .delay(path.rtt() / 2)
    };
    let mut world: World = path.world_with(&[contestant], seed, || [link(), link()]);
    let app = world.add(0, 0, Load::Bulk(ENDLESS));
    world.run_until(until);
    let before = world.apps[app].delivered;
    let mut at = until;
    while world.apps[app].delivered == before && at < until + 60 * SECOND {
        at = at + MILLISECOND;
        world.run_until(at);
    }
    let resumed = at.since(until) as f64 / 1e3;
    world.run_until(until + 60 * SECOND);
    let mut figures = vec![
        ("resumed_ms", resumed),
        (
            "goodput_after",
            mbit(&world.apps[app], 12 * SECOND, 22 * SECOND),
        ),
    ];
    figures.extend(common(&world, app));
    figures
}
