//! Reductions of the window that were for nothing are taken back (RFC 3708), and detection learns from them.

use super::*;

/// Ten segments, of which the first seems to be lost and is sent again.
fn recovering() -> Script {
    let mut s = Script::established();
    s.write(10_000);
    s.sent();
    s.advance(RTT);
    s.sack(ISS + 1, &[(ISS + 1_001, ISS + 4_001)]);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
    assert!(s.tcb.info().ssthresh < 10_000);
    s
}

#[test]
fn a_fast_recovery_is_taken_back_when_all_that_was_sent_again_comes_twice() {
    let mut s = recovering();
    s.advance(5 * MILLISECOND);
    s.ack(ISS + 10_001, 2_000);
    s.advance(45 * MILLISECOND);
    s.sack(ISS + 10_001, &[(ISS + 1, ISS + 1_001)]);
    let info = s.tcb.info();
    assert_eq!((info.spurious_recoveries, info.ssthresh), (1, u64::MAX));
    assert!(info.cwnd >= 10_000, "{}", info.cwnd);
}

#[test]
fn a_fast_recovery_is_taken_back_while_it_goes_on() {
    let mut s = recovering();
    // Some copy of it came at once.
    s.advance(5 * MILLISECOND);
    s.sack(ISS + 4_001, &[(ISS + 1, ISS + 1_001)]);
    let info = s.tcb.info();
    assert_eq!((info.spurious_recoveries, info.ssthresh), (1, u64::MAX));
    assert_eq!(info.bytes_in_flight, 6_000);
}

#[test]
fn it_stands_if_one_of_two_was_lost() {
    let mut s = Script::established();
    s.write(10_000);
    s.sent();
    s.advance(RTT);
    s.sack(ISS + 1, &[(ISS + 2_001, ISS + 6_001)]);
    let mut again = s.sent_short();
    s.advance(MILLISECOND);
    s.sack(ISS + 1, &[(ISS + 2_001, ISS + 10_001)]);
    again.extend(s.sent_short());
    assert_eq!(again, [(ACK, ISS + 1, 1_000), (ACK, ISS + 1_001, 1_000)]);
    s.advance(RTT);
    s.sack(ISS + 10_001, &[(ISS + 1, ISS + 1_001)]);
    let info = s.tcb.info();
    assert_eq!(info.spurious_recoveries, 0);
    assert!(info.ssthresh < 10_000);
}

#[test]
fn a_report_of_another_time_takes_nothing_back() {
    let mut s = recovering();
    s.advance(RTT);
    s.sack(ISS + 10_001, &[(ISS - 999, ISS + 1)]);
    assert_eq!(s.tcb.info().spurious_recoveries, 0);
}

#[test]
fn a_timeout_is_taken_back_when_what_was_sent_again_comes_twice() {
    let mut s = Script::established();
    s.write(500);
    s.sent();
    s.run(SECOND / 2);
    let info = s.tcb.info();
    assert_eq!((info.timeouts, info.cwnd), (1, 1_000));
    s.sack(ISS + 501, &[(ISS + 1, ISS + 501)]);
    let info = s.tcb.info();
    assert_eq!((info.spurious_recoveries, info.ssthresh), (1, u64::MAX));
    assert!(info.cwnd >= 10_000, "{}", info.cwnd);
}

#[test]
fn after_a_false_alarm_late_segments_are_given_more_time() {
    let mut s = recovering();
    s.advance(5 * MILLISECOND);
    s.ack(ISS + 10_001, 2_000);
    s.advance(45 * MILLISECOND);
    s.sack(ISS + 10_001, &[(ISS + 1, ISS + 1_001)]);
    s.write(10_000);
    s.run(RTT);
    let begin = s.now;
    // The same gap as before: nothing is lost until half of the smallest round-trip time has passed.
    s.sack(ISS + 10_001, &[(ISS + 11_001, ISS + 20_001)]);
    assert_eq!(s.sent_short(), []);
    let deadline = s.tcb.deadline();
    s.advance(deadline.since(begin));
    assert_eq!(s.sent_short(), [(ACK, ISS + 10_001, 1_000)]);
    let waited = deadline.since(begin);
    // Sent up to a burst before the newest of what has arrived.
    assert!(waited > 10 * MILLISECOND && waited <= RTT / 2, "{waited}");
}
