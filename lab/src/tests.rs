//! The harness itself: links, figures, verdicts, and that runs repeat.

use std::collections::BTreeSet;

use utcp::tcp::congestion::Algorithm;
use utcp::time::{MILLISECOND, SECOND, Time};

use crate::bench::{Extent, Job, Results};
use crate::contestant::{ALL, CONNECTIONS, Contestant, QUINN_CUBIC, UTCP_CUBIC, UTCP_NEWRENO};
use crate::end::{Content, MTU};
use crate::endpoint::Mode;
use crate::figures::{geometric_mean, jain, median, quantile};
use crate::link::{HEADERS, Link, Packet};
use crate::path::Path;
use crate::scenario;
use crate::tcb::MSS;
use crate::world::{ENDLESS, Load, START, World, address};

/// What comes out of a link when packets of 1,500 octets enter `every` microseconds for a second, and when.
fn through(mut link: Link, every: u64) -> Vec<Time> {
    let mut out = Vec::new();
    for i in 0..SECOND / every {
        let packet = Packet {
            from: address(0, 0),
            to: address(0, 1),
            data: vec![0; MTU - HEADERS],
            ecn: 0,
        };
        let mut at = Time(i * every);
        let mut packet = Some(packet);
        for stage in 0..link.stages() {
            let Some(p) = packet.take() else { break };
            let [first, second] = link.pass(stage, at, p).0;
            assert!(second.is_none());
            if let Some((later, p)) = first {
                at = later;
                packet = Some(p);
            }
        }
        if packet.is_some() {
            out.push(at);
        }
    }
    out
}

#[test]
fn a_link_lets_through_its_rate_and_no_more() {
    let path = Path::new(12.0, 20.0, 0.0);
    // 12 Mbit/s are a packet a millisecond; two come.
    let out = through(path.bottleneck(), 500);
    // What is sent in the second, and the queue of one bandwidth-delay product (20 packets).
    assert!((1_000..=1_022).contains(&out.len()), "{}", out.len());
    assert!(out.windows(2).all(|w| w[1].since(w[0]) == MILLISECOND));
    // One every two milliseconds finds no queue: its own time on the link, and half a round trip.
    let out = through(path.bottleneck(), 2_000);
    let delays = out
        .iter()
        .enumerate()
        .map(|(i, at)| at.0 - i as u64 * 2_000);
    assert!(delays.into_iter().all(|d| d == 11 * MILLISECOND));
}

#[test]
fn late_packets_are_late_by_exactly_so_much() {
    let out = through(Link::new().late(0.1, 5_000).seeded(1), 100);
    let delays: Vec<u64> = out
        .iter()
        .enumerate()
        .map(|(i, at)| at.0 - i as u64 * 100)
        .collect();
    assert!(delays.iter().all(|d| [0, 5_000].contains(d)));
    let late = delays.iter().filter(|d| **d > 0).count();
    assert!((900..1_100).contains(&late), "{late}");
}

#[test]
fn a_flow_fills_a_link_but_for_headers() {
    for contestant in ALL {
        let path = Path::new(10.0, 20.0, 0.0);
        let mut world = path.world(&[*contestant], 1);
        let app = world.add(0, 0, Load::Bulk(ENDLESS));
        world.run_until(START + 5 * SECOND);
        let mbit = world.apps[app].delivered_between(SECOND, 5 * SECOND) as f64 * 2e-6;
        assert!((8.0..9.8).contains(&mbit), "{}: {mbit}", contestant.name);
    }
}

#[test]
fn a_full_segment_fills_a_packet() {
    let path = Path::new(10.0, 20.0, 0.0);
    let mut world = path.world(&[UTCP_CUBIC], 1);
    world.sent = Some(Vec::new());
    world.add(0, 0, Load::Bulk(10 * MSS as u64));
    world.run_to_end(START + SECOND);
    let sizes = world.sent.unwrap();
    assert_eq!(sizes.len(), 10);
    assert!(sizes.iter().all(|s| s.size + HEADERS == MTU));
}

/// Everything that a run shows, for comparison.
fn fingerprint(mut world: World) -> String {
    let app = world.add(0, 0, Load::Bulk(ENDLESS));
    world.run_until(START + 3 * SECOND);
    let info = world.info(app);
    let counters = world.counters();
    format!("{:?} {info:?} {counters:?}", world.apps[app].timeline)
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_another() {
    let path = Path::new(20.0, 40.0, 1.0);
    for contestant in [UTCP_NEWRENO, QUINN_CUBIC] {
        let run = |seed| fingerprint(path.world(&[contestant], seed));
        assert_eq!(run(1), run(1), "{}", contestant.name);
        assert_ne!(run(1), run(2), "{}", contestant.name);
    }
    let run = |seed| fingerprint(CONNECTIONS[0].world(path, seed));
    assert_eq!(run(1), run(1), "a connection");
    assert_ne!(run(1), run(2), "a connection");
}

#[test]
fn chosen_packets_are_lost_and_only_they() {
    for contestant in [UTCP_CUBIC, QUINN_CUBIC] {
        let path = Path::new(10.0, 20.0, 0.0);
        let run = |victims: BTreeSet<u64>| {
            let mut world = path.world(&[contestant], 1);
            world.victims = victims;
            let app = world.add(0, 0, Load::Bulk(20_000));
            world.run_to_end(START + 10 * SECOND);
            assert!(world.victims.is_empty(), "they were sent");
            let [there, _] = world.counters();
            assert_eq!(there.dropped, 0, "the link itself drops nothing");
            assert_eq!(world.apps[app].delivered, 20_000);
            world.now().since(START)
        };
        let (without, with) = (run(BTreeSet::new()), run(BTreeSet::from([3, 5])));
        assert!(with > without, "{}: {with} {without}", contestant.name);
    }
}

#[test]
fn cells_take_half_a_round_trip() {
    let mut world = Path::new(100.0, 50.0, 0.0).world(&[UTCP_CUBIC], 1);
    let load = Load::Cells {
        size: 514,
        every: 50 * MILLISECOND,
        count: 20,
    };
    let app = world.add(0, 0, load);
    world.run_to_end(START + 10 * SECOND);
    assert_eq!(world.apps[app].delays.len(), 20);
    let half = 25 * MILLISECOND..25 * MILLISECOND + 100;
    assert!(world.apps[app].delays.iter().all(|d| half.contains(d)));
    assert!((45..60).contains(&(world.apps[app].starved(world.now()) / MILLISECOND)));
}

#[test]
fn an_application_that_gets_nothing_starves() {
    let path = Path::new(10.0, 20.0, 0.0);
    let mut world = path.world_with(&[UTCP_CUBIC], 1, || {
        let dead = || Link::new().loss(1.0);
        [dead(), dead()]
    });
    let app = world.add(0, SECOND, Load::Bulk(ENDLESS));
    world.run_until(START + 5 * SECOND);
    assert_eq!(world.apps[app].starved(world.now()), 4 * SECOND);
    assert_eq!(world.apps[app].delivered, 0);
}

#[test]
fn circuits_share_a_connection_beside_others() {
    let path = Path::new(10.0, 20.0, 0.0);
    let mut world = CONNECTIONS[0].world_beside(path, 1, &[QUINN_CUBIC]);
    for flow in [0, 0, 0, 1] {
        world.add(flow, 0, Load::Bulk(ENDLESS));
    }
    world.run_until(START + 5 * SECOND);
    assert!(world.apps.iter().all(|a| a.delivered > 100_000));
    let sum: u64 = world.apps.iter().map(|a| a.delivered).sum();
    assert!((5_000_000..6_250_000).contains(&sum), "{sum}");
}

#[test]
fn content_has_no_period_of_a_segment() {
    let content = Content::default();
    assert_ne!(content.at(0, 1_000), content.at(1_000, 1_000));
    assert_eq!(content.at(0, 1_000), content.at(65_521, 1_000));
    assert_eq!(
        content.at(65_520, 2),
        &[content.at(65_520, 1)[0], content.at(0, 1)[0]]
    );
}

#[test]
fn figures() {
    let values: Vec<f64> = (1..=1_000).rev().map(f64::from).collect();
    assert_eq!(quantile(&values, 0.5), 500.0);
    assert_eq!(quantile(&values, 0.999), 999.0);
    assert_eq!(quantile(&values, 1.0), 1_000.0);
    assert_eq!(quantile(&values, 0.0), 1.0);
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    assert!(median(&[]).is_nan() && quantile(&[], 0.5).is_nan());
    assert_eq!(jain(&[5.0; 7]), 1.0);
    assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), 0.25);
    assert!((geometric_mean(&[1.0, 4.0]) - 2.0).abs() < 1e-12);
}

#[test]
fn figures_of_linux_are_on_the_grid() {
    use scenario::grid::{LOSSES, RATES, RTTS};
    let all = crate::linux::measured();
    assert_eq!(all.len(), 47);
    for m in all {
        assert!(RATES.contains(&m.rate) && RTTS.contains(&m.rtt) && LOSSES.contains(&m.loss));
        assert!([20, 60].contains(&m.seconds) && ["cubic", "bbr"].contains(&m.control));
        assert!(m.goodput > 0.0 && m.goodput < m.rate);
    }
}

/// A job whose figures are known.
fn known(
    scenario: &'static str,
    contestant: &str,
    at: &[(&'static str, f64)],
    figures: &[(&'static str, f64)],
) -> Job {
    let figures = figures.to_vec();
    Job::new(scenario, contestant, at, 1.0, move |seed| {
        // The median of seeds 1 to 3 is the figure.
        figures
            .iter()
            .map(|(n, v)| (*n, v + seed as f64 - 2.0))
            .collect()
    })
}

#[test]
fn targets_are_judged_by_medians_and_left_out_when_not_measured() {
    assert!(crate::targets::judge(&Results::default()).is_empty());
    let at = [("loss", 1.0)];
    let run = |p999| {
        let jobs = [
            known("cells", "utcp-cubic", &at, &[("p999", p999)]),
            known("cells", "quinn-cubic", &at, &[("p999", 1.0)]),
        ];
        crate::targets::judge(&crate::bench::run(&jobs, 3))
    };
    let met: Vec<bool> = run(110.0).iter().map(|v| v.met).collect();
    // At 3 % nothing was measured.
    assert_eq!(met, [true, false]);
    assert!(!run(110.5)[0].met);
}

#[test]
fn a_contestant_that_is_not_there_misses_its_target() {
    let at = [("rate", 10.0), ("rtt", 50.0), ("loss", 3.0)];
    let good = [
        ("goodput_20s", 10.0),
        ("goodput", 10.0),
        ("of_payload_warm", 100.0),
    ];
    let jobs = [known("grid", "utcp-cubic", &at, &good)];
    let verdicts = crate::targets::judge(&crate::bench::run(&jobs, 1));
    let find = |text: &str| verdicts.iter().find(|v| v.what.contains(text)).unwrap();
    assert!(find("at 3 %").met);
    assert!(!find("BBR").met);
    assert!(!find("geometric").met);
}

#[test]
fn every_scenario_has_jobs_of_its_own_name_and_no_two_are_of_the_same() {
    let extent = Extent {
        quick: false,
        contestants: ALL.to_vec(),
        connections: CONNECTIONS.to_vec(),
    };
    let mut keys = BTreeSet::new();
    for scenario in scenario::ALL {
        let jobs = (scenario.jobs)(&extent);
        assert!(!jobs.is_empty(), "{}", scenario.name);
        for job in jobs {
            assert_eq!(job.key.scenario, scenario.name);
            assert!(keys.insert(job.key.clone()), "{:?} twice", job.key);
        }
    }
}

#[test]
fn contestants_are_found_by_name() {
    assert_eq!(Contestant::named("utcp-cubic"), Some(UTCP_CUBIC));
    assert_eq!(Contestant::named("nobody"), None);
    let independent = CONNECTIONS.iter().find(|c| c.name == "utcp-cubic").unwrap();
    assert_eq!(
        (independent.algorithm, independent.mode),
        (Algorithm::Cubic, Mode::Independent)
    );
}
