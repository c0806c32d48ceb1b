//! How much leaves, and how fast: windows, their validation, pacing.

use super::*;

#[test]
fn the_congestion_window_limits_and_slow_start_doubles() {
    let mut s = Script::established();
    s.write(13_000);
    assert_eq!(s.sent_short().len(), 10);
    s.advance(50 * MILLISECOND);
    s.ack(ISS + 1 + 10_000, 2_000);
    assert_eq!(s.tcb.info().cwnd, 20_000);
}

#[test]
fn after_idleness_the_initial_window_is_used_again() {
    let mut s = Script::established();
    for round in 0..4u32 {
        let before = s.tcb.snd_nxt().0;
        s.write(s.tcb.room());
        s.sent();
        s.advance(50 * MILLISECOND);
        let ack = s.tcb.snd_nxt().0;
        assert!(ack > before, "round {round}");
        s.ack(ack, 2_000);
    }
    assert!(s.tcb.info().cwnd > 20_000);
    while !s.sent().is_empty() {
        s.advance(50 * MILLISECOND);
        s.ack(s.tcb.snd_nxt().0, 2_000);
    }
    s.advance(10 * SECOND);
    s.write(15_000);
    assert_eq!(s.sent_short().len(), 10);
}

#[test]
fn a_rate_cap_spaces_segments() {
    let mut s = Script::established();
    s.tcb.set_rate(100_000);
    s.write(10_000);
    let mut octets = 0;
    let begin = s.now;
    while octets < 10_000 {
        octets += s.sent().iter().map(|o| o.data.len()).sum::<usize>();
        s.ack(s.tcb.snd_nxt().0, 2_000);
        let next = s.tcb.deadline();
        if octets < 10_000 {
            assert_ne!(next, Time::NEVER);
            s.advance(next.since(s.now));
        }
    }
    let took = s.now.since(begin);
    assert!(
        (70 * MILLISECOND..110 * MILLISECOND).contains(&took),
        "{took}"
    );
}

#[test]
fn an_initial_window_leaves_at_once_and_the_next_one_paced() {
    let mut s = Script::established();
    s.write(16_000);
    assert_eq!(s.sent_short().len(), 10);
    assert_eq!(s.run(RTT).len(), 0);
    s.ack(ISS + 10_001, 2_000);
    s.write(20_000 - 6_000);
    let sent = s.run(RTT);
    assert_eq!(sent.len(), 20);
    // In slow start two windows in a round trip: a segment each 1.25 ms, two of them at once.
    let within = |ms: u64| sent.iter().filter(|o| o.0 <= ms * MILLISECOND).count();
    assert!(within(0) <= 3 + 10, "{sent:?}");
    for ms in [5, 10] {
        let most = 10 + 3 + (ms * 4 / 5) as usize;
        assert!(within(ms) <= most, "{} within {ms} ms", within(ms));
    }
    assert!(sent.last().is_some_and(|o| o.0 <= RTT / 2));
}

#[test]
fn a_window_in_use_is_refilled_at_the_pace_of_the_path() {
    let mut s = Script::established();
    s.grow(40_000);
    s.write(40_000);
    s.run(RTT / 2);
    s.ack(s.tcb.snd_nxt().0 - 20_000, 2_000);
    s.write(30_000);
    let sent = s.run(RTT / 2);
    // Half of the window, at two windows in a round trip.
    let at_once = sent.iter().filter(|o| o.0 == 0).count();
    assert!((1..=3).contains(&at_once), "{at_once}");
    let last = sent.last().map_or(0, |o| o.0);
    assert!(last > RTT / 8, "{last}");
}

#[test]
fn a_window_that_is_not_used_does_not_grow_and_counts_only_as_used() {
    let mut s = Script::established();
    s.grow(40_000);
    let cwnd = s.tcb.info().cwnd;
    for _ in 0..100 {
        s.write(3_000);
        s.run(RTT);
        s.ack(s.tcb.snd_nxt().0, 2_000);
    }
    assert_eq!(s.tcb.info().cwnd, cwnd);
    s.write(5_000);
    let una = s.tcb.snd_nxt().0;
    s.run(RTT);
    s.sack(una, &[(una + 1_000, una + 5_000)]);
    let info = s.tcb.info();
    assert_eq!((info.fast_recoveries, info.ssthresh), (1, 2_500));
}

#[test]
fn a_closed_window_of_the_peer_does_not_let_ours_grow() {
    let mut s = Script::established();
    // 4 kB of window, 10 kB of data.
    s.segment(ACK, IRS + 1, ISS + 1, 4_096 >> 7, Options::default(), &[])
        .unwrap();
    s.write(10_000);
    let before = s.tcb.info().cwnd;
    for _ in 0..10 {
        s.run(RTT);
        s.ack(s.tcb.snd_nxt().0, 4_096 >> 7);
        s.write(1_000);
    }
    assert_eq!(s.tcb.info().cwnd, before);
}

#[test]
fn a_rate_cap_and_a_small_window_hold_both() {
    let mut s = Script::established();
    s.tcb.set_rate(100_000);
    s.write(16_000);
    let sent = s.run(RTT);
    let octets: usize = sent.iter().map(|o| o.2).sum();
    assert!(octets <= 5_000 + 3_000, "{octets} octets in 50 ms");
    s.tcb.set_rate(0);
    let sent = s.run(MILLISECOND);
    assert_eq!(s.tcb.in_flight(), 10_000, "{sent:?}");
}

#[test]
fn a_full_segment_with_the_fin_fits_where_a_full_segment_fits() {
    let mut s = Script::established();
    s.write(2_000);
    s.tcb.finish();
    let mut plan = |window: u64| {
        let allowance = Allowance {
            memory: u64::MAX,
            window,
        };
        let plan = s.tcb.plan(s.now, allowance)?;
        s.tcb.commit(s.now, &plan);
        Some((plan.payload, plan.flags.has(Flags::FIN)))
    };
    assert_eq!(plan(999), None);
    assert_eq!(plan(1_000), Some((1_000, false)));
    assert_eq!(plan(0), None);
    assert_eq!(plan(1_000), Some((1_000, true)));
}

#[test]
fn a_window_of_its_own_after_a_common_one_is_a_window() {
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr] {
        let mut s = Script::established_with(
            &Settings {
                congestion: algorithm,
                ..settings()
            },
            RTT,
            syn_options(),
        );
        s.tcb.set_coupled(s.now, true);
        s.write(10_000);
        s.run(RTT);
        s.sack(ISS + 1, &[(ISS + 1_001, ISS + 10_001)]);
        s.run(MILLISECOND);
        s.tcb.set_coupled(s.now, false);
        s.run(RTT);
        s.ack(ISS + 10_001, 2_000);
        let cwnd = s.tcb.info().cwnd;
        assert!((1_000..=20_000).contains(&cwnd), "{algorithm:?}: {cwnd}");
    }
}

#[test]
fn a_switch_in_the_middle_of_recovery_leaves_a_window() {
    let all = [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr];
    for (from, to) in all.into_iter().flat_map(|a| all.map(|b| (a, b))) {
        let mut s = Script::established_with(
            &Settings {
                congestion: from,
                ..settings()
            },
            RTT,
            syn_options(),
        );
        s.write(10_000);
        s.run(RTT);
        s.sack(ISS + 1, &[(ISS + 1_001, ISS + 10_001)]);
        s.run(MILLISECOND);
        s.tcb.set_congestion(to);
        s.run(RTT);
        s.ack(ISS + 10_001, 2_000);
        let cwnd = s.tcb.info().cwnd;
        assert!((2_000..=21_000).contains(&cwnd), "{from:?} {to:?}: {cwnd}");
    }
}

#[test]
fn a_common_window_leaves_the_own_one_alone() {
    let mut s = Script::established();
    s.tcb.set_coupled(s.now, true);
    s.write(10_000);
    s.run(RTT);
    let before = (s.tcb.info().cwnd, s.tcb.info().ssthresh);
    s.sack(ISS + 1, &[(ISS + 1_001, ISS + 6_001)]);
    s.run(RTT);
    s.ack(ISS + 10_001, 2_000);
    assert_eq!((s.tcb.info().cwnd, s.tcb.info().ssthresh), before);
    let signals = s.tcb.take_signals().unwrap();
    assert_eq!(signals.acked, 10_000);
    assert_eq!(signals.losses.len(), 1);
    assert!(s.tcb.take_signals().unwrap().is_empty());
}
