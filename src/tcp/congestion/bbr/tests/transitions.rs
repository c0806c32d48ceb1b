//! Each transition of the state machine. Many follow the draft's appendix "BBR Example Test Cases".

use super::super::State;
use super::script::{BDP, MSS, RATE, RTT, Round, STEADY, Script};
use crate::time::{MILLISECOND, SECOND, Time};

#[test]
fn startup_ends_in_the_third_round_without_growth() {
    let mut script = Script::at_full_rate();
    assert_eq!(script.round(STEADY), State::Startup);
    // Growth by a quarter counts as growth.
    let more = Round {
        rate: RATE * 5 / 4,
        ..STEADY
    };
    assert_eq!(script.round(more), State::Startup);
    let queued = Round {
        in_flight: 3 * BDP,
        ..more
    };
    assert_eq!(script.round(queued), State::Startup);
    assert_eq!(script.round(queued), State::Startup);
    assert_eq!(script.round(queued), State::Drain);
    assert_eq!(script.bbr.bandwidth(), RATE * 5 / 4);
    assert_eq!(script.bbr.pacing_rate(), RATE * 5 / 4 / 2 * 99 / 100);
}

#[test]
fn startup_does_not_end_while_the_application_is_the_limit() {
    let mut script = Script::at_full_rate();
    let limited = Round {
        rate: RATE / 3,
        app_limited: true,
        ..STEADY
    };
    for _ in 0..40 {
        assert_eq!(script.round(limited), State::Startup);
    }
    // Nor do such samples lower the estimate.
    assert_eq!(script.bbr.bandwidth(), RATE);
}

/// A round of recovery with `lost` octets lost, told in `reports` acknowledgements.
fn lossy_round(script: &mut Script, reports: u64, lost: u64, in_recovery: bool) -> State {
    script.lose(1, BDP);
    for _ in 1..reports {
        script.round(Round {
            rate: 0,
            rtt: 1,
            lost: lost / reports,
            in_recovery,
            ..STEADY
        });
    }
    script.round(Round {
        rate: RATE,
        lost,
        in_recovery,
        app_limited: true,
        in_flight: 3 * BDP,
        ..STEADY
    })
}

#[test]
fn startup_ends_when_a_round_of_recovery_loses_too_much() {
    let much = BDP / 5;
    let mut script = Script::at_full_rate();
    assert_eq!(lossy_round(&mut script, 6, much, true), State::Drain);
    // What was delivered in the last round is what the path holds.
    assert_eq!(script.bbr.long.inflight, BDP);

    for (reports, lost, in_recovery) in [(5, much, true), (6, BDP / 30, true), (6, much, false)] {
        let mut script = Script::at_full_rate();
        let state = lossy_round(&mut script, reports, lost, in_recovery);
        assert_eq!(state, State::Startup, "{reports} {lost} {in_recovery}");
    }
}

#[test]
fn startup_ends_after_two_rounds_that_are_mostly_marked() {
    let marked = Round {
        ce: BDP * 6 / 10,
        app_limited: true,
        in_flight: 3 * BDP,
        ..STEADY
    };
    let mut script = Script::at_full_rate();
    assert_eq!(script.round(marked), State::Startup);
    assert_eq!(
        script.round(Round { ce: 0, ..marked }),
        State::Startup,
        "not in a row"
    );
    assert_eq!(script.round(marked), State::Startup);
    assert_eq!(script.round(marked), State::Drain);
}

#[test]
fn drain_ends_when_the_queue_is_gone() {
    let mut script = Script::at_full_rate();
    let queued = Round {
        in_flight: 2 * BDP,
        ..STEADY
    };
    script.rounds_until(State::Drain, queued, 4);
    let almost = Round {
        in_flight: BDP + 1,
        ..STEADY
    };
    assert_eq!(script.round(almost), State::Drain);
    // Below the product there is nothing left for Down to do either.
    assert_eq!(script.round(STEADY), State::ProbeBwCruise);
}

#[test]
fn drain_ends_after_three_rounds_in_any_case() {
    let mut script = Script::at_full_rate();
    let queued = Round {
        in_flight: 2 * BDP,
        ..STEADY
    };
    script.rounds_until(State::Drain, queued, 4);
    for _ in 0..3 {
        assert_eq!(script.round(queued), State::Drain);
    }
    assert_eq!(script.round(queued), State::ProbeBwDown);
    assert_eq!(script.bbr.pacing_rate(), RATE * 9 / 10 * 99 / 100);
}

/// Down, with more in flight than the product.
fn down() -> Script {
    let mut script = Script::probing();
    let queued = Round {
        in_flight: 2 * BDP,
        ..STEADY
    };
    script.rounds_until(State::ProbeBwDown, queued, 5);
    // A new minimum, that ProbeRTT stays away.
    script.round(Round {
        rtt: RTT - 1_000,
        ..queued
    });
    script
}

#[test]
fn down_ends_when_nothing_is_queued() {
    let mut script = down();
    let round = |in_flight| Round {
        in_flight,
        ..STEADY
    };
    let bdp = RATE * (RTT - 1_000) / SECOND;
    assert_eq!(script.round(round(bdp + 1)), State::ProbeBwDown);
    assert_eq!(script.round(round(bdp)), State::ProbeBwCruise);
}

#[test]
fn down_leaves_headroom_below_a_flight_that_was_too_much() {
    let mut script = down();
    script.bbr.long.inflight = BDP;
    let round = |in_flight| Round {
        in_flight,
        tx_in_flight: 0,
        ..STEADY
    };
    assert_eq!(script.round(round(BDP * 86 / 100)), State::ProbeBwDown);
    assert_eq!(script.round(round(BDP * 85 / 100)), State::ProbeBwCruise);
    assert_eq!(script.bbr.cwnd(), BDP * 85 / 100);
}

#[test]
fn down_gives_way_to_refill_when_it_takes_too_long() {
    let mut script = down();
    let queued = Round {
        in_flight: 2 * BDP,
        ..STEADY
    };
    let rounds = script.rounds_until(State::ProbeBwRefill, queued, 40);
    // Two to three seconds.
    assert!((20..=31).contains(&rounds), "{rounds}");
}

#[test]
fn a_small_window_probes_as_often_as_reno_would() {
    let mut script = Script::new();
    // Eight segments each round trip.
    let small = Round {
        rate: 8 * MSS * SECOND / RTT,
        in_flight: 8 * MSS,
        tx_in_flight: 8 * MSS,
        ..STEADY
    };
    script.rounds_until(State::ProbeBwCruise, small, 10);
    script.rounds_until(State::ProbeBwRefill, small, 10);
}

#[test]
fn flows_with_other_seeds_probe_at_other_times() {
    let waits: Vec<usize> = (0..20)
        .map(|seed| {
            let mut script = Script::at_full_rate();
            script.bbr.cycle = super::super::probe_bw::Cycle::new(seed);
            script.rounds_until(State::ProbeBwCruise, STEADY, 6);
            let fine = Round {
                rtt: 10_000,
                ..STEADY
            };
            // Rounds count as well: keep them few, to measure the time.
            script.bbr.cycle.rounds_since_probe = 0;
            let mut count = 0;
            while script.state() == State::ProbeBwCruise {
                script.bbr.cycle.rounds_since_probe = 0;
                script.round(fine);
                count += 1;
            }
            count
        })
        .collect();
    assert!(
        waits.iter().all(|wait| (190..=301).contains(wait)),
        "{waits:?}"
    );
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(most - least > 50, "{waits:?}");
}

#[test]
fn refill_forgets_the_short_term_and_lasts_one_round() {
    let mut script = Script::cruising();
    script.bbr.short.bw = RATE / 2;
    script.bbr.short.inflight = BDP / 2;
    script.rounds_until(State::ProbeBwRefill, STEADY, 40);
    assert_eq!(script.bbr.short.bw, u64::MAX);
    assert_eq!(script.bbr.short.inflight, u64::MAX);
    assert_eq!(script.bbr.pacing_rate(), RATE * 99 / 100);
    assert_eq!(script.round(STEADY), State::ProbeBwUp);
    assert_eq!(script.bbr.pacing_rate(), RATE * 5 / 4 * 99 / 100);
}

#[test]
fn up_ends_when_a_fifth_of_the_product_is_queued() {
    let mut script = Script::probing();
    let round = |in_flight| Round {
        in_flight,
        ..STEADY
    };
    assert_eq!(script.round(round(BDP * 6 / 5 - 1)), State::ProbeBwUp);
    assert_eq!(script.round(round(BDP * 6 / 5)), State::ProbeBwDown);

    // Too early: where acknowledgements come in bursts, the flight is high at times whatever the rate.
    let mut script = Script::probing();
    let early = Round {
        rtt: RTT / 2,
        ..round(2 * BDP)
    };
    assert_eq!(script.round(early), State::ProbeBwUp);
}

/// Probing, the last probe having found more.
fn insisting() -> Script {
    let mut script = Script::cruising();
    script.bbr.cycle.found_more = true;
    script.rounds_until(State::ProbeBwUp, STEADY, 40);
    script
}

/// Otherwise what the draft has, always.
#[test]
fn up_ends_when_three_rounds_find_no_more_if_the_last_probe_found_more_or_a_queue_stood() {
    let pushed = Round {
        in_flight: BDP * 5 / 4,
        ..STEADY
    };
    let queued = Round {
        rtt: RTT * 13 / 10,
        ..pushed
    };
    let mut queue = Script::cruising();
    queue.rounds_until(State::ProbeBwUp, queued, 40);
    for (mut script, round) in [(insisting(), pushed), (queue, queued)] {
        assert_eq!(script.round(round), State::ProbeBwUp);
        assert_eq!(script.round(round), State::ProbeBwUp);
        assert_eq!(script.round(round), State::ProbeBwDown);
    }
}

/// A short probe, whose samples are `percent` of the rate before; the state after them.
fn found(script: &mut Script, percent: u64) -> State {
    let pushed = Round {
        in_flight: BDP * 5 / 4,
        ..STEADY
    };
    assert_eq!(script.round(pushed), State::ProbeBwDown);
    script.round(Round {
        rate: RATE * percent / 100,
        ..pushed
    })
}

#[test]
fn a_probe_that_finds_much_more_is_followed_by_another_at_once() {
    let mut script = Script::probing();
    assert_eq!(found(&mut script, 110), State::ProbeBwDown);
    let mut script = Script::probing();
    assert_eq!(found(&mut script, 112), State::ProbeBwRefill);
    assert_eq!(script.round(STEADY), State::ProbeBwUp);
    let pushed = Round {
        in_flight: 2 * BDP,
        ..STEADY
    };
    assert_eq!(
        script.round(pushed),
        State::ProbeBwUp,
        "this time it insists"
    );
}

#[test]
fn a_probe_that_finds_more_makes_the_next_one_insist_unless_the_application_was_the_limit() {
    for (percent, app_limited, more) in
        [(104, false, false), (107, false, true), (107, true, false)]
    {
        let mut script = Script::cruising();
        let round = Round {
            app_limited,
            ..STEADY
        };
        script.rounds_until(State::ProbeBwUp, round, 40);
        assert_eq!(found(&mut script, percent), State::ProbeBwDown);
        assert_eq!(script.bbr.cycle.found_more, more, "{percent} {app_limited}");
    }
}

#[test]
fn up_goes_on_while_it_finds_more_or_has_nothing_to_send() {
    let mut script = Script::probing();
    let mut rate = RATE;
    for _ in 0..4 {
        rate = rate * 5 / 4;
        assert_eq!(script.round(Round { rate, ..STEADY }), State::ProbeBwUp);
    }
    assert!(script.bbr.bandwidth().abs_diff(rate) < 10);
    // A new minimum, that ProbeRTT stays away.
    let limited = Round {
        rate: RATE / 2,
        rtt: RTT - 1_000,
        app_limited: true,
        ..STEADY
    };
    for _ in 0..20 {
        assert_eq!(script.round(limited), State::ProbeBwUp);
    }
}

#[test]
fn up_raises_the_long_term_bound_by_one_two_four_segments() {
    let mut script = Script::probing();
    script.bbr.long.inflight = script.bbr.cwnd();
    let mut grown = Vec::new();
    for _ in 0..4 {
        // The samples themselves do not raise the bound: all of them are below.
        let before = script.bbr.long.inflight;
        let round = Round {
            rate: before * SECOND / RTT,
            full: true,
            ..STEADY
        };
        assert_eq!(script.round(round), State::ProbeBwUp);
        // The window has followed: it is the bound that limits, so no plateau ends the probe.
        let pure = Round {
            rate: 0,
            rtt: 1,
            ..round
        };
        assert_eq!(script.round(pure), State::ProbeBwUp);
        grown.push((script.bbr.long.inflight - before) / MSS);
    }
    assert!(grown.windows(2).all(|w| w[1] >= 2 * w[0]), "{grown:?}");
    assert!(grown[0] <= 2 && grown[3] >= 8, "{grown:?}");
}

#[test]
fn a_probe_after_one_that_went_too_far_stops_at_the_bound_and_goes_on_if_that_was_safe() {
    let mut script = Script::cruising();
    script.bbr.cycle.prev_probe_too_high = true;
    script.bbr.long.inflight = BDP;
    let round = |in_flight| Round {
        in_flight,
        tx_in_flight: 0,
        ..STEADY
    };
    script.rounds_until(State::ProbeBwUp, round(BDP / 2), 40);
    assert_eq!(script.round(round(BDP - 1)), State::ProbeBwUp);
    assert_eq!(script.round(round(BDP)), State::ProbeBwDown);
    // One round of feedback without loss: at once again, and this time without the caution.
    assert_eq!(script.round(round(BDP)), State::ProbeBwRefill);
    assert_eq!(script.round(round(BDP)), State::ProbeBwUp);
    assert_eq!(script.round(round(BDP)), State::ProbeBwUp);
}

#[test]
fn probe_rtt_comes_when_the_minimum_is_old_and_ends_after_a_round_at_half_the_flight() {
    let mut script = Script::cruising();
    let higher = Round {
        rtt: RTT + 5_000,
        ..STEADY
    };
    let entered = script.rounds_until(State::ProbeRtt, higher, 60);
    assert!((38..=50).contains(&entered), "{entered}");
    assert_eq!(script.bbr.cwnd(), BDP / 2);
    // Not yet small: the clock does not run.
    for _ in 0..5 {
        assert_eq!(script.round(higher), State::ProbeRtt);
    }
    let small = Round {
        rate: RATE / 2,
        in_flight: BDP / 2,
        ..STEADY
    };
    let left = script.rounds_until(State::ProbeBwCruise, small, 6);
    assert!((3..=4).contains(&left), "200 ms and a round, not {left}");
    assert_eq!(script.bbr.min_rtt(), RTT);
    assert_eq!(script.bbr.bandwidth(), RATE, "low samples do not count");
    assert!(script.bbr.cwnd() >= 2 * BDP - MSS);
    // And not again at once.
    for _ in 0..20 {
        assert_ne!(script.round(higher), State::ProbeRtt);
    }
}

#[test]
fn a_cruise_without_a_queue_keeps_the_minimum() {
    let mut script = Script::cruising();
    let with_rtt = |rtt| Round { rtt, ..STEADY };
    for _ in 0..30 {
        script.round(with_rtt(RTT + 5_000));
    }
    script.rounds_until(State::ProbeBwCruise, with_rtt(RTT + 5_000), 10);
    // A thirty-second more than the minimum counts as the minimum.
    script.round(with_rtt(RTT + 3_000));
    let due = script.rounds_until(State::ProbeRtt, with_rtt(RTT + 5_000), 60);
    assert!((47..=49).contains(&due), "{due}");
    assert_eq!(script.bbr.min_rtt(), RTT);
}

#[test]
fn samples_of_probe_rtt_count_as_limited_also_when_it_is_over() {
    let mut script = Script::cruising();
    // A queue stands.
    let queued = Round {
        rtt: STEADY.rtt * 11 / 10,
        ..STEADY
    };
    script.rounds_until(State::ProbeRtt, queued, 60);
    let small = Round {
        rate: RATE / 2,
        in_flight: BDP / 2,
        ..STEADY
    };
    script.rounds_until(State::ProbeBwCruise, small, 8);
    let before = script.bbr.clone();
    // The last flight of ProbeRTT is acknowledged now.
    script.round(small);
    assert_eq!(script.bbr.max_bw.get(), before.max_bw.get());
    let advanced = |script: &mut Script, app_limited| {
        let sample = script.bbr.sample(&crate::tcp::congestion::Ack {
            rate: Some(crate::tcp::recovery::rate::RateSample {
                delivered: 1,
                interval: 1,
                prior_delivered: script.delivered,
                app_limited,
                ..Default::default()
            }),
            ..Default::default()
        });
        sample.app_limited
    };
    script.round(STEADY);
    script.round(STEADY);
    assert!(!advanced(&mut script, false));
    assert!(advanced(&mut script, true));
}

#[test]
fn a_longer_path_is_believed_after_ten_seconds() {
    let mut script = Script::cruising();
    let longer = Round {
        rtt: 3 * RTT,
        in_flight: BDP / 4,
        ..STEADY
    };
    let mut seconds = 0;
    while script.bbr.min_rtt() == RTT {
        script.round(longer);
        seconds = (script.now - SECOND) / SECOND;
        assert!(seconds < 20);
    }
    assert!((9..=14).contains(&seconds), "{seconds}");
    assert_eq!(script.bbr.min_rtt(), 3 * RTT);
}

#[test]
fn probe_rtt_during_startup_leads_back_to_startup() {
    let mut script = Script::new();
    let slow = Round {
        rate: RATE / 100,
        app_limited: true,
        ..STEADY
    };
    script.rounds_until(State::ProbeRtt, slow, 60);
    let small = Round {
        in_flight: MSS,
        ..slow
    };
    script.rounds_until(State::Startup, small, 8);
    assert!(script.bbr.in_slow_start());
}

#[test]
fn idleness_takes_the_place_of_probe_rtt() {
    let mut script = Script::cruising();
    script.now += 8 * SECOND;
    let (now, delivered) = (script.time(), script.delivered);
    script.bbr.on_sent(now, MSS, 0, true, delivered);
    assert_ne!(script.round(STEADY), State::ProbeRtt);
    assert_ne!(script.round(STEADY), State::ProbeRtt);
}

#[test]
fn idleness_during_probe_rtt_ends_it_before_the_next_packet() {
    let mut script = Script::cruising();
    script.rounds_until(
        State::ProbeRtt,
        Round {
            rtt: STEADY.rtt * 11 / 10,
            ..STEADY
        },
        60,
    );
    let small = Round {
        rate: RATE / 2,
        in_flight: 0,
        ..STEADY
    };
    script.round(small);
    assert_eq!(script.state(), State::ProbeRtt);
    let (later, delivered) = (Time(script.now + 300 * MILLISECOND), script.delivered);
    script.bbr.on_sent(later, MSS, 0, true, delivered);
    assert_eq!(script.state(), State::ProbeBwCruise);
    assert!(script.bbr.cwnd() > BDP);
}

#[test]
fn after_idleness_the_rate_is_the_old_one_even_in_the_middle_of_a_probe() {
    let mut script = Script::probing();
    let (now, delivered) = (Time(script.now + SECOND), script.delivered);
    assert_eq!(script.bbr.pacing_rate(), RATE * 5 / 4 * 99 / 100);
    script.bbr.on_sent(now, MSS, 0, true, delivered);
    assert_eq!(script.bbr.pacing_rate(), RATE * 99 / 100);
    assert!(script.bbr.send_quantum() < BDP / 50);
}
