//! The retransmission timer (RFC 6298), and when it was wrong (RFC 5682).

use super::*;

#[test]
fn the_timeout_has_a_floor_and_backs_off() {
    let mut s = Script::established();
    s.write(500);
    s.sent();
    let rto = s.tcb.info().rto;
    assert!(
        (200 * MILLISECOND..=300 * MILLISECOND).contains(&rto),
        "{rto}"
    );
    // Until the timeout there is one probe for the tail, from which the timeout counts.
    let probe = s.tcb.deadline().since(s.now);
    assert!((72_500..=85_000).contains(&probe), "{probe}");
    s.advance(probe);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 500)]);
    s.advance(rto - 1);
    assert_eq!(s.sent_short(), []);
    s.advance(1);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 500)]);
    s.advance(2 * rto - 1);
    assert_eq!(s.sent_short(), []);
    s.advance(1);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 500)]);
    let info = s.tcb.info();
    assert_eq!((info.cwnd, info.timeouts), (u64::from(MSS), 2));
}

#[test]
fn a_peer_that_never_answers_is_given_up() {
    let mut s = Script::established();
    s.write(500);
    s.sent();
    let begin = s.now;
    while s.tcb.state() != State::Closed {
        let next = s.tcb.deadline();
        assert_ne!(next, Time::NEVER);
        s.advance(next.since(s.now));
        s.sent();
    }
    assert_eq!(s.tcb.close_reason(), Some(CloseReason::Timeout));
    let took = s.now.since(begin);
    assert!((60 * SECOND..80 * SECOND).contains(&took), "{took}");
    assert_eq!(s.pool.in_use(), 0);
}

/// Five segments and unsent data; the timer has fired, and the first was sent again.
fn timed_out() -> Script {
    let mut s = Script::established();
    s.tcb.congestion.set_cwnd(5_000);
    s.write(12_000);
    assert_eq!(s.sent_short().len(), 5);
    // The probe, and then the timeout.
    let rto = s.tcb.info().rto;
    let sent = s.run(85 * MILLISECOND + rto);
    assert_eq!(s.tcb.info().timeouts, 1);
    assert_eq!(sent.last().map(|o| o.1), Some(ISS + 1));
    s
}

#[test]
fn after_the_timeout_one_segment_leaves_and_the_window_is_one() {
    let s = timed_out();
    let info = s.tcb.info();
    assert_eq!((info.cwnd, info.bytes_in_flight), (1_000, 1_000));
}

#[test]
fn originals_that_arrive_late_show_that_nothing_was_lost() {
    let mut s = timed_out();
    // The first was sent again, so this may be for either: new data goes out.
    s.advance(60 * MILLISECOND);
    s.ack(ISS + 1_001, 2_000);
    let sent: Vec<u32> = s.run(RTT / 2).into_iter().map(|o| o.1).collect();
    assert_eq!(sent, [ISS + 5_001, ISS + 6_001]);
    // The third was not sent again since: late, not lost.
    s.ack(ISS + 3_001, 2_000);
    let info = s.tcb.info();
    assert_eq!(info.spurious_recoveries, 1);
    assert_eq!(info.ssthresh, u64::MAX);
    assert!(info.cwnd >= 5_000, "{}", info.cwnd);
    let again: Vec<u32> = s.run(RTT / 4).into_iter().map(|o| o.1).collect();
    assert!(again.iter().all(|&seq| seq > ISS + 6_001), "{again:?}");
}

#[test]
fn a_duplicate_after_the_new_data_shows_that_something_was() {
    let mut s = timed_out();
    s.advance(60 * MILLISECOND);
    s.ack(ISS + 1_001, 2_000);
    assert_eq!(s.run(RTT).len(), 2);
    s.sack(ISS + 1_001, &[(ISS + 5_001, ISS + 7_001)]);
    let sent = s.run(RTT);
    assert_eq!(sent[0].1, ISS + 1_001);
    let info = s.tcb.info();
    assert_eq!((info.spurious_recoveries, info.ssthresh), (0, 2_500));
}

#[test]
fn new_data_that_the_peers_window_does_not_let_out_is_not_waited_for() {
    let mut s = timed_out();
    s.advance(60 * MILLISECOND);
    // Room for half a segment beyond what is outstanding.
    s.ack(ISS + 1_001, 4_480 >> 7);
    let again: Vec<u32> = s.run(RTT).into_iter().map(|o| o.1).collect();
    assert_eq!(again, [ISS + 1_001, ISS + 2_001]);
}

#[test]
fn with_nothing_new_to_send_the_rest_is_sent_again_in_slow_start() {
    let mut s = Script::established();
    s.write(5_000);
    s.sent();
    let rto = s.tcb.info().rto;
    s.run(85 * MILLISECOND + rto);
    s.advance(RTT);
    s.ack(ISS + 1_001, 2_000);
    let again: Vec<u32> = s.run(RTT).into_iter().map(|o| o.1).collect();
    assert_eq!(again, [ISS + 1_001, ISS + 2_001]);
    s.ack(ISS + 3_001, 2_000);
    let again: Vec<u32> = s.run(RTT).into_iter().map(|o| o.1).collect();
    assert_eq!(again, [ISS + 3_001, ISS + 4_001]);
    s.ack(ISS + 5_001, 2_000);
    assert_eq!(s.tcb.info().timeouts, 1);
}

#[test]
fn what_had_no_time_to_be_answered_is_not_held_to_be_lost() {
    let mut s = Script::established();
    s.write(1_000);
    s.sent();
    let rto = s.tcb.info().rto;
    // Twenty milliseconds before the timeout there is something new.
    s.run(85 * MILLISECOND + rto - 20 * MILLISECOND);
    s.write(1_000);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1_001, 1_000)]);
    let sent = s.run(40 * MILLISECOND);
    assert_eq!(s.tcb.info().timeouts, 1);
    assert_eq!(sent.iter().map(|o| o.1).collect::<Vec<_>>(), [ISS + 1]);
    s.ack(ISS + 2_001, 2_000);
    assert_eq!(s.tcb.info().bytes_retransmitted, 2_000);
}

#[test]
fn what_was_sent_again_gives_no_round_trip_time() {
    let mut s = Script::established();
    s.write(1_000);
    s.sent();
    s.run(SECOND / 10);
    let srtt = s.tcb.info().srtt;
    s.advance(SECOND / 10);
    s.ack(ISS + 1_001, 2_000);
    assert_eq!(s.tcb.info().srtt, srtt);
}

#[test]
fn what_was_sent_before_a_timeout_gives_none_unless_nothing_was_lost() {
    for late in [true, false] {
        let mut s = timed_out();
        let srtt = s.tcb.info().srtt;
        s.advance(60 * MILLISECOND);
        // The second was sent again by the probe.
        s.ack(ISS + 1_001, 2_000);
        s.run(RTT);
        s.ack(ISS + 2_001, 2_000);
        assert_eq!(s.tcb.info().srtt, srtt);
        if late {
            s.ack(ISS + 3_001, 2_000);
            assert!(s.tcb.info().srtt > srtt, "the third took that long");
        } else {
            s.sack(ISS + 2_001, &[(ISS + 5_001, ISS + 6_001)]);
            assert!(s.tcb.info().srtt <= srtt + RTT);
            let srtt = s.tcb.info().srtt;
            // The third, sent once, before the timeout: when it arrived is not known.
            s.ack(ISS + 3_001, 2_000);
            assert_eq!(s.tcb.info().srtt, srtt);
        }
    }
}

#[test]
fn a_peer_heard_again_after_a_blackout_is_no_further_sign_of_congestion() {
    let mut s = Script::established();
    s.write(10_000);
    s.sent();
    s.run(3 * SECOND);
    let info = s.tcb.info();
    assert!(info.timeouts >= 2);
    assert_eq!(info.ssthresh, 5_000);
    // Something else on the connection was heard: no waiting for the backed-off timer.
    s.tcb.revive(s.now);
    s.advance(0);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
    assert_eq!(s.tcb.info().ssthresh, 5_000);
    s.tcb.revive(s.now);
    s.advance(0);
    assert_eq!(s.tcb.info().ssthresh, 5_000);
}
