//! Circuits that open and end: in storms, under reused numbers, by reset.

use utcp::error::{CloseReason, Error};
use utcp::time::{MILLISECOND, SECOND, Time};

use super::{bad, broadband, fast, pure_delay, scripts};
use crate::link::Link;
use crate::net::{Net, seeds};
use crate::plan::{self, Step};
use crate::rng::Rng;

/// `lanes` numbers, each used by `generations` circuits one right after the other, from both ends.
fn storm(name: &str, seed: u64, link: fn() -> Link, lanes: u32, generations: u32) {
    let mut net = Net::pair(name, seed, link);
    net.establish();
    let mut rng = Rng::new(seed, 1);
    for lane in 1..=lanes {
        let (opener, acceptor, number) = if lane % 2 == 0 {
            (0, 1, lane)
        } else {
            (1, 0, 0x8000_0000 | lane)
        };
        let after = rng.below(SECOND / 5);
        let mut plan = net.open(opener, acceptor, number, after, scripts::short(&mut rng));
        for _ in 1..generations {
            plan = net.reopen(plan, scripts::short(&mut rng));
        }
    }
    net.complete(u64::from(generations) * 60 * SECOND);
    net.assert_clean();
}

#[test]
fn a_storm_of_opens_and_closes_reuses_numbers() {
    seeds("storm", 1, |name, seed| storm(name, seed, fast, 60, 50));
}

#[test]
fn a_storm_over_a_bad_network_reuses_numbers() {
    seeds("bad storm", 2, |name, seed| storm(name, seed, bad, 40, 15));
}

#[test]
fn one_number_serves_two_thousand_circuits() {
    seeds("one number", 1, |name, seed| {
        let link = || {
            Link::new()
                .delay(5 * MILLISECOND)
                .duplicate(0.05, 200 * MILLISECOND)
        };
        let mut net = Net::pair(name, seed, link);
        net.establish();
        let mut plan = net.open(0, 1, 77, 0, plan::requests(1, 64, 64));
        for _ in 1..2_000 {
            plan = net.reopen(plan, plan::requests(1, 64, 64));
        }
        net.complete(400 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn all_circuits_opened_and_closed_at_the_same_moment() {
    seeds("same moment", 1, |name, seed| {
        let mut net = Net::pair(name, seed, fast);
        net.establish();
        for round in 0..3 {
            for number in 1..=500 {
                net.open(0, 1, number, 0, plan::upload(u64::from(number + round)));
                net.open(1, 0, 1_000 + number, 0, plan::requests(1, 8, 8));
            }
            net.complete(60 * SECOND);
            // What is in TIME-WAIT does not stand in the way of the next round.
        }
        net.assert_clean();
    });
}

/// What is repeated first is data; the FIN comes behind it, and may not get its turn.
#[test]
fn a_lost_last_acknowledgement_is_repeated_for_data_before_the_fin() {
    // The second is a minute without network: the end that is done must not have forgotten the circuit by then.
    for (dark, bound) in [(400 * MILLISECOND, 3 * SECOND), (60 * SECOND, 80 * SECOND)] {
        seeds("last acknowledgement", 2, |name, seed| {
            let mut net = Net::pair(name, seed, broadband);
            net.establish();
            net.open(0, 1, 1, 0, plan::half_close_by_acceptor(4_000, 100));
            net.pass(2_900 * MILLISECOND);
            let now = net.now();
            net.link(1, 0, broadband().blackout(now, now + dark));
            net.complete(bound);
            net.assert_clean();
        });
    }
}

#[test]
fn a_reset_is_heard_after_half_a_round_trip() {
    seeds("reset", 2, |name, seed| {
        let mut net = Net::pair(name, seed, pure_delay);
        net.establish();
        for (number, mut ends) in [
            (1, plan::abort_by_opener(50)),
            (2, plan::abort_by_acceptor(50)),
        ] {
            // Not before the other end knows of the circuit, and its opener knows that.
            let resetting = usize::from(number == 2);
            let last = ends[resetting].steps.len() - 1;
            ends[resetting]
                .steps
                .insert(last, Step::Pause(200 * MILLISECOND));
            let plan = net.open(0, 1, number, 0, ends);
            net.complete(20 * SECOND);
            let progress = net.shared.plans[plan].progress;
            let (resetting, other) = if number == 1 {
                (progress[0], progress[1])
            } else {
                (progress[1], progress[0])
            };
            let sent = Time(resetting.done.expect("reset"));
            let heard = Time(other.done.expect("heard"));
            assert_eq!(heard.since(sent), 50 * MILLISECOND);
            assert_eq!(other.reason, Some(CloseReason::Reset));
        }
        net.assert_clean();
    });
}

#[test]
fn resets_from_either_end_are_heard_under_loss() {
    seeds("resets", 3, |name, seed| {
        let mut net = Net::pair(name, seed, || {
            broadband().loss(0.1).reorder(0.1, 20 * MILLISECOND)
        });
        net.establish();
        let mut rng = Rng::new(seed, 1);
        for number in 1..=60 {
            let size = rng.between(8, 40_000);
            let ends = if number % 2 == 0 {
                plan::abort_by_opener(size)
            } else {
                plan::abort_by_acceptor(size)
            };
            net.open(0, 1, number, rng.below(3 * SECOND), ends);
        }
        net.complete(300 * SECOND);
        net.assert_clean();
    });
}

/// The other end has nothing to say, so that no answer to it tells it once more.
#[test]
fn a_lost_reset_is_heard_later_by_an_end_that_only_waits() {
    for by_opener in [true, false] {
        seeds("lost reset", 1, |name, seed| {
            let mut net = Net::pair(name, seed, broadband);
            net.establish();
            let mut ends = plan::requests(2, 100, 100);
            let resetting = usize::from(!by_opener);
            ends[resetting].steps = if by_opener {
                vec![
                    Step::Send(100),
                    Step::Receive(100),
                    Step::Pause(SECOND),
                    Step::Abort,
                ]
            } else {
                vec![
                    Step::Receive(100),
                    Step::Send(100),
                    Step::Pause(SECOND),
                    Step::Abort,
                ]
            };
            // The waiting end says what it has to say before, and then waits for ever.
            ends[1 - resetting].steps = if by_opener {
                vec![Step::Receive(100), Step::Send(100), Step::ReceiveEnd]
            } else {
                vec![Step::Send(100), Step::Receive(100), Step::ReceiveEnd]
            };
            for end in &mut ends {
                end.expect = None;
                end.reasons = vec![CloseReason::Reset];
            }
            net.open(0, 1, 1, 0, ends);
            net.pass(900 * MILLISECOND);
            let now = net.now();
            net.links(|| broadband().blackout(now, now + 300 * MILLISECOND));
            net.complete(60 * SECOND);
            net.assert_clean();
        });
    }
}

#[test]
fn both_ends_reset_at_once() {
    seeds("both reset", 3, |name, seed| {
        let mut net = Net::pair(name, seed, || broadband().loss(0.05));
        net.establish();
        for number in 1..=50 {
            net.open(0, 1, number, 0, plan::abort_by_both(2_000));
        }
        net.complete(120 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn closing_discards_what_still_arrives() {
    seeds("close early", 3, |name, seed| {
        let mut net = Net::pair(name, seed, || broadband().loss(0.01));
        net.establish();
        for number in 1..=10 {
            net.open(0, 1, number, 0, plan::close_early(400_000, 30_000));
        }
        net.complete(120 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn a_number_in_use_cannot_be_opened_and_a_freed_one_can() {
    seeds("number in use", 1, |name, seed| {
        let mut net = Net::pair(name, seed, broadband);
        net.establish();
        let connection = net.ready(0, 1).expect("ready");
        let before = net.open(0, 1, 9, 0, plan::requests(20, 100, 100));
        let endpoint = &mut net.hosts[0].endpoint;
        assert_eq!(endpoint.open_circuit(connection, 9), Err(Error::InUse));
        assert_eq!(endpoint.open_circuit(connection, 0), Err(Error::Argument));
        net.reopen(before, plan::requests(1, 100, 100));
        net.pass(200 * MILLISECOND);
        // The peer cannot open a number that it has accepted either.
        let theirs = net.ready(1, 0).expect("ready");
        let endpoint = &mut net.hosts[1].endpoint;
        assert_eq!(endpoint.open_circuit(theirs, 9), Err(Error::InUse));
        net.complete(20 * SECOND);
    });
}

/// The relays' halves of the number space should prevent it; if they fail to, nothing hangs or mixes.
#[test]
fn the_same_number_from_both_ends_at_once_ends_in_time() {
    seeds("same number", 3, |name, seed| {
        let mut net = Net::pair(name, seed, || broadband().loss(0.02));
        net.establish();
        for number in 1..=20 {
            for (opener, acceptor) in [(0, 1), (1, 0)] {
                let plan = net.open(opener, acceptor, number, 0, plan::requests(2, 100, 2_000));
                net.shared.plans[plan].doomed = true;
            }
        }
        net.run_until("every opening end has ended", 120 * SECOND, |net| {
            net.shared.plans.iter().all(|p| !p.pending[0])
        });
        net.pass(60 * SECOND);
        for plan in 0..net.shared.plans.len() {
            net.shared.settle(plan, 1);
        }
        net.open(0, 1, 99, 0, plan::requests(2, 100, 2_000));
        net.complete(60 * SECOND);
        net.assert_clean();
    });
}

#[test]
fn a_refused_circuit_ends_at_its_opener() {
    seeds("refused circuit", 2, |name, seed| {
        let mut net = Net::pair(name, seed, || broadband().loss(0.05));
        net.establish();
        net.hosts[1].policy.accept_circuits = false;
        for number in 1..=20 {
            let mut ends = plan::requests(1, 100, 100);
            ends[0].expect = None;
            ends[0].reasons = vec![CloseReason::Reset, CloseReason::Refused];
            let plan = net.open(0, 1, number, 0, ends);
            net.shared.settle(plan, 1);
        }
        net.complete(60 * SECOND);
        net.hosts[1].policy.accept_circuits = true;
        net.open(0, 1, 1, 0, plan::requests(1, 100, 100));
        net.complete(60 * SECOND);
        net.assert_clean();
    });
}
