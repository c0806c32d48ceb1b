//! What was lost is found and sent again: SACK, RACK, PRR, duplicate acknowledgements.

use super::*;

#[test]
fn only_what_is_missing_is_sent_again() {
    let mut s = Script::established();
    s.write(8_000);
    assert_eq!(s.sent_short().len(), 8);
    s.advance(50 * MILLISECOND);
    s.sack(
        ISS + 1,
        &[(ISS + 1_001, ISS + 3_001), (ISS + 4_001, ISS + 8_001)],
    );
    assert_eq!(
        s.sent_short(),
        [(ACK, ISS + 1, 1_000), (ACK, ISS + 3_001, 1_000)]
    );
    let info = s.tcb.info();
    assert_eq!((info.fast_recoveries, info.timeouts), (1, 0));
    s.advance(50 * MILLISECOND);
    s.ack(ISS + 8_001, 2_000);
    assert_eq!(s.tcb.info().send_queue, 0);
}

#[test]
fn a_lost_retransmission_is_repaired_without_a_timeout() {
    let mut s = Script::established();
    s.write(10_000);
    s.sent();
    s.advance(50 * MILLISECOND);
    s.sack(ISS + 1, &[(ISS + 1_001, ISS + 4_001)]);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
    // The rest of the window arrives, and lets new data out behind the retransmission.
    s.advance(MILLISECOND);
    s.write(1_000);
    s.sack(ISS + 1, &[(ISS + 1_001, ISS + 10_001)]);
    assert_eq!(s.sent_short(), [(ACK, ISS + 10_001, 1_000)]);
    s.advance(50 * MILLISECOND);
    s.sack(ISS + 1, &[(ISS + 1_001, ISS + 11_001)]);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
    assert_eq!(s.tcb.info().timeouts, 0);
}

#[test]
fn a_peer_without_sack_gets_a_fast_retransmit_on_the_third_duplicate() {
    let mut s = Script::open();
    s.sent();
    s.advance(50 * MILLISECOND);
    let options = Options {
        sack_permitted: false,
        ..syn_options()
    };
    s.segment(SYN_ACK, IRS, ISS + 1, 65_535, options, &[])
        .unwrap();
    s.sent();
    s.ack(ISS + 1, 2_000);
    s.write(6_000);
    s.sent();
    s.advance(50 * MILLISECOND);
    for _ in 0..2 {
        s.ack(ISS + 1, 2_000);
        assert_eq!(s.sent_short(), []);
    }
    s.ack(ISS + 1, 2_000);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
}

#[test]
fn a_retransmission_lost_at_a_long_round_trip_time_is_found_before_the_timeout() {
    let rtt = 400 * MILLISECOND;
    let mut s = Script::established_with(&settings(), rtt, syn_options());
    s.write(10_000);
    s.run(rtt);
    s.ack(ISS + 1_001, 2_000);
    s.sack(ISS + 1_001, &[(ISS + 2_001, ISS + 10_001)]);
    s.write(4_000);
    // The retransmission, which gets lost, and new data.
    let sent = s.run(rtt);
    assert_eq!((sent[0].1, sent[0].2), (ISS + 1_001, 1_000));
    let end = s.tcb.snd_nxt().0;
    assert!(end > ISS + 10_001);
    s.sack(ISS + 1_001, &[(ISS + 2_001, end)]);
    let sent = s.run(rtt - MILLISECOND);
    assert_eq!(sent[0], (0, ISS + 1_001, 1_000));
    s.ack(end, 2_000);
    let info = s.tcb.info();
    assert_eq!((info.timeouts, info.fast_recoveries), (0, 1));
}

#[test]
fn one_segment_delivered_early_makes_no_loss_until_a_quarter_round_trip_has_passed() {
    let mut s = Script::established();
    s.write(5_000);
    s.sent();
    s.advance(RTT);
    s.sack(ISS + 1, &[(ISS + 2_001, ISS + 3_001)]);
    assert_eq!(s.sent_short(), []);
    assert_eq!(s.tcb.deadline(), s.now + RTT / 4);
    s.advance(RTT / 4 - 1);
    assert_eq!(s.sent_short(), []);
    s.advance(1);
    // Two are lost; proportional rate reduction lets one out.
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
}

#[test]
fn segments_only_late_are_not_sent_again() {
    let mut s = Script::established();
    s.write(5_000);
    s.sent();
    s.advance(RTT);
    s.sack(ISS + 1, &[(ISS + 2_001, ISS + 3_001)]);
    s.advance(10 * MILLISECOND);
    assert_eq!(s.sent_short(), []);
    s.ack(ISS + 3_001, 2_000);
    s.advance(10 * MILLISECOND);
    s.ack(ISS + 5_001, 2_000);
    // From now on three ahead are not enough either.
    s.write(8_000);
    s.run(RTT);
    s.sack(ISS + 5_001, &[(ISS + 6_001, ISS + 12_001)]);
    assert_eq!(s.sent_short(), []);
    s.advance(5 * MILLISECOND);
    s.ack(ISS + 13_001, 2_000);
    let info = s.tcb.info();
    assert_eq!((info.segments_retransmitted, info.fast_recoveries), (0, 0));
}

#[test]
fn blocks_listed_latest_first_are_not_taken_for_reordering() {
    let mut s = Script::established();
    s.write(10_000);
    s.sent();
    s.advance(RTT);
    // Two holes and one acknowledgement, as when datagrams arrive in one batch.
    s.sack(
        ISS + 1,
        &[(ISS + 6_001, ISS + 10_001), (ISS + 1_001, ISS + 5_001)],
    );
    let sent = s.run(RTT);
    assert_eq!(
        sent,
        [(0, ISS + 1, 1_000), (0, ISS + 5_001, 1_000)],
        "at once"
    );
    s.ack(ISS + 10_001, 2_000);
    s.write(10_000);
    s.run(RTT);
    let end = s.tcb.snd_nxt().0;
    assert!(end > ISS + 14_001);
    s.sack(ISS + 10_001, &[(ISS + 11_001, end)]);
    assert_eq!(s.sent()[0].seq, ISS + 10_001);
}

#[test]
fn a_whole_window_with_many_holes_is_repaired_in_recovery() {
    let mut s = Script::established();
    s.grow(20_000);
    let una = s.tcb.snd_nxt().0;
    s.write(20_000);
    s.run(RTT);
    // Every second segment arrived.
    let mut held = Vec::new();
    let mut again = Vec::new();
    for i in (1..20).step_by(2) {
        held.insert(0, (una + i * 1_000, una + (i + 1) * 1_000));
        s.sack(una, &held[..held.len().min(4)]);
        again.extend(s.run(MILLISECOND).into_iter().map(|(_, seq, _)| seq));
    }
    s.advance(RTT - 10 * MILLISECOND);
    for i in 1..10 {
        s.ack(una + 2 * i * 1_000, 2_000);
        again.extend(s.run(5 * MILLISECOND).into_iter().map(|(_, seq, _)| seq));
    }
    let expected: Vec<u32> = (0..10).map(|i| una + 2 * i * 1_000).collect();
    assert_eq!(again, expected);
    s.ack(una + 20_000, 2_000);
    let info = s.tcb.info();
    assert_eq!((info.timeouts, info.fast_recoveries), (0, 1));
}

/// Twenty segments of `size` octets in flight, the first lost, one acknowledgement for each other: what was sent, and
/// what is in flight in the end, in segments.
fn reduction(size: u32) -> (u32, u64) {
    let mut s = Script::established();
    s.grow(20 * u64::from(size));
    s.tcb.congestion.set_cwnd(20 * u64::from(size));
    let una = s.tcb.snd_nxt().0;
    for _ in 0..20 {
        s.write(size as usize);
        s.run(MILLISECOND);
    }
    assert_eq!(s.tcb.in_flight(), 20 * u64::from(size));
    s.advance(RTT - 20 * MILLISECOND);
    let mut sent = 0;
    for i in 1..20 {
        s.sack(una, &[(una + size, una + (i + 1) * size)]);
        s.write(size as usize);
        let out = s.run(MILLISECOND);
        sent += out.iter().map(|o| o.2 as u32).sum::<u32>() / size;
        assert!(sent <= i + 1, "{sent} sent for {i} delivered");
    }
    assert_eq!(s.tcb.info().fast_recoveries, 1);
    (sent, s.tcb.in_flight() / u64::from(size))
}

#[test]
fn one_segment_leaves_for_two_delivered_until_the_threshold_is_reached() {
    let (sent, flight) = reduction(1_000);
    assert!((8..=11).contains(&sent), "{sent}");
    assert!((8..=11).contains(&flight), "{flight}");
}

#[test]
fn small_segments_are_reduced_as_large_ones() {
    // Six, not three, are enough to tell a loss (three full segments); until then one leaves for each.
    // Of thirteen after that, half.
    let (sent, flight) = reduction(500);
    assert!((12..=14).contains(&sent), "{sent}");
    assert!((12..=14).contains(&flight), "{flight}");
}

#[test]
fn losses_found_by_the_clock_are_repaired_no_faster_than_those_found_by_an_acknowledgement() {
    let mut s = Script::established();
    s.write(10_000);
    s.sent();
    s.advance(RTT);
    // The last two of ten arrive: too few to tell at once.
    s.sack(ISS + 1, &[(ISS + 8_001, ISS + 10_001)]);
    assert_eq!(s.sent_short(), []);
    let sent = s.run(RTT - MILLISECOND);
    assert_eq!(sent.len(), 1, "{sent:?}");
    let mut una = ISS + 1;
    let mut before = 1;
    // Each round trip twice as much, as far as the threshold.
    while una < ISS + 8_001 {
        una += before as u32 * 1_000;
        s.sack(una.min(ISS + 8_001), &[(ISS + 8_001, ISS + 10_001)]);
        let now = s.run(RTT).len();
        assert!(now <= 2 * before, "{now} after {before}");
        before = now.max(1);
    }
    assert_eq!(s.tcb.info().timeouts, 0);
}

#[test]
fn without_sack_two_duplicates_let_a_new_segment_out_each() {
    let mut s = Script::without_sack();
    s.write(14_000);
    assert_eq!(s.sent_short().len(), 10);
    s.advance(RTT);
    s.ack(ISS + 1, 2_000);
    assert_eq!(s.sent_short(), [(ACK, ISS + 10_001, 1_000)]);
    s.ack(ISS + 1, 2_000);
    assert_eq!(s.sent_short(), [(ACK, ISS + 11_001, 1_000)]);
    s.ack(ISS + 1, 2_000);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
    s.ack(ISS + 1, 2_000);
    assert_eq!(s.sent_short(), []);
}

#[test]
fn without_sack_a_partial_acknowledgement_names_the_next_hole() {
    let mut s = Script::without_sack();
    s.write(10_000);
    s.sent();
    s.advance(RTT);
    for _ in 0..3 {
        s.ack(ISS + 1, 2_000);
    }
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
    s.advance(RTT);
    s.ack(ISS + 4_001, 2_000);
    assert_eq!(s.sent_short(), [(ACK, ISS + 4_001, 1_000)]);
    s.advance(RTT);
    s.ack(ISS + 10_001, 2_000);
    let info = s.tcb.info();
    assert_eq!((info.fast_recoveries, info.segments_retransmitted), (1, 2));
    assert_eq!(info.cwnd, info.ssthresh);
}

#[test]
fn what_the_peer_held_and_gave_up_is_sent_again_after_the_timeout() {
    let mut s = Script::established();
    s.write(6_000);
    s.sent();
    s.advance(RTT);
    s.sack(ISS + 1, &[(ISS + 1_001, ISS + 6_001)]);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
    s.advance(RTT);
    // It arrived, but all the rest was thrown away.
    s.ack(ISS + 1_001, 2_000);
    let mut una = ISS + 1_001;
    let rto = s.tcb.info().rto;
    assert_eq!(s.run(rto - 1), []);
    for _ in 0..5 {
        for (_, seq, n) in s.run(RTT) {
            assert_eq!(seq, una);
            una += n as u32;
        }
        s.ack(una, 2_000);
    }
    let info = s.tcb.info();
    assert_eq!((una, info.send_queue), (ISS + 6_001, 0));
    assert_eq!(info.timeouts, 1);
}
