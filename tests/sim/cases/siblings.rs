//! Circuits that share a congestion window, and many that begin at once.

use utcp::config::Config;
use utcp::endpoint::CircuitId;
use utcp::stats::ConnectionInfo;
use utcp::tcp::congestion::Algorithm;
use utcp::time::{MILLISECOND, Micros, SECOND, Time};

use super::{bad, broadband, fast, scripts};
use crate::link::Link;
use crate::net::{Net, seeds};
use crate::plan;
use crate::rng::Rng;

const ALL: [Algorithm; 3] = [Algorithm::Cubic, Algorithm::Bbr, Algorithm::NewReno];

/// Two hosts with the configuration as changed.
fn pair(name: &str, seed: u64, link: impl Fn() -> Link, change: impl Fn(&mut Config)) -> Net {
    let mut net = Net::pair(name, seed, link);
    for index in 0..2 {
        let mut config = net.config(index);
        change(&mut config);
        net.reconfigure(index, config);
    }
    net
}

/// Two hosts whose circuits share a window.
fn coupled(name: &str, seed: u64, congestion: Algorithm, link: impl Fn() -> Link) -> Net {
    pair(name, seed, link, |config| {
        config.coupled = true;
        config.congestion = congestion;
    })
}

fn info(net: &Net, host: usize) -> ConnectionInfo {
    let id = net.ready(host, 1 - host).expect("ready");
    net.hosts[host].endpoint.connection_info(id).expect("known")
}

fn circuit(net: &Net, host: usize, plan: usize) -> CircuitId {
    let flows = &net.hosts[host].flows;
    let flow = flows.values().find(|f| f.plan == Some(plan));
    flow.expect("a circuit").id
}

fn took(net: &Net, plan: usize) -> Micros {
    let progress = &net.shared.plans[plan].progress;
    let done = progress.iter().filter_map(|p| p.done).max().expect("done");
    Time(done).since(Time(progress[0].started.expect("started")))
}

/// What is counted as in flight is what the circuits have in flight that share the window.
fn assert_counted(net: &Net) {
    for host in 0..2 {
        let endpoint = &net.hosts[host].endpoint;
        let circuits = net.hosts[host].flows.keys();
        let infos = circuits.filter_map(|&id| endpoint.circuit_info(id));
        let sum: u64 = infos
            .filter(|info| info.coupled)
            .map(|info| info.bytes_in_flight)
            .sum();
        assert_eq!(info(net, host).coupled_in_flight, sum, "host {host}");
    }
}

/// Everything is acknowledged in the end, and so nothing is in flight.
fn assert_settled(net: &mut Net) {
    net.assert_clean();
    for host in 0..2 {
        assert_eq!(info(net, host).coupled_in_flight, 0, "host {host}");
    }
}

#[test]
fn twenty_circuits_transfer_everything() {
    type Named = (&'static str, fn() -> Link);
    let links: [Named; 5] = [
        ("clean", broadband),
        ("loss", || broadband().loss(0.02)),
        ("reordering", || broadband().reorder(0.1, 20 * MILLISECOND)),
        ("all", bad),
        ("blackout", || {
            let start = Time(1_000 * SECOND);
            broadband().blackout(start + 2 * SECOND, start + 7 * SECOND)
        }),
    ];
    for congestion in ALL {
        for (kind, link) in links {
            seeds(
                &format!("coupled {congestion:?} {kind}"),
                1,
                |name, seed| {
                    let mut net = coupled(name, seed, congestion, link);
                    net.establish();
                    let mut rng = Rng::new(seed, 1);
                    for number in 1..=20 {
                        let (opener, acceptor) = if rng.chance(0.5) { (0, 1) } else { (1, 0) };
                        net.open(
                            opener,
                            acceptor,
                            number,
                            rng.below(SECOND),
                            plan::both_ways(200_000, 200_000),
                        );
                    }
                    for _ in 0..100 {
                        net.pass(50 * MILLISECOND);
                        assert_counted(&net);
                    }
                    net.complete(120 * SECOND);
                    assert_settled(&mut net);
                },
            );
        }
    }
}

#[test]
fn several_flows_may_be_claimed() {
    for flows in [2, 8, 64] {
        seeds(&format!("{flows} flows"), 1, |name, seed| {
            let link = || broadband().loss(0.01);
            let mut net = pair(name, seed, link, |config| {
                config.coupled = true;
                config.coupled_flows = flows;
            });
            net.establish();
            for number in 1..=10 {
                net.open(0, 1, number, 0, plan::both_ways(200_000, 200_000));
            }
            net.complete(60 * SECOND);
            assert_settled(&mut net);
        });
    }
}

#[test]
fn circuits_join_and_leave_while_data_flows() {
    for (kind, link) in [
        ("clean", broadband as fn() -> Link),
        ("bad", bad),
        ("fast", || fast().loss(0.005)),
    ] {
        seeds(&format!("switching, {kind}"), 3, |name, seed| {
            let mut net = Net::pair(name, seed, link);
            net.establish();
            let mut rng = Rng::new(seed, 2);
            for number in 1..=12 {
                net.open(0, 1, number, 0, plan::both_ways(300_000, 300_000));
            }
            let mut switched = 0;
            while net.shared.unfinished > 0 {
                net.pass(rng.between(1, 20 * MILLISECOND));
                let host = rng.below(2) as usize;
                let ids: Vec<CircuitId> = net.hosts[host].flows.keys().copied().collect();
                let id = ids[rng.below(ids.len() as u64) as usize];
                let on = rng.chance(0.5);
                if net.hosts[host].endpoint.set_coupled(id, on).is_ok() {
                    let info = net.hosts[host].endpoint.circuit_info(id).expect("known");
                    assert_eq!(info.coupled, on);
                    switched += 1;
                }
                net.serve(host);
                assert_counted(&net);
                assert!(switched < 20_000, "it does not come to an end");
            }
            assert!(switched > 20, "{switched}");
            assert_settled(&mut net);
        });
    }
}

#[test]
fn circuits_that_end_in_the_middle_leave_nothing_behind() {
    seeds("coupled, ended", 4, |name, seed| {
        let mut net = coupled(name, seed, Algorithm::Cubic, bad);
        net.establish();
        let mut rng = Rng::new(seed, 3);
        for number in 1..=150 {
            let (opener, acceptor) = if rng.chance(0.5) { (0, 1) } else { (1, 0) };
            let ends = match rng.below(6) {
                0 => plan::abort_by_opener(rng.between(100, 100_000)),
                1 => plan::abort_by_acceptor(rng.between(100, 100_000)),
                2 => plan::abort_by_both(rng.between(100, 100_000)),
                3 => plan::close_early(200_000, rng.between(1, 100_000)),
                4 => plan::let_go(rng.between(100, 30_000)),
                _ => scripts::orderly(&mut rng, 60_000),
            };
            net.open(opener, acceptor, number, rng.below(10 * SECOND), ends);
        }
        net.complete(400 * SECOND);
        assert_settled(&mut net);
        // And what comes after has all of the window.
        let plan = net.open(0, 1, 1_000, 0, plan::upload(1_000_000));
        net.complete(60 * SECOND);
        assert!(took(&net, plan) < 30 * SECOND, "{}", took(&net, plan));
    });
}

#[test]
fn a_connection_that_ends_takes_its_window_along() {
    seeds("coupled, restart", 2, |name, seed| {
        let mut net = coupled(name, seed, Algorithm::Cubic, broadband);
        net.establish();
        for number in 1..=10 {
            net.open(0, 1, number, 0, plan::both_ways(1_000_000, 1_000_000));
        }
        net.pass(SECOND);
        let id = net.ready(0, 1).expect("ready");
        net.doom();
        assert_eq!(net.hosts[0].endpoint.connection_close(id), Ok(()));
        net.serve(0);
        net.complete(30 * SECOND);
        net.establish();
        net.open(0, 1, 1, 0, plan::both_ways(300_000, 300_000));
        net.complete(30 * SECOND);
        assert_settled(&mut net);
    });
}

/// The time of a request and its answer beside bulk transfers, against that without them.
#[test]
fn a_quiet_circuit_gets_through_beside_bulk() {
    seeds("quiet beside bulk", 2, |name, seed| {
        let times = |bulk: u32| {
            let mut net = coupled(name, seed, Algorithm::Cubic, broadband);
            net.establish();
            for number in 1..=bulk {
                net.open(0, 1, number, 0, plan::both_ways(4_000_000, 4_000_000));
            }
            net.pass(2 * SECOND);
            let quiet = net.open(0, 1, 100, 0, plan::requests(100, 514, 514));
            net.run_until("the quiet circuit is done", 60 * SECOND, |net| {
                !net.shared.plans[quiet].pending.contains(&true)
            });
            took(&net, quiet)
        };
        let (alone, beside) = (times(0), times(10));
        // Round trips of 40 ms, to which the queue of the link adds 51 ms each way at most.
        assert!(alone < 101 * 42 * MILLISECOND, "{alone}");
        assert!(beside < 101 * 142 * MILLISECOND, "{beside}");
    });
}

/// With BBR there is next to no queue on the path, and a circuit that has been quiet does not wait for the pacing of the
/// others, whose timers are coarse.
#[test]
fn a_quiet_circuit_waits_for_nobody() {
    seeds("quiet beside paced bulk", 2, |name, seed| {
        let times = |bulk: u32| {
            let link = || Link::new().rate(5_000_000, 250_000).delay(25 * MILLISECOND);
            let mut net = coupled(name, seed, Algorithm::Bbr, link);
            for host in &mut net.hosts {
                host.timer_tick = 10 * MILLISECOND;
            }
            net.establish();
            for number in 1..=bulk {
                net.open(0, 1, number, 0, plan::upload(60_000_000));
            }
            net.pass(4 * SECOND);
            let quiet = net.open(0, 1, 100, 0, plan::requests(100, 514, 514));
            net.run_until("the quiet circuit is done", 60 * SECOND, |net| {
                !net.shared.plans[quiet].pending.contains(&true)
            });
            took(&net, quiet)
        };
        let (alone, beside) = (times(0), times(8));
        assert!(alone < 101 * 51 * MILLISECOND, "{alone}");
        assert!(beside < alone * 110 / 100, "{beside} beside, {alone} alone");
    });
}

#[test]
fn many_circuits_begin_with_few_datagrams_and_all_get_through() {
    for couple in [false, true] {
        for octets in [8, 600, 20_000] {
            seeds(
                &format!("500 at once, {octets}, {couple}"),
                1,
                |name, seed| {
                    let link = || {
                        Link::new()
                            .rate(12_500_000, 150_000)
                            .delay(25 * MILLISECOND)
                    };
                    let mut net = pair(name, seed, link, |config| config.coupled = couple);
                    net.establish();
                    net.pass(2 * SECOND);
                    let before = net.counters(0, 1).entered;
                    for number in 1..=500 {
                        net.open(0, 1, number, 1, plan::both_ways(octets, octets));
                    }
                    net.pass(50 * MILLISECOND);
                    let burst = net.counters(0, 1).entered - before;
                    assert!(burst <= 40, "{burst} datagrams in the first round trip");
                    assert!(burst >= 8, "{burst} datagrams in the first round trip");
                    net.complete(120 * SECOND);
                    if octets < 1_000 {
                        assert_eq!(net.counters(0, 1).dropped, 0);
                    }
                    assert_settled(&mut net);
                },
            );
        }
    }
}

#[test]
fn a_common_window_is_shared_by_weight() {
    for congestion in ALL {
        seeds(&format!("weights {congestion:?}"), 2, |name, seed| {
            let mut net = coupled(name, seed, congestion, broadband);
            net.establish();
            let weights = [4, 4, 16, 16, 64, 64];
            let plans: Vec<usize> = (1..=6)
                .map(|number| net.open(0, 1, number, 0, plan::upload(20_000_000)))
                .collect();
            for (&plan, &weight) in plans.iter().zip(&weights) {
                let id = circuit(&net, 0, plan);
                assert_eq!(net.hosts[0].endpoint.set_priority(id, weight), Ok(()));
            }
            let received = |net: &Net| {
                let of = |&plan: &usize| net.shared.plans[plan].progress[1].received;
                plans.iter().map(of).collect::<Vec<u64>>()
            };
            net.pass(5 * SECOND);
            let before = received(&net);
            net.pass(15 * SECOND);
            let after = received(&net);
            let rates: Vec<f64> = (0..6)
                .map(|i| (after[i] - before[i]) as f64 / f64::from(weights[i]))
                .collect();
            let mean = rates.iter().sum::<f64>() / 6.0;
            for rate in &rates {
                assert!((0.8..1.25).contains(&(rate / mean)), "{rates:?}");
            }
            // And together they fill the link: 1.25 MB/s.
            let sum: u64 = (0..6).map(|i| after[i] - before[i]).sum();
            assert!(sum > 15_000_000, "{sum}");
        });
    }
}

/// Also of circuits that stop and go, as the cells of a relay come.
#[test]
fn equal_circuits_get_equal_parts() {
    seeds("equal parts", 2, |name, seed| {
        let mut net = coupled(name, seed, Algorithm::Cubic, || broadband().loss(0.001));
        net.establish();
        let plans: Vec<usize> = (1..=100)
            .map(|number| net.open(0, 1, number, 0, plan::upload(2_000_000)))
            .collect();
        net.pass(20 * SECOND);
        let rates: Vec<f64> = plans
            .iter()
            .map(|&plan| net.shared.plans[plan].progress[1].received as f64)
            .collect();
        let (sum, squares) = rates
            .iter()
            .fold((0.0, 0.0), |(s, q), r| (s + r, q + r * r));
        let jain = sum * sum / (100.0 * squares);
        assert!(jain > 0.95, "{jain}: {rates:?}");
    });
}

#[test]
fn the_control_of_a_common_window_is_switched_while_data_flows() {
    for (kind, link) in [("clean", broadband as fn() -> Link), ("bad", bad)] {
        seeds(&format!("group control, {kind}"), 2, |name, seed| {
            let mut net = coupled(name, seed, Algorithm::Cubic, link);
            net.establish();
            for number in 1..=10 {
                net.open(0, 1, number, 0, plan::both_ways(500_000, 500_000));
            }
            let mut turn = 0;
            while net.shared.unfinished > 0 {
                let host = turn % 2;
                let algorithm = ALL[(turn / 2) % 3];
                let id = net.ready(host, 1 - host).expect("ready");
                let endpoint = &mut net.hosts[host].endpoint;
                assert_eq!(endpoint.set_connection_congestion(id, algorithm), Ok(()));
                assert_eq!(info(&net, host).coupled_congestion, algorithm as u32);
                net.serve(host);
                net.pass(130 * MILLISECOND);
                assert_counted(&net);
                turn += 1;
                assert!(turn < 3_000, "it does not come to an end");
            }
            assert_settled(&mut net);
        });
    }
}

/// A path that has become narrow makes segments out of those that were lost for their size: they are not under way.
#[test]
fn a_narrower_path_does_not_leave_the_window_full() {
    seeds("coupled, narrower", 2, |name, seed| {
        let mut net = coupled(name, seed, Algorithm::Cubic, broadband);
        net.establish();
        for number in 1..=10 {
            net.open(0, 1, number, 0, plan::both_ways(500_000, 500_000));
        }
        net.pass(2 * SECOND);
        net.links(|| broadband().mtu(1_300));
        net.complete(60 * SECOND);
        assert_settled(&mut net);
    });
}

/// Quiet circuits first, then bulk beside them: what was measured while nobody wanted much must not hold it back.
#[test]
fn bulk_after_quiet_circuits_fills_the_link() {
    for congestion in [Algorithm::Cubic, Algorithm::Bbr] {
        seeds(&format!("after quiet {congestion:?}"), 2, |name, seed| {
            let link = || Link::new().rate(5_000_000, 250_000).delay(25 * MILLISECOND);
            let mut net = coupled(name, seed, congestion, link);
            net.establish();
            for number in 1..=4 {
                net.open(0, 1, number, 0, plan::requests(300, 514, 514));
            }
            net.pass(5 * SECOND);
            net.open(0, 1, 50, 0, plan::upload(30_000_000));
            net.open(0, 1, 51, 0, plan::upload(30_000_000));
            net.pass(4 * SECOND);
            // 4 s at 40 Mbit/s are 20 MB.
            let sent = info(&net, 0).stats.payload_sent;
            assert!(sent > 15_000_000, "{congestion:?}: {sent}");
        });
    }
}

/// Whoever wakes up late sends what was due meanwhile.
#[test]
fn late_wake_ups_leave_no_link_idle() {
    for congestion in ALL {
        for coupled in [true, false] {
            let what = format!("late, {congestion:?}, coupled {coupled}");
            seeds(&what, 2, |name, seed| {
                let link = || Link::new().rate(5_000_000, 250_000).delay(25 * MILLISECOND);
                let mut net = pair(name, seed, link, |config| {
                    config.coupled = coupled;
                    config.congestion = congestion;
                });
                net.hosts[0].timer_tick = 5 * MILLISECOND;
                net.establish();
                net.open(0, 1, 1, 0, plan::upload(60_000_000));
                net.pass(8 * SECOND);
                let sent = info(&net, 0).stats.payload_sent;
                assert!(sent > 30_000_000, "{what}: {sent}");
            });
        }
    }
}
