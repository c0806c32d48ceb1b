//! What is not taken, and how it is answered (RFC 9293 section 3.10.7, RFC 5961).

use super::*;

#[test]
fn an_acknowledgement_of_what_was_never_sent_changes_nothing() {
    let mut s = Script::established();
    s.write(3_000);
    s.sent();
    s.advance(SECOND / 20);
    let una = s.tcb.info().send_queue;
    assert_eq!(
        s.segment(ACK, IRS + 1, ISS + 3_002, 2_000, Options::default(), &[]),
        Err(Rejected::OutOfWindow)
    );
    assert_eq!(s.tcb.info().send_queue, una);
    let answer = s.sent();
    assert_eq!((answer.len(), answer[0].flags), (1, ACK));
}

#[test]
fn only_the_exact_sequence_number_resets() {
    let mut s = Script::established();
    s.advance(SECOND);
    assert!(s.segment(RST, IRS, 0, 0, Options::default(), &[]).is_err());
    assert_eq!(s.sent_short(), [], "outside of the window: no answer");
    assert!(
        s.segment(RST, IRS + 100, 0, 0, Options::default(), &[])
            .is_err()
    );
    assert_eq!(s.sent_short().len(), 1, "inside: a challenge");
    assert!(
        s.segment(RST, IRS + 100, 0, 0, Options::default(), &[])
            .is_err()
    );
    assert_eq!(s.sent_short(), [], "challenges are limited");
    s.segment(RST, IRS + 1, 0, 0, Options::default(), &[])
        .unwrap();
    assert_eq!(s.tcb.close_reason(), Some(CloseReason::Reset));
    assert_eq!(s.tcb.read(&mut s.pool, &mut [0; 4]), Err(Error::Closed));
}

#[test]
fn a_syn_in_an_open_connection_is_challenged() {
    let mut s = Script::established();
    s.advance(SECOND);
    assert!(s.segment(SYN, IRS + 5, 0, 100, syn_options(), &[]).is_err());
    let answer = s.sent();
    assert_eq!((answer[0].flags, answer[0].ack), (ACK, IRS + 1));
    assert_eq!(s.tcb.state(), State::Established);
}

#[test]
fn data_outside_of_the_window_is_not_taken() {
    let mut s = Script::established();
    let window = s.tcb.info().receive_window as u32;
    assert!(s.data(IRS + 1 + window, b"beyond").is_err());
    assert!(s.data(IRS - 5, b"old").is_err());
    assert_eq!(s.tcb.info().out_of_order, 0);
    // Across the edge: what fits is kept.
    s.data(IRS + 1 + window - 2, b"edge").unwrap();
    assert_eq!(s.tcb.info().out_of_order, 2);
}

#[test]
fn sack_blocks_that_make_no_sense_are_ignored() {
    let mut s = Script::established();
    s.write(5_000);
    s.sent();
    s.advance(50 * MILLISECOND);
    let flight = s.tcb.info().bytes_in_flight;
    s.sack(
        ISS + 1,
        &[
            (ISS + 4_001, ISS + 9_000),
            (ISS + 3_001, ISS + 2_001),
            (ISS - 500, ISS + 1),
        ],
    );
    assert_eq!(s.tcb.info().bytes_in_flight, flight);
}

#[test]
fn no_memory_means_loss_and_nothing_worse() {
    let mut s = Script::established();
    s.pool = Pool::new(0);
    assert_eq!(s.data(IRS + 1, b"x"), Err(Rejected::Memory));
    assert_eq!(s.tcb.write(&mut s.pool, b"x"), Err(Error::WouldBlock));
    s.pool = Pool::new(1 << 20);
    s.data(IRS + 1, b"x").unwrap();
    assert_eq!(s.read_all(), b"x");
}
