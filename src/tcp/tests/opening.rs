//! How a connection begins.

use super::*;

#[test]
fn the_syn_carries_data_number_and_options() {
    let mut s = Script::open();
    s.write(300);
    let sent = s.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].flags, sent[0].seq), (SYN, ISS));
    assert_eq!(sent[0].data.len(), 300);
    assert_eq!(sent[0].options.circuit_number, Some(77));
    assert_eq!(sent[0].options.mss, Some(MSS));
    assert_eq!(sent[0].options.window_scale, Some(5));
    assert!(sent[0].options.sack_permitted);
}

#[test]
fn data_on_the_syn_is_delivered_at_once_and_answered_with_data_on_the_syn_ack() {
    let mut s = Script::accept(b"create");
    assert_eq!(s.tcb.state(), State::SynReceived);
    assert!(s.tcb.take_readable());
    assert_eq!(s.read_all(), b"create");
    s.write(20);
    let sent = s.sent();
    assert_eq!(sent[0].flags, SYN_ACK);
    assert_eq!(
        (sent[0].seq, sent[0].ack, sent[0].data.len()),
        (ISS, IRS + 7, 20)
    );
    assert_eq!(sent.len(), 1);
    s.segment(ACK, IRS + 7, ISS + 21, 500, Options::default(), &[])
        .unwrap();
    assert_eq!(s.tcb.state(), State::Established);
}

#[test]
fn data_that_a_peer_leaves_on_the_syn_is_sent_again_at_once() {
    let mut s = Script::open();
    s.write(300);
    s.sent();
    s.advance(50 * MILLISECOND);
    s.segment(SYN_ACK, IRS, ISS + 1, 65_535, syn_options(), &[])
        .unwrap();
    let sent = s.sent();
    assert_eq!((sent[0].flags, sent[0].seq), (ACK, ISS + 1));
    assert_eq!(sent[0].data.len(), 300);
}

#[test]
fn both_ends_opening_at_once_get_one_connection() {
    let mut a = Script::open();
    a.write(10);
    a.sent();
    a.advance(20 * MILLISECOND);
    a.segment(SYN, IRS, 0, 65_535, syn_options(), b"hello")
        .unwrap();
    assert_eq!(a.tcb.state(), State::SynReceived);
    assert_eq!(a.read_all(), b"hello");
    let sent = a.sent();
    assert_eq!(
        (sent[0].flags, sent[0].seq, sent[0].ack),
        (SYN_ACK, ISS, IRS + 6)
    );
    a.segment(SYN_ACK, IRS, ISS + 11, 65_535, syn_options(), b"hello")
        .unwrap();
    assert_eq!(a.tcb.state(), State::Established);
    a.write(5);
    assert_eq!(a.sent_short(), [(ACK, ISS + 11, 5)]);
}

#[test]
fn a_lost_syn_is_repeated_after_a_second_and_then_less_often() {
    let mut s = Script::open();
    assert_eq!(s.sent_short(), [(SYN, ISS, 0)]);
    s.advance(SECOND - 1);
    assert_eq!(s.sent_short(), []);
    s.advance(1);
    assert_eq!(s.sent_short(), [(SYN, ISS, 0)]);
    s.advance(SECOND);
    assert_eq!(s.sent_short(), []);
    s.advance(SECOND);
    assert_eq!(s.sent_short(), [(SYN, ISS, 0)]);
}

#[test]
fn a_lost_syn_ack_is_repeated_when_the_syn_comes_again() {
    let mut s = Script::accept(b"");
    assert_eq!(s.sent_short(), [(SYN_ACK, ISS, 0)]);
    s.advance(100 * MILLISECOND);
    s.segment(SYN, IRS, 0, 65_535, syn_options(), &[]).unwrap();
    assert_eq!(s.sent_short(), [(SYN_ACK, ISS, 0)]);
}

#[test]
fn a_reset_in_answer_to_the_syn_is_a_refusal_only_if_it_acknowledges_it() {
    let mut s = Script::open();
    s.sent();
    let reset = Flags(RST.0 | ACK.0);
    for ack in [ISS, ISS + 2] {
        assert!(
            s.segment(reset, 0, ack, 0, Options::default(), &[])
                .is_err()
        );
    }
    assert!(s.segment(RST, 0, 0, 0, Options::default(), &[]).is_err());
    assert_eq!(s.tcb.state(), State::SynSent);
    s.segment(reset, 0, ISS + 1, 0, Options::default(), &[])
        .unwrap();
    assert_eq!(s.tcb.close_reason(), Some(CloseReason::Refused));
}

#[test]
fn the_answer_to_the_syn_is_an_answer_however_long_the_silence_after_it() {
    let mut s = Script::open();
    s.sent();
    s.segment(SYN_ACK, IRS, ISS + 1, 65_535, syn_options(), &[])
        .unwrap();
    s.sent();
    s.advance(2 * settings().dead_timeout);
    s.write(100);
    s.sent();
    s.advance(5 * SECOND);
    assert_eq!(s.tcb.state(), State::Established);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 100)]);
}
