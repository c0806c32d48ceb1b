//! Tail loss probes (RFC 8985 section 7), and what they say to congestion control.

use super::*;

/// The probe timeout at `RTT` after one sample: SRTT, half of it for the deviation, and the acknowledgement delay.
const PTO: Micros = 80 * MILLISECOND;

/// A flight of `n` segments of which nothing is heard until the probe.
fn probed(n: u32) -> (Script, Vec<(Flags, u32, usize)>) {
    let mut s = Script::established();
    s.write(n as usize * 1_000);
    assert_eq!(s.sent_short().len(), n as usize);
    assert_eq!(s.tcb.deadline(), s.now + PTO);
    s.advance(PTO - 1);
    assert_eq!(s.sent_short(), []);
    s.advance(1);
    let probes = s.sent_short();
    (s, probes)
}

#[test]
fn the_tail_is_sent_again_the_first_two_and_the_last() {
    assert_eq!(probed(1).1, [(ACK, ISS + 1, 1_000)]);
    assert_eq!(
        probed(2).1,
        [(ACK, ISS + 1, 1_000), (ACK, ISS + 1_001, 1_000)]
    );
    for n in [3, 6, 10] {
        let last = ISS + 1 + (n - 1) * 1_000;
        assert_eq!(
            probed(n).1,
            [
                (ACK, ISS + 1, 1_000),
                (ACK, ISS + 1_001, 1_000),
                (ACK, last, 1_000)
            ]
        );
    }
}

#[test]
fn there_is_one_probe_until_the_peer_is_heard_and_then_the_timeout() {
    let (mut s, _) = probed(6);
    let rto = s.tcb.info().rto;
    assert_eq!(s.tcb.deadline(), s.now + rto);
    assert_eq!(s.run(rto - 1), []);
    assert_eq!(s.tcb.info().timeouts, 0);
    s.advance(1);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
    let info = s.tcb.info();
    assert_eq!((info.tail_loss_probes, info.timeouts), (1, 1));
}

#[test]
fn acknowledgements_that_come_in_put_the_probe_off() {
    let mut s = Script::established();
    s.write(6_000);
    s.sent();
    s.advance(80 * MILLISECOND);
    s.ack(ISS + 1_001, 2_000);
    // Not in 5 ms, but when an acknowledgement for the next segment would be late.
    let deadline = s.tcb.deadline().since(s.now);
    assert!(deadline >= 20 * MILLISECOND, "{deadline}");
}

#[test]
fn a_probe_that_filled_holes_counts_as_a_loss_once() {
    let (mut s, _) = probed(10);
    s.advance(RTT);
    s.ack(ISS + 10_001, 2_000);
    assert_eq!(s.tcb.info().ssthresh, u64::MAX, "not known yet");
    s.write(1_000);
    s.sent();
    s.advance(RTT);
    s.ack(ISS + 11_001, 2_000);
    let info = s.tcb.info();
    assert_eq!(info.ssthresh, 5_000, "half of what was in use");
    assert!((5_000..6_000).contains(&info.cwnd), "{}", info.cwnd);
    assert_eq!((info.timeouts, info.fast_recoveries), (0, 0));
    s.write(1_000);
    s.sent();
    s.advance(RTT);
    s.ack(ISS + 12_001, 2_000);
    assert_eq!(s.tcb.info().ssthresh, 5_000);
}

#[test]
fn a_probe_that_was_not_needed_costs_nothing() {
    let (mut s, _) = probed(10);
    // The acknowledgement was late, and then all three come a second time.
    s.advance(10 * MILLISECOND);
    s.ack(ISS + 10_001, 2_000);
    s.advance(40 * MILLISECOND);
    s.sack(ISS + 10_001, &[(ISS + 1, ISS + 2_001)]);
    s.sack(ISS + 10_001, &[(ISS + 9_001, ISS + 10_001)]);
    s.write(1_000);
    s.sent();
    s.advance(RTT);
    s.ack(ISS + 11_001, 2_000);
    let info = s.tcb.info();
    assert_eq!(info.ssthresh, u64::MAX);
    assert!(info.cwnd >= 20_000, "{}", info.cwnd);
}

#[test]
fn a_probe_whose_second_segment_was_needed_counts_as_a_loss() {
    let (mut s, _) = probed(10);
    s.advance(RTT);
    s.sack(ISS + 10_001, &[(ISS + 1, ISS + 1_001)]);
    s.sack(ISS + 10_001, &[(ISS + 9_001, ISS + 10_001)]);
    s.write(1_000);
    s.sent();
    s.advance(RTT);
    s.ack(ISS + 11_001, 2_000);
    assert_eq!(s.tcb.info().ssthresh, 5_000);
}

#[test]
fn what_a_probe_uncovers_is_repaired_by_fast_recovery_and_counted_once() {
    let (mut s, _) = probed(10);
    // All but the fourth and the probe arrived, with the acknowledgements lost.
    s.advance(RTT);
    s.sack(ISS + 3_001, &[(ISS + 4_001, ISS + 10_001)]);
    assert_eq!(s.sent_short(), [(ACK, ISS + 3_001, 1_000)]);
    s.advance(RTT);
    s.write(1_000);
    s.ack(ISS + 10_001, 2_000);
    s.run(RTT);
    s.ack(ISS + 11_001, 2_000);
    let info = s.tcb.info();
    assert_eq!((info.fast_recoveries, info.timeouts), (1, 0));
    assert_eq!(info.ssthresh, 5_000, "reduced once");
}

#[test]
fn a_tail_that_follows_a_repaired_one_is_probed_as_well() {
    let (mut s, _) = probed(1);
    s.advance(RTT);
    s.ack(ISS + 1_001, 2_000);
    s.advance(SECOND);
    s.write(1_000);
    s.sent();
    let info = s.tcb.info();
    let sent = s.run(info.rto - 1);
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!((sent[0].1, sent[0].2), (ISS + 1_001, 1_000));
    // The first probe had repaired a loss, for all that has been heard.
    s.ack(ISS + 2_001, 2_000);
    let info = s.tcb.info();
    assert_eq!((info.tail_loss_probes, info.timeouts), (2, 0));
    assert!(info.ssthresh < u64::MAX);
}

#[test]
fn probes_that_only_come_twice_do_not_keep_the_timeout_off() {
    let mut s = Script::established();
    s.write(3_000);
    s.tcb.finish();
    s.sent();
    s.advance(RTT);
    // The first is lost, twice, and the peer does not acknowledge the FIN selectively.
    let held = [(ISS + 1_001, ISS + 3_001)];
    s.sack(ISS + 1, &held);
    let begin = s.now;
    while s.tcb.info().timeouts == 0 {
        assert!(s.now < begin + SECOND);
        for (_, seq, n) in s.run(10 * MILLISECOND) {
            if seq > ISS + 1 {
                s.sack(ISS + 1, &[(seq + n as u32, ISS + 3_001), held[0]]);
            }
        }
    }
}

#[test]
fn a_lone_syn_is_probed_if_siblings_know_the_round_trip_time() {
    let seeded = Settings {
        srtt: RTT,
        rttvar: 5 * MILLISECOND,
        ..settings()
    };
    let mut s = Script::open_with(&seeded);
    assert_eq!(s.sent_short(), [(SYN, ISS, 0)]);
    s.advance(PTO - 1);
    assert_eq!(s.sent_short(), []);
    s.advance(1);
    assert_eq!(s.sent_short(), [(SYN, ISS, 0)]);
    assert_eq!(s.tcb.info().timeouts, 0);
}

#[test]
fn an_answer_to_the_syn_that_is_late_costs_nothing() {
    let seeded = Settings {
        srtt: RTT,
        rttvar: 5 * MILLISECOND,
        ..settings()
    };
    let mut s = Script::open_with(&seeded);
    s.sent();
    s.advance(PTO);
    assert_eq!(s.sent_short(), [(SYN, ISS, 0)]);
    s.advance(10 * MILLISECOND);
    s.segment(SYN_ACK, IRS, ISS + 1, 65_535, syn_options(), &[])
        .unwrap();
    s.write(3_000);
    s.run(RTT);
    s.ack(ISS + 3_001, 2_000);
    let info = s.tcb.info();
    assert_eq!(info.ssthresh, u64::MAX);
    assert!(info.cwnd >= 10_000, "{}", info.cwnd);
}

#[test]
fn a_peer_without_sack_is_not_probed() {
    let mut s = Script::without_sack();
    s.write(3_000);
    s.sent();
    assert_eq!(s.tcb.deadline(), s.now + s.tcb.info().rto);
}
