//! The windows that both ends offer.

use super::*;

#[test]
fn a_closed_window_is_probed_ever_more_slowly_and_its_opening_used_at_once() {
    let mut s = Script::established();
    s.ack(ISS + 1, 0);
    s.write(500);
    assert_eq!(s.sent_short(), []);
    let mut gaps = Vec::new();
    for _ in 0..4 {
        let next = s.tcb.deadline();
        gaps.push(next.since(s.now));
        s.advance(next.since(s.now));
        assert_eq!(s.sent_short(), [(ACK, ISS, 0)], "a probe takes no octet");
        s.ack(ISS + 1, 0);
        assert_eq!(s.sent_short(), []);
    }
    assert!(gaps.windows(2).all(|w| w[1] >= 2 * w[0]), "{gaps:?}");
    s.ack(ISS + 1, 2_000);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 500)]);
    let rto = s.tcb.info().rto;
    assert!(
        rto <= 300 * MILLISECOND,
        "the probes' back-off is gone: {rto}"
    );
}

#[test]
fn a_reader_that_stops_closes_the_window_and_reopening_is_announced() {
    let mut s = Script::established();
    let mut seq = IRS + 1;
    loop {
        let window = s.tcb.info().receive_window as usize;
        if window == 0 {
            break;
        }
        let data = vec![3; window.min(1_000)];
        s.data(seq, &data).unwrap();
        seq += data.len() as u32;
        s.sent();
    }
    // Data beyond is refused, but an acknowledgement is still taken.
    s.write(100);
    s.sent();
    s.data(seq, b"more").unwrap();
    assert_eq!(s.tcb.info().send_queue, 0);
    s.sent();
    assert_eq!(s.tcb.info().receive_window, 0);
    assert!(!s.read_all().is_empty());
    let sent = s.sent();
    assert_eq!(sent.len(), 1, "a window update");
    assert!(u32::from(sent[0].window) << 5 >= 90_000);
}

#[test]
fn the_peers_scale_is_used_on_all_but_the_syn() {
    let mut s = Script::open();
    s.sent();
    s.segment(SYN_ACK, IRS, ISS + 1, 1_000, syn_options(), &[])
        .unwrap();
    assert_eq!(s.tcb.info().send_window, 1_000);
    s.ack(ISS + 1, 1_000);
    assert_eq!(s.tcb.info().send_window, 128_000);
}

#[test]
fn a_peer_that_does_not_scale_is_not_scaled() {
    let mut s = Script::open();
    s.sent();
    let options = Options {
        window_scale: None,
        ..syn_options()
    };
    s.segment(SYN_ACK, IRS, ISS + 1, 1_000, options, &[])
        .unwrap();
    let sent = s.sent();
    assert_eq!(sent[0].window, 65_535);
    s.ack(ISS + 1, 900);
    assert_eq!(s.tcb.info().send_window, 900);
}

#[test]
fn a_window_closed_on_what_is_under_way_does_not_stop_its_repair() {
    let mut s = Script::established();
    s.write(3_000);
    s.sent();
    s.advance(RTT);
    s.segment(ACK, IRS + 1, ISS + 1_001, 0, Options::default(), &[])
        .unwrap();
    assert_eq!(s.sent_short(), []);
    let sent: Vec<u32> = s.run(SECOND).into_iter().map(|o| o.1).collect();
    assert!(sent.contains(&(ISS + 1_001)), "{sent:?}");
    // All taken, and still closed: from now on it is probed.
    s.write(1_000);
    s.ack(ISS + 3_001, 0);
    let probe = s.run(SECOND);
    assert!(
        probe
            .iter()
            .all(|&(_, seq, n)| (seq, n) == (ISS + 3_000, 0)),
        "{probe:?}"
    );
    assert!(!probe.is_empty());
    s.ack(ISS + 3_001, 2_000);
    assert_eq!(s.sent_short(), [(ACK, ISS + 3_001, 1_000)]);
}

#[test]
fn a_probe_of_the_window_is_no_acknowledgement() {
    let mut s = Script::established();
    s.ack(ISS + 1, 0);
    s.write(500);
    s.sent();
    for _ in 0..32 {
        let seq = s.tcb.rcv_nxt().0;
        s.segment(ACK, seq, ISS + 1, 0, Options::default(), &[1; 100])
            .unwrap();
        s.sent();
    }
    let probe_at = s.tcb.deadline();
    s.advance(probe_at.since(s.now) - 3 * MILLISECOND);
    let seq = s.tcb.rcv_nxt().0;
    s.segment(ACK, seq, ISS + 1, 0, Options::default(), &[1; 100])
        .unwrap();
    assert_eq!(s.sent_short(), []);
    // A peer ignores what such a probe says (RFC 9293 section 3.10.7.4).
    s.advance(3 * MILLISECOND);
    assert_eq!(s.sent_short(), [(ACK, ISS, 0)]);
    s.advance(5 * MILLISECOND);
    let sent = s.sent();
    assert_eq!(
        (sent.len(), sent[0].seq, sent[0].ack),
        (1, ISS + 1, seq + 100)
    );
}

#[test]
fn an_opened_window_is_announced_although_a_probe_leaves_first() {
    let mut s = Script::established();
    let mut seq = IRS + 1;
    while s.tcb.info().receive_window > 0 {
        let n = (s.tcb.info().receive_window as usize).min(1_000);
        s.data(seq, &vec![3; n]).unwrap();
        seq += n as u32;
        s.sent();
    }
    while !s.read_all().is_empty() {}
    s.tcb.probe();
    let sent = s.sent();
    assert_eq!((sent[0].seq, sent[0].data.len()), (ISS, 0));
    assert_eq!(sent.len(), 2, "the probe, and the window update");
    assert!(sent[1].window > 0);
}

#[test]
fn an_acknowledgement_at_the_very_end_of_the_window_is_taken() {
    let mut s = Script::established();
    s.write(1_000);
    s.sent();
    // The peer has filled our window, the first of it is lost, and now it acknowledges what we have sent.
    let edge = IRS + 1 + s.tcb.info().receive_window as u32;
    s.data(edge - 1_000, &[1; 1_000]).unwrap();
    s.sent();
    s.segment(ACK, edge, ISS + 1_001, 2_000, Options::default(), &[])
        .unwrap();
    assert_eq!(s.tcb.info().send_queue, 0);
    assert!(
        s.segment(ACK, edge + 1, ISS + 1_001, 2_000, Options::default(), &[])
            .is_err()
    );
}

#[test]
fn a_silly_window_is_not_used() {
    let mut s = Script::established();
    s.write(5_000);
    s.segment(ACK, IRS + 1, ISS + 1, 1, Options::default(), &[])
        .unwrap();
    assert_eq!(s.sent_short(), [], "128 octets");
    s.segment(ACK, IRS + 1, ISS + 1, 10, Options::default(), &[])
        .unwrap();
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)], "1280 octets");
}
