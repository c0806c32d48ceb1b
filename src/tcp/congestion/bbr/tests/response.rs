//! Loss, CE marks, timeouts, and false alarms; and the parts of the model.

use super::super::model::WindowedMax;
use super::super::{Bbr, State};
use super::script::{BDP, MSS, RATE, RTT, Round, STEADY, Script};
use crate::tcp::congestion::{Ack, Loss};
use crate::time::{SECOND, Time};

use proptest::prelude::*;

#[test]
fn loss_while_cruising_lowers_rate_and_flight_to_what_is_delivered() {
    let mut script = Script::cruising();
    let less = Round {
        rate: RATE * 8 / 10,
        in_recovery: true,
        ..STEADY
    };
    script.lose(100, BDP);
    script.round(less);
    assert_eq!(script.bbr.bandwidth(), RATE, "the best of two rounds");
    assert_eq!(
        script.bbr.short.inflight,
        BDP * 21 / 10,
        "0.7 of the window"
    );
    script.lose(100, BDP);
    script.round(less);
    assert_eq!(script.bbr.bandwidth(), RATE * 8 / 10);
    assert_eq!(script.bbr.short.inflight, BDP * 147 / 100);
    // Ever lower, but never by more than three tenths a round.

    script.lose(500, BDP);
    let low = Round {
        rate: RATE / 10,
        in_recovery: true,
        ..STEADY
    };
    script.round(low);
    assert_eq!(
        script.bbr.bandwidth(),
        RATE * 8 / 10,
        "one round at 0.8 of it"
    );
    script.lose(500, BDP);
    script.round(low);
    assert_eq!(script.bbr.bandwidth(), RATE * 56 / 100);
}

#[test]
fn loss_below_the_threshold_changes_nothing() {
    for (segments, lower) in [(30, false), (50, false), (64, false), (66, true)] {
        let mut script = Script::cruising();
        // A thousand segments in flight: 5 % of them and two standard deviations, in 1000 + lost.
        script.lose(segments, BDP);
        script.round(Round {
            rate: RATE * 94 / 100,
            in_recovery: true,
            ..STEADY
        });
        let lowered = script.bbr.short.bw != u64::MAX;
        assert_eq!(lowered, lower, "{segments}");
    }
}

/// Cruising for long with `percent` of what is sent lost; the pacing rate after it in thousandths of the bandwidth.
fn pace_at_loss(script: &mut Script, percent: u64) -> u64 {
    for _ in 0..200 {
        script.bbr.cycle.rounds_since_probe = 0;
        if script.state() != State::ProbeBwCruise {
            script.rounds_until(State::ProbeBwCruise, STEADY, 40);
        }
        script.lose(percent * BDP / MSS / (100 - percent), 40 * BDP);
        script.round(STEADY);
    }
    script.rounds_until(State::ProbeBwCruise, STEADY, 40);
    script.bbr.pacing_rate() * 1000 / script.bbr.bandwidth()
}

#[test]
fn what_is_lost_without_a_queue_is_sent_on_top() {
    let pace = pace_at_loss(&mut Script::cruising(), 3);
    assert!((990 * 100 / 98..=990 * 100 / 97).contains(&pace), "{pace}");
    // Not more than is tolerated.
    let mut script = Script::cruising();
    script.bbr = script.bbr.with_loss_thresh(20);
    let pace = pace_at_loss(&mut script, 3);
    assert!(pace <= 990 * 100 / 98, "{pace}");
}

#[test]
fn with_a_standing_queue_nothing_is_sent_on_top_and_less_until_it_is_gone() {
    let mut script = Script::cruising();
    pace_at_loss(&mut script, 3);
    let queued = Round {
        rtt: RTT * 13 / 10,
        ..STEADY
    };
    script.bbr.cycle.rounds_since_probe = 0;
    script.round(queued);
    script.round(queued);
    assert_eq!(script.state(), State::ProbeBwCruise);
    let pace = script.bbr.bandwidth() * 99 / 100;
    assert_eq!(script.bbr.pacing_rate(), pace * 90 / 100);
    let little = Round {
        rtt: RTT * 21 / 20,
        ..STEADY
    };
    script.round(little);
    assert!(script.bbr.pacing_rate() < pace * 95 / 100);
    script.round(STEADY);
    assert_eq!(script.state(), State::ProbeBwCruise);
    assert!(script.bbr.pacing_rate() >= pace);
}

#[test]
fn with_a_standing_queue_any_loss_while_cruising_counts() {
    for (rtt, lowered) in [(RTT * 124 / 100, false), (RTT * 126 / 100, true)] {
        let mut script = Script::cruising();
        let queued = Round { rtt, ..STEADY };
        script.round(queued);
        script.round(queued);
        assert_eq!(script.state(), State::ProbeBwCruise);
        script.lose(1, BDP);
        script.round(queued);
        assert_eq!(script.bbr.short.bw != u64::MAX, lowered, "{rtt}");
    }
}

#[test]
fn with_a_standing_queue_a_probe_may_lose_two_percent() {
    for (rtt, segments, state) in [
        (RTT, 40, State::ProbeBwUp),
        (RTT * 126 / 100, 20, State::ProbeBwUp),
        (RTT * 126 / 100, 21, State::ProbeBwDown),
    ] {
        let mut script = Script::probing();
        // More each round, that no plateau ends the probe.
        for rate in [RATE * 5 / 4, RATE * 25 / 16] {
            script.round(Round {
                rate,
                rtt,
                ..STEADY
            });
        }
        script.lose(segments, BDP);
        assert_eq!(script.state(), state, "{rtt} {segments}");
    }
}

#[test]
fn the_queue_that_down_empties_makes_no_loss_worse() {
    let mut script = Script::probing();
    let queued = Round {
        rtt: RTT * 3 / 2,
        in_flight: 2 * BDP,
        ..STEADY
    };
    script.rounds_until(State::ProbeBwDown, queued, 5);
    script.round(queued);
    script.lose(30, BDP);
    script.round(queued);
    assert_eq!(script.state(), State::ProbeBwDown);
    assert_eq!(script.bbr.short.bw, u64::MAX);
}

#[test]
fn one_unlucky_packet_of_a_small_window_is_no_congestion() {
    let script = Script::cruising();
    assert!(!script.bbr.is_loss_too_high(2 * MSS, 20 * MSS));
    assert!(script.bbr.is_loss_too_high(4 * MSS, 20 * MSS));
    assert!(!script.bbr.is_loss_too_high(0, 0));
    let strict = Bbr::new(MSS, 10 * MSS, 1, 0).with_loss_thresh(20);
    assert!(strict.is_loss_too_high(30 * MSS, 1000 * MSS));
    assert!(!script.bbr.is_loss_too_high(30 * MSS, 1000 * MSS));
}

#[test]
fn too_much_loss_while_probing_sets_the_bound_once_and_ends_the_probe() {
    let mut script = Script::probing();
    let flight = 3 * BDP;
    script.lose(400, flight);
    assert_eq!(script.state(), State::ProbeBwDown);
    let bound = script.bbr.long.inflight;
    assert!(bound <= flight && bound > flight - MSS, "{bound}");
    // Only the first packet too many counts.
    script.lose(400, 2 * BDP);
    assert_eq!(script.bbr.long.inflight, bound);
    script.round(STEADY);
    assert!(script.bbr.cycle.prev_probe_too_high);
}

#[test]
fn the_bound_is_never_below_seven_tenths_of_the_flight_wanted() {
    let mut script = Script::probing();
    script.lose(400, BDP / 10);
    assert_eq!(script.bbr.long.inflight, BDP * 7 / 10);
}

#[test]
fn a_probe_that_the_application_limits_sets_no_bound() {
    let mut script = Script::probing();
    script.bbr.on_lost(
        script.time(),
        &Loss {
            len: MSS,
            tx_in_flight: BDP,
            lost_since_sent: BDP / 2,
            delivered_at_send: script.delivered,
            app_limited: true,
        },
    );
    assert_eq!(script.state(), State::ProbeBwDown);
    assert_eq!(script.bbr.long.inflight, u64::MAX);
}

#[test]
fn the_flight_at_which_loss_was_too_much_lies_within_the_lost_packet() {
    let mut script = Script::probing();
    // One burst of a hundred segments, lost whole, after a flight of 900 without loss: 5 % and two deviations of 900
    // are 58.4 segments, and each further segment allows for a twentieth of itself.
    script.bbr.on_lost(
        script.time(),
        &Loss {
            len: 100 * MSS,
            tx_in_flight: 1000 * MSS,
            lost_since_sent: 100 * MSS,
            delivered_at_send: script.delivered,
            app_limited: false,
        },
    );
    let bound = script.bbr.long.inflight;
    assert!((960 * MSS..963 * MSS).contains(&bound), "{bound}");
}

#[test]
fn a_safe_sample_above_the_bound_raises_it() {
    let mut script = Script::cruising();
    script.bbr.long.inflight = BDP / 2;
    script.round(Round {
        tx_in_flight: BDP,
        ..STEADY
    });
    assert_eq!(script.bbr.long.inflight, BDP);
    script.round(Round {
        tx_in_flight: 2 * BDP,
        lost: BDP / 2,
        ..STEADY
    });
    assert_eq!(script.bbr.long.inflight, BDP, "that one was not safe");
}

#[test]
fn marks_while_cruising_lower_the_flight_and_not_the_rate() {
    let mut script = Script::cruising();
    let all = Round { ce: BDP, ..STEADY };
    let before = script.bbr.cwnd();
    script.round(all);
    let after = script.bbr.cwnd();
    assert!(
        after < before * 9 / 10 && after > before * 6 / 10,
        "{before} {after}"
    );
    assert_eq!(script.bbr.bandwidth(), RATE);
    // Few marks, after long without any, lower it little.
    let mut script = Script::cruising();
    for _ in 0..15 {
        script.round(STEADY);
    }
    let before = script.bbr.cwnd();
    script.round(Round { ce: MSS, ..STEADY });
    let after = script.bbr.cwnd();
    assert!(
        after <= before && after > before * 8 / 10,
        "{before} {after}"
    );
}

#[test]
fn a_probe_that_is_mostly_marked_ends() {
    let mut script = Script::probing();
    script.round(Round {
        ce: BDP * 4 / 10,
        ..STEADY
    });
    assert_eq!(script.state(), State::ProbeBwUp);
    script.round(Round {
        ce: BDP * 6 / 10,
        in_flight: 2 * BDP,
        tx_in_flight: 2 * BDP,
        ..STEADY
    });
    assert_eq!(script.state(), State::ProbeBwDown);
    assert_eq!(script.bbr.long.inflight, 2 * BDP);
}

#[test]
fn the_bandwidth_of_two_cycles_is_remembered() {
    let mut script = Script::probing();
    let half = Round {
        rate: RATE / 2,
        // A new minimum, that ProbeRTT stays away.
        rtt: RTT - 1_000,
        in_flight: BDP / 2,
        tx_in_flight: BDP / 2,
        ..STEADY
    };
    let pushed = Round {
        in_flight: 2 * BDP,
        ..half
    };
    script.rounds_until(State::ProbeBwDown, pushed, 8);
    script.rounds_until(State::ProbeBwUp, half, 60);
    assert_eq!(script.bbr.bandwidth(), RATE, "of the last cycle");
    script.rounds_until(State::ProbeBwDown, pushed, 8);
    assert_eq!(script.bbr.bandwidth(), RATE, "the probe is not over");
    script.round(half);
    assert_eq!(script.bbr.bandwidth(), RATE / 2);
}

#[test]
fn a_false_alarm_in_startup_leads_back_to_startup() {
    let mut script = Script::at_full_rate();
    let now = script.time();
    script.lose(1, BDP);
    script.bbr.on_recovery(now, BDP, script.delivered);
    for _ in 0..6 {
        script.round(Round {
            rate: 0,
            rtt: 1,
            lost: BDP / 30,
            in_recovery: true,
            ..STEADY
        });
    }
    let state = script.round(Round {
        lost: BDP / 5,
        in_recovery: true,
        in_flight: 3 * BDP,
        ..STEADY
    });
    assert_eq!(state, State::Drain);
    script.bbr.on_spurious();
    assert_eq!(script.state(), State::Startup);
    assert_eq!(script.bbr.long.inflight, u64::MAX);
    assert_eq!(script.bbr.pacing_rate(), RATE * 277 / 100 * 99 / 100);
}

#[test]
fn a_false_alarm_while_probing_leads_back_to_the_probe() {
    for after_recovery in [false, true] {
        let mut script = Script::probing();
        let now = script.time();
        script.lose(400, 2 * BDP);
        script.bbr.on_recovery(now, BDP, script.delivered);
        assert_eq!(script.state(), State::ProbeBwDown);
        assert_ne!(script.bbr.long.inflight, u64::MAX);
        if after_recovery {
            script.bbr.on_recovered(now);
        }
        script.bbr.on_spurious();
        assert_eq!(script.state(), State::ProbeBwRefill);
        assert_eq!(script.bbr.long.inflight, u64::MAX);
    }
}

#[test]
fn a_false_alarm_while_cruising_restores_rate_and_window() {
    let mut script = Script::cruising();
    let (rate, cwnd) = (script.bbr.pacing_rate(), script.bbr.cwnd());
    let now = script.time();
    script.lose(400, BDP);
    script.bbr.on_recovery(now, BDP, script.delivered);
    for _ in 0..3 {
        script.round(Round {
            rate: RATE / 2,
            in_recovery: true,
            ..STEADY
        });
        script.lose(400, BDP);
    }
    assert!(script.bbr.pacing_rate() < rate && script.bbr.cwnd() < cwnd);
    script.bbr.on_spurious();
    assert_eq!((script.bbr.pacing_rate(), script.bbr.cwnd()), (rate, cwnd));
}

#[test]
fn a_timeout_leaves_little_and_recovery_restores_the_window() {
    let mut script = Script::cruising();
    let cwnd = script.bbr.cwnd();
    script.bbr.on_timeout(script.time(), 0);
    assert_eq!(script.bbr.cwnd(), 4 * MSS);
    let trickle = Round {
        rate: 4 * MSS * SECOND / RTT,
        in_flight: 4 * MSS,
        in_recovery: true,
        ..STEADY
    };
    script.round(trickle);
    assert_eq!(script.bbr.cwnd(), 8 * MSS, "by what is delivered");
    script.bbr.on_recovered(script.time());
    assert_eq!(script.bbr.cwnd(), cwnd);
    // A false one restores it at once.
    script.bbr.on_timeout(script.time(), 10 * MSS);
    assert_eq!(script.bbr.cwnd(), 11 * MSS);
    script.bbr.on_spurious();
    assert_eq!(script.bbr.cwnd(), cwnd);
}

#[test]
fn the_first_rate_follows_from_the_first_round_trip() {
    let hinted = Bbr::new(MSS, 10 * MSS, 1, RTT);
    assert_eq!(hinted.pacing_rate(), 10 * MSS * SECOND / RTT * 277 / 100);
    let mut bbr = Bbr::new(MSS, 10 * MSS, 1, 0);
    assert_eq!(bbr.pacing_rate(), 10 * MSS * 1_000 * 277 / 100);
    bbr.on_ack(&Ack {
        now: Time(RTT),
        rtt: Some(RTT),
        srtt: RTT,
        min_rtt: RTT,
        ..Ack::default()
    });
    assert_eq!(bbr.pacing_rate(), hinted.pacing_rate());
}

#[test]
fn the_segment_size_moves_the_initial_window_only_before_the_first_packet() {
    let mut bbr = Bbr::new(500, 10 * 500, 1, 0);
    bbr.set_mss(1_400);
    assert_eq!(bbr.cwnd(), 14_000);
    bbr.on_sent(Time(0), 1_400, 0, false, 0);
    bbr.set_mss(1_000);
    assert_eq!(bbr.cwnd(), 14_000);
    bbr.set_mss(9_000);
    assert_eq!(bbr.cwnd(), 36_000);
    assert_eq!(bbr.send_quantum(), 10 * 1_400 * 277 / 100);
}

#[test]
fn acknowledgements_of_a_round_trip_at_once_add_as_much_to_the_window() {
    let script = Script::cruising();
    assert_eq!(script.bbr.cwnd(), 3 * BDP);
}

proptest! {
    /// The three candidates never say more than the true maximum of the window, nor less than the newest value, and
    /// forget what is older than the window.
    #[test]
    fn the_windowed_maximum_is_one(values in prop::collection::vec((0u64..4, 0u64..100), 1..200)) {
        const WINDOW: u64 = 10;
        let mut filter = WindowedMax::default();
        let mut seen: Vec<(u64, u64)> = Vec::new();
        let mut round = 0;
        for (step, value) in values {
            round += step;
            filter.update(round, value, WINDOW);
            seen.push((round, value));
            let most = seen
                .iter()
                .filter(|(at, _)| round - at <= WINDOW)
                .map(|(_, value)| *value)
                .max()
                .unwrap();
            prop_assert!(filter.get() <= most);
            prop_assert!(filter.get() >= value);
        }
    }
}
