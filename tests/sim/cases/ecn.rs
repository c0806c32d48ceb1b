//! Explicit congestion notification over links that mark, and over such as do with the marks what they should not.

use utcp::stats::CircuitInfo;
use utcp::tcp::congestion::Algorithm;
use utcp::time::{MILLISECOND, Micros, SECOND, Time};

use crate::link::{Field, Link};
use crate::net::{Net, seeds};
use crate::plan;

const ALL: [Algorithm; 3] = [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr];

/// 20 Mbit/s, 40 ms round trip: one bandwidth-delay product waits before it marks.
fn marking() -> Link {
    Link::new()
        .marking_rate(2_500_000, 1_000_000, 100_000)
        .delay(20 * MILLISECOND)
}

/// The same, where nobody waits for longer.
fn dropping() -> Link {
    Link::new().rate(2_500_000, 100_000).delay(20 * MILLISECOND)
}

/// Hosts that want ECN or not, and this congestion control.
fn pair(
    name: &str,
    seed: u64,
    wants: [bool; 2],
    congestion: Algorithm,
    link: impl Fn() -> Link,
) -> Net {
    let mut net = Net::pair(name, seed, link);
    for (index, ecn) in wants.into_iter().enumerate() {
        let mut config = net.config(index);
        config.ecn = ecn;
        config.congestion = congestion;
        net.reconfigure(index, config);
    }
    net
}

/// One end of a plan's circuit.
fn info(net: &Net, plan: usize, host: usize) -> CircuitInfo {
    let flows = &net.hosts[host].flows;
    let flow = flows
        .values()
        .find(|f| f.plan == Some(plan))
        .expect("a circuit");
    net.hosts[host]
        .endpoint
        .circuit_info(flow.id)
        .expect("known")
}

/// How long the data of an upload took.
fn took(net: &Net, plan: usize) -> Micros {
    let progress = &net.shared.plans[plan].progress;
    let done = progress[1].done.expect("done");
    Time(done).since(Time(progress[0].started.expect("started")))
}

/// Uploads `octets`, and looks at the sender when `seen` of them have arrived.
fn upload(net: &mut Net, octets: u64, bound: Micros) -> (usize, CircuitInfo, CircuitInfo) {
    let number = net.shared.plans.len() as u32 + 1;
    let plan = net.open(0, 1, number, 0, plan::upload(octets));
    net.run_until("nearly all has arrived", bound, |net| {
        net.shared.plans[plan].progress[1].received >= octets * 9 / 10
    });
    let ends = (info(net, plan, 0), info(net, plan, 1));
    net.complete(bound);
    (plan, ends.0, ends.1)
}

#[test]
fn a_marking_queue_is_filled_without_loss() {
    for congestion in ALL {
        seeds(&format!("marks, {congestion:?}"), 2, |name, seed| {
            let mut net = pair(name, seed, [true; 2], congestion, marking);
            net.establish();
            let (plan, sender, receiver) = upload(&mut net, 20_000_000, 60 * SECOND);
            assert!(sender.ecn && receiver.ecn);
            assert_eq!(sender.segments_retransmitted, 0, "{sender:?}");
            assert_eq!((sender.timeouts, sender.fast_recoveries), (0, 0));
            assert_eq!(net.counters(0, 1).dropped, 0);
            // 8 s at the rate of the link, of which headers take 6 %.
            assert!(took(&net, plan) < 95 * SECOND / 10, "{}", took(&net, plan));
            // Every mark is counted where it arrives, and reported but for those of the last round trip.
            let marked = net.counters(0, 1).touched;
            assert!(marked > 0);
            assert!(receiver.ce_received <= marked);
            assert!(sender.ce_reported <= receiver.ce_received);
            if congestion != Algorithm::Bbr {
                assert!(sender.ce_reported > 0, "{sender:?}");
                assert!(sender.ssthresh < u64::MAX);
                // Once in a round trip, not once for each mark: most marks come in a row.
                assert!(sender.ssthresh > 50_000, "{}", sender.ssthresh);
            }
            net.assert_clean();
        });
    }
}

#[test]
fn the_window_is_reduced_once_in_a_round_trip() {
    seeds("reductions", 3, |name, seed| {
        let mut net = pair(name, seed, [true; 2], Algorithm::NewReno, marking);
        net.establish();
        let plan = net.open(0, 1, 1, 0, plan::upload(10_000_000));
        net.run_until("it is accepted", SECOND, |net| {
            net.shared.plans[plan].progress[1].started.is_some()
        });
        let mut before = info(&net, plan, 0);
        let mut reduced_at = Time(0);
        let mut reductions = 0;
        for _ in 0..3_000 {
            net.pass(MILLISECOND);
            let now = info(&net, plan, 0);
            if now.cwnd < before.cwnd {
                assert!(now.ce_reported > before.ce_reported);
                // Halved; in slow start not all of it is in use.
                let least = before.bytes_in_flight / 2 - 2 * u64::from(now.mss);
                assert!(now.cwnd >= least, "{before:?} {now:?}");
                assert!(net.now().since(reduced_at) >= 40 * MILLISECOND);
                reduced_at = net.now();
                reductions += 1;
            }
            before = now;
        }
        assert!(reductions > 1, "{reductions}");
        assert!(before.ce_reported > reductions, "{before:?}");
        net.complete(30 * SECOND);
    });
}

#[test]
fn acknowledgements_may_be_lost() {
    seeds("marks, lost acknowledgements", 3, |name, seed| {
        let mut net = pair(name, seed, [true; 2], Algorithm::NewReno, || {
            Link::new()
                .marking_rate(2_500_000, 1_000_000, 15_000)
                .delay(20 * MILLISECOND)
        });
        net.link(
            1,
            0,
            Link::new()
                .loss(0.3)
                .reorder(0.1, 5 * MILLISECOND)
                .delay(20 * MILLISECOND),
        );
        net.establish();
        let (_, sender, receiver) = upload(&mut net, 10_000_000, 60 * SECOND);
        // What is sent again, after so many lost acknowledgements, may not be marked.
        assert!(net.counters(0, 1).dropped <= sender.segments_retransmitted);
        assert!(receiver.ce_received > 0);
        // All but those on the way.
        assert!(
            sender.ce_reported * 2 > receiver.ce_received,
            "{sender:?} {receiver:?}"
        );
        net.assert_clean();
    });
}

#[test]
fn both_directions_are_marked_at_once() {
    seeds("marks both ways", 3, |name, seed| {
        let mut net = pair(name, seed, [true; 2], Algorithm::Cubic, || {
            marking().loss(0.002)
        });
        net.establish();
        for number in 1..=5 {
            net.open(0, 1, number, 0, plan::both_ways(2_000_000, 2_000_000));
        }
        net.complete(60 * SECOND);
        assert!(net.counters(0, 1).touched > 0 && net.counters(1, 0).touched > 0);
        net.assert_clean();
    });
}

#[test]
fn one_side_alone_has_no_use_for_it() {
    for wants in [[true, false], [false, true], [false, false]] {
        seeds(&format!("ecn {wants:?}"), 1, |name, seed| {
            let mut net = pair(name, seed, wants, Algorithm::Cubic, marking);
            net.establish();
            let (_, sender, receiver) = upload(&mut net, 5_000_000, 60 * SECOND);
            assert!(!sender.ecn && !receiver.ecn);
            let back = net.open(1, 0, 0x8000_0001, 0, plan::upload(1_000_000));
            net.complete(30 * SECOND);
            assert!(took(&net, back) < 5 * SECOND);
            for (from, to) in [(0, 1), (1, 0)] {
                assert_eq!(net.counters(from, to).capable, 0);
                assert_eq!(net.counters(from, to).touched, 0);
            }
            assert_eq!(sender.ce_reported + receiver.ce_received, 0);
            net.assert_clean();
        });
    }
}

#[test]
fn a_path_that_clears_the_field_is_as_one_without() {
    seeds("bleached", 2, |name, seed| {
        let bleaching = || {
            Link::new()
                .ecn(Field::Bleached)
                .marking_rate(2_500_000, 1_000_000, 100_000)
                .delay(20 * MILLISECOND)
        };
        let mut times = Vec::new();
        for wants in [[true; 2], [false; 2]] {
            let mut net = pair(name, seed, wants, Algorithm::Cubic, bleaching);
            net.establish();
            let (plan, sender, receiver) = upload(&mut net, 10_000_000, 60 * SECOND);
            assert_eq!(receiver.ce_received, 0);
            assert!(sender.fast_recoveries > 0, "the queue drops");
            assert_eq!(net.counters(0, 1).capable > 0, wants[0]);
            times.push(took(&net, plan));
            net.assert_clean();
        }
        assert!(times[0] * 4 < times[1] * 5, "{times:?}");
    });
}

/// Whether the path marks everything, or the peer says so: the sender cannot know.
#[test]
fn marks_on_everything_slow_their_own_direction_down_and_nothing_else() {
    for congestion in ALL {
        seeds(&format!("all marked, {congestion:?}"), 1, |name, seed| {
            let mut net = pair(name, seed, [true; 2], congestion, dropping);
            net.link(0, 1, dropping().ecn(Field::AlwaysMarked));
            net.establish();
            let slow = net.open(0, 1, 1, 0, plan::upload(300_000));
            let quick = net.open(1, 0, 0x8000_0001, 0, plan::upload(5_000_000));
            net.complete(60 * SECOND);
            assert!(took(&net, quick) < 4 * SECOND, "{}", took(&net, quick));
            assert!(took(&net, slow) > 600 * MILLISECOND, "{}", took(&net, slow));
            // Unmarked again, it recovers.
            net.link(0, 1, dropping());
            let (plan, ..) = upload(&mut net, 5_000_000, 60 * SECOND);
            assert!(took(&net, plan) < 4 * SECOND, "{}", took(&net, plan));
            net.assert_clean();
        });
    }
}

#[test]
fn capable_datagrams_that_do_not_arrive_are_sent_without_it() {
    for congestion in ALL {
        seeds(&format!("black hole, {congestion:?}"), 2, |name, seed| {
            let start = Net::new(name, seed).now();
            let mut net = pair(name, seed, [true; 2], congestion, || {
                dropping().ecn(Field::CapableDropped(start))
            });
            net.establish();
            let (plan, ..) = upload(&mut net, 5_000_000, 60 * SECOND);
            assert!(took(&net, plan) < 8 * SECOND, "{}", took(&net, plan));
            // What was learnt holds for the circuits that come after: none starts with time-outs.
            for _ in 0..5 {
                let (plan, ..) = upload(&mut net, 100_000, 20 * SECOND);
                assert!(took(&net, plan) < SECOND, "{}", took(&net, plan));
            }
            net.assert_clean();
        });
    }
}

#[test]
fn a_path_that_begins_to_drop_them_is_noticed() {
    seeds("late black hole", 3, |name, seed| {
        let start = Net::new(name, seed).now();
        let mut net = pair(name, seed, [true; 2], Algorithm::Cubic, || {
            dropping().ecn(Field::CapableDropped(start + 5 * SECOND))
        });
        net.establish();
        for number in 1..=10 {
            net.open(0, 1, number, 0, plan::both_ways(2_000_000, 2_000_000));
            net.open(
                0,
                1,
                100 + number,
                0,
                plan::cells(100, 514, 100 * MILLISECOND),
            );
        }
        net.complete(40 * SECOND);
        net.assert_clean();
    });
}

/// A blackout says nothing about marks: ECN is in use as before when it is over.
#[test]
fn a_blackout_is_not_taken_for_a_path_that_drops_them() {
    seeds("blackout and marks", 3, |name, seed| {
        let start = Net::new(name, seed).now();
        let mut net = pair(name, seed, [true; 2], Algorithm::Cubic, || {
            marking().blackout(start + 2 * SECOND, start + 6 * SECOND)
        });
        net.establish();
        let plan = net.open(0, 1, 1, 0, plan::upload(60_000_000));
        // The last retransmission timeout has fired by then.
        net.pass(12 * SECOND);
        let before = net.counters(0, 1).capable;
        net.pass(SECOND);
        assert!(net.counters(0, 1).capable > before + 100);
        assert!(info(&net, plan, 0).timeouts >= 2);
        net.complete(30 * SECOND);
        net.assert_clean();
    });
}

/// Acknowledgements may travel in marked datagrams, with the data of others. The mark is not theirs: who sends them could
/// only send less data for it.
#[test]
fn acknowledgements_in_marked_datagrams_do_not_count() {
    seeds("acknowledgements beside marks", 2, |name, seed| {
        let mut net = pair(name, seed, [true; 2], Algorithm::Cubic, dropping);
        net.link(0, 1, dropping().ecn(Field::AlwaysMarked));
        net.establish();
        let plan = net.open(0, 1, 1, 0, plan::download(6_000_000));
        net.run_until("it flows", 5 * SECOND, |net| {
            net.shared.plans[plan].progress[0].received > 5_000_000
        });
        let (client, server) = (info(&net, plan, 0), info(&net, plan, 1));
        assert!(client.segments_sent > 500);
        assert_eq!(server.ce_received, 0);
        assert_eq!((client.ce_reported, client.ssthresh), (0, u64::MAX));
        net.complete(60 * SECOND);
    });
}

#[test]
fn circuits_that_share_a_window_heed_marks_together() {
    for congestion in ALL {
        seeds(
            &format!("coupled marks, {congestion:?}"),
            1,
            |name, seed| {
                let mut net = Net::pair(name, seed, marking);
                for index in 0..2 {
                    let mut config = net.config(index);
                    config.ecn = true;
                    config.coupled = true;
                    config.congestion = congestion;
                    net.reconfigure(index, config);
                }
                net.establish();
                let begin = net.now();
                for number in 1..=10 {
                    net.open(0, 1, number, 0, plan::upload(2_000_000));
                }
                net.complete(60 * SECOND);
                assert!(net.now().since(begin) < 95 * SECOND / 10);
                assert_eq!(net.counters(0, 1).dropped, 0);
                assert!(net.counters(0, 1).touched > 0);
                net.assert_clean();
            },
        );
    }
}
