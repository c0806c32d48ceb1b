//! How a connection ends.

use super::*;

#[test]
fn a_half_close_leaves_the_other_direction_open() {
    let mut s = Script::established();
    s.write(100);
    s.tcb.finish();
    let sent = s.sent_short();
    assert_eq!(sent, [(FIN, ISS + 1, 100)]);
    assert_eq!(s.tcb.state(), State::FinWait1);
    assert_eq!(s.tcb.write(&mut s.pool, b"x"), Err(Error::State));
    s.ack(ISS + 102, 2_000);
    assert_eq!(s.tcb.state(), State::FinWait2);
    s.data(IRS + 1, b"still").unwrap();
    assert_eq!(s.read_all(), b"still");
    s.segment(FIN, IRS + 6, ISS + 102, 2_000, Options::default(), b"end")
        .unwrap();
    assert_eq!(s.tcb.state(), State::TimeWait);
    assert_eq!(s.read_all(), b"end");
    assert_eq!(s.tcb.read(&mut s.pool, &mut [0; 4]), Err(Error::End));
}

#[test]
fn the_peer_may_finish_first() {
    let mut s = Script::established();
    s.segment(FIN, IRS + 1, ISS + 1, 2_000, Options::default(), b"bye")
        .unwrap();
    assert_eq!(s.tcb.state(), State::CloseWait);
    let sent = s.sent();
    assert_eq!(sent[0].ack, IRS + 5);
    s.write(10);
    s.tcb.finish();
    assert_eq!(s.sent_short(), [(FIN, ISS + 1, 10)]);
    assert_eq!(s.tcb.state(), State::LastAck);
    s.segment(ACK, IRS + 5, ISS + 12, 2_000, Options::default(), &[])
        .unwrap();
    assert_eq!(s.tcb.state(), State::Closed);
    assert_eq!(s.tcb.close_reason(), Some(CloseReason::Done));
    assert_eq!(s.read_all(), b"bye", "what was received stays readable");
}

#[test]
fn both_may_finish_at_once() {
    let mut s = Script::established();
    s.tcb.finish();
    s.sent();
    s.segment(FIN, IRS + 1, ISS + 1, 2_000, Options::default(), &[])
        .unwrap();
    assert_eq!(s.tcb.state(), State::Closing);
    s.segment(ACK, IRS + 2, ISS + 2, 2_000, Options::default(), &[])
        .unwrap();
    assert_eq!(s.tcb.state(), State::TimeWait);
}

#[test]
fn a_fin_ahead_of_a_hole_waits_for_the_data() {
    let mut s = Script::established();
    s.segment(FIN, IRS + 4, ISS + 1, 2_000, Options::default(), b"def")
        .unwrap();
    assert_eq!(s.tcb.state(), State::Established);
    s.data(IRS + 1, b"abc").unwrap();
    assert_eq!(s.tcb.state(), State::CloseWait);
    assert_eq!(s.read_all(), b"abcdef");
}

#[test]
fn data_behind_the_fin_is_not_taken() {
    let mut s = Script::established();
    s.segment(FIN, IRS + 4, ISS + 1, 2_000, Options::default(), b"def")
        .unwrap();
    let _ = s.data(IRS + 7, b"after the end");
    s.data(IRS + 1, b"abc").unwrap();
    assert_eq!(s.read_all(), b"abcdef");
    assert!(s.tcb.at_end());
}

#[test]
fn a_closed_circuit_throws_away_what_arrives_and_does_not_wait_for_ever() {
    let mut s = Script::established();
    s.data(IRS + 1, b"unread").unwrap();
    s.tcb.close(&mut s.pool);
    assert_eq!(s.pool.in_use(), 0);
    s.sent();
    s.segment(ACK, IRS + 7, ISS + 2, 2_000, Options::default(), b"late")
        .unwrap();
    assert_eq!(s.pool.in_use(), 0);
    s.sent();
    assert_eq!(s.tcb.state(), State::FinWait2);
    let next = s.tcb.deadline();
    assert!(next <= s.now + 60 * SECOND);
    s.advance(60 * SECOND);
    assert_eq!(s.tcb.state(), State::Closed);
}

#[test]
fn an_abort_names_the_sequence_number_that_the_peer_expects() {
    let mut s = Script::established();
    s.write(100);
    s.sent();
    let reset = s.tcb.abort(&mut s.pool, CloseReason::Local).unwrap();
    assert_eq!((reset.seq, reset.ack), (Seq(ISS + 101), Some(Seq(IRS + 1))));
    assert_eq!(s.pool.in_use(), 0);
    let mut unsent = Script::open();
    assert_eq!(unsent.tcb.abort(&mut unsent.pool, CloseReason::Local), None);
}

#[test]
fn nothing_is_left_to_do_for_a_circuit_that_ended_with_data_outstanding() {
    let mut s = Script::established();
    s.tcb.set_rate(1_000);
    s.write(5_000);
    s.sent();
    s.tcb.abort(&mut s.pool, CloseReason::Local);
    assert!(s.sent().is_empty());
    assert_eq!(s.tcb.info().unsent, 0);
    assert_eq!(s.tcb.deadline(), Time::NEVER);
}

#[test]
fn a_reset_after_the_end_does_not_make_an_end_of_what_was_not_read() {
    let mut s = Script::established();
    s.segment(FIN, IRS + 1, ISS + 1, 2_000, Options::default(), b"end")
        .unwrap();
    s.segment(RST, IRS + 5, 0, 0, Options::default(), &[])
        .unwrap();
    assert_eq!(s.tcb.close_reason(), Some(CloseReason::Reset));
    assert!(!s.tcb.at_end());
    assert_eq!(s.tcb.read(&mut s.pool, &mut [0; 4]), Err(Error::Closed));
}

#[test]
fn a_fin_that_pacing_holds_back_leaves_when_its_time_comes() {
    let mut s = Script::established();
    s.tcb.set_rate(10_000);
    s.write(4_000);
    while s.tcb.snd_nxt() != Seq(ISS + 4_001) {
        s.ack(s.tcb.snd_nxt().0, 2_000);
        s.run(10 * MILLISECOND);
    }
    s.ack(ISS + 4_001, 2_000);
    s.tcb.finish();
    assert_eq!(s.sent_short(), []);
    assert_ne!(s.tcb.deadline(), Time::NEVER);
    s.run(SECOND);
    assert_eq!(s.tcb.state(), State::FinWait1);
}

#[test]
fn a_lost_fin_is_probed_like_data() {
    let mut s = Script::established();
    s.write(100);
    s.tcb.finish();
    assert_eq!(s.sent_short(), [(FIN, ISS + 1, 100)]);
    s.advance(85 * MILLISECOND);
    assert_eq!(s.sent_short(), [(FIN, ISS + 1, 100)]);
    s.ack(ISS + 102, 2_000);
    assert_eq!(s.tcb.state(), State::FinWait2);
}

#[test]
fn the_peers_fin_again_in_time_wait_is_acknowledged_and_the_wait_begins_anew() {
    let mut s = Script::established();
    s.tcb.finish();
    s.sent();
    s.segment(FIN, IRS + 1, ISS + 2, 2_000, Options::default(), &[])
        .unwrap();
    s.sent();
    assert_eq!(s.tcb.state(), State::TimeWait);
    s.advance(59 * SECOND);
    assert!(
        s.segment(FIN, IRS + 1, ISS + 2, 2_000, Options::default(), &[])
            .is_err()
    );
    let sent = s.sent();
    assert_eq!((sent.len(), sent[0].ack), (1, IRS + 2));
    s.advance(59 * SECOND);
    assert_eq!(s.tcb.state(), State::TimeWait);
    s.advance(SECOND);
    assert_eq!(s.tcb.state(), State::Closed);
    assert_eq!(s.tcb.deadline(), Time::NEVER);
}

#[test]
fn the_fin_waits_for_the_window_and_for_the_data_before_it() {
    let mut s = Script::established();
    s.ack(ISS + 1, 0);
    s.write(100);
    s.tcb.finish();
    assert_eq!(s.sent_short(), []);
    assert_eq!(s.tcb.state(), State::Established);
    s.ack(ISS + 1, 2_000);
    assert_eq!(s.sent_short(), [(FIN, ISS + 1, 100)]);
}
