//! When data is acknowledged, and what the acknowledgement says.

use super::*;

#[test]
fn a_fin_behind_a_hole_is_acknowledged_selectively_too() {
    let mut s = Script::established();
    s.segment(FIN, IRS + 1_001, ISS + 1, 2_000, Options::default(), b"end")
        .unwrap();
    let blocks = s.sent()[0].options.sack;
    assert_eq!(blocks.as_slice(), [(Seq(IRS + 1_001), Seq(IRS + 1_005))]);
    let mut s = Script::established();
    s.data(IRS + 2_001, &[1; 1_000]).unwrap();
    s.segment(FIN, IRS + 4_001, ISS + 1, 2_000, Options::default(), &[])
        .unwrap();
    let blocks = s.sent()[0].options.sack;
    assert_eq!(
        blocks.as_slice(),
        [
            (Seq(IRS + 2_001), Seq(IRS + 3_001)),
            (Seq(IRS + 4_001), Seq(IRS + 4_002))
        ]
    );
}

#[test]
fn after_the_first_segments_every_second_one_is_acknowledged_or_five_milliseconds_later() {
    let mut s = Script::established();
    let mut seq = IRS + 1;
    for _ in 0..32 {
        s.data(seq, &[1; 1_000]).unwrap();
        seq += 1_000;
        s.sent();
    }
    s.advance(20 * MILLISECOND);
    s.data(seq, &[1; 1_000]).unwrap();
    assert_eq!(s.sent_short(), []);
    s.data(seq + 1_000, &[1; 1_000]).unwrap();
    assert_eq!(s.sent_short().len(), 1);
    s.data(seq + 2_000, &[1; 100]).unwrap();
    s.advance(5 * MILLISECOND - 1);
    assert_eq!(s.sent_short(), []);
    s.advance(1);
    let sent = s.sent();
    assert_eq!((sent.len(), sent[0].ack), (1, seq + 2_100));
}

#[test]
fn cells_that_leave_the_peer_nothing_to_send_are_acknowledged_together() {
    const PSH_ACK: Flags = Flags(Flags::PSH.0 | Flags::ACK.0);
    let mut s = Script::established();
    s.advance(20 * MILLISECOND);
    let mut seq = IRS + 1;
    let cell = |s: &mut Script, seq: &mut u32, flags| {
        s.segment(flags, *seq, ISS + 1, 2_000, Options::default(), &[1; 514])
            .unwrap();
        *seq += 514;
    };
    // Not the first ones either. Four are more than two segments that are nearly full.
    for _ in 0..10 {
        for _ in 0..3 {
            s.advance(MILLISECOND);
            cell(&mut s, &mut seq, PSH_ACK);
            assert_eq!(s.sent_short(), []);
        }
        cell(&mut s, &mut seq, PSH_ACK);
        let sent = s.sent();
        assert_eq!((sent.len(), sent[0].ack), (1, seq));
        s.read_all();
    }
    cell(&mut s, &mut seq, PSH_ACK);
    s.advance(5 * MILLISECOND - 1);
    assert_eq!(s.sent_short(), []);
    s.advance(1);
    assert_eq!(s.sent()[0].ack, seq);
    // Behind those more is waiting: the first 32 clock the peer.
    for _ in 0..32 {
        cell(&mut s, &mut seq, ACK);
        assert_eq!(s.sent_short().len(), 1);
        s.read_all();
    }
    s.advance(20 * MILLISECOND);
    cell(&mut s, &mut seq, ACK);
    assert_eq!(s.sent_short(), []);
}

#[test]
fn a_fast_stream_is_acknowledged_every_eight_segments() {
    let mut s = Script::established();
    let mut seq = IRS + 1;
    let mut acks = 0;
    for _ in 0..32 + 80 {
        // 1 ms apart would be 50 in a round trip.
        s.advance(100);
        s.data(seq, &[1; 1_000]).unwrap();
        seq += 1_000;
        acks += s.sent().len();
        s.read_all();
        acks += s.sent().len();
    }
    assert_eq!(acks, 32 + 10);
}

#[test]
fn a_hole_is_reported_at_once_with_sack_and_its_filling_too() {
    let mut s = Script::established();
    s.data(IRS + 1_001, &[2; 1_000]).unwrap();
    let sent = s.sent();
    assert_eq!(sent[0].ack, IRS + 1);
    assert_eq!(
        sent[0].options.sack.as_slice(),
        [(Seq(IRS + 1_001), Seq(IRS + 2_001))]
    );
    s.data(IRS + 1, &[1; 1_000]).unwrap();
    let sent = s.sent();
    assert_eq!(sent[0].ack, IRS + 2_001);
    assert!(sent[0].options.sack.is_empty());
    assert_eq!(s.read_all().len(), 2_000);
}
