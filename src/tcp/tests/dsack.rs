//! What arrives twice is reported (RFC 2883).

use super::*;

fn blocks(out: &Out) -> Vec<(u32, u32)> {
    let blocks = out.options.sack.as_slice();
    blocks.iter().map(|&(s, e)| (s.0, e.0)).collect()
}

#[test]
fn a_segment_below_the_acknowledgement_is_reported_once() {
    let mut s = Script::established();
    s.data(IRS + 1, &[1; 1_000]).unwrap();
    s.sent();
    assert!(s.data(IRS + 1, &[1; 1_000]).is_err());
    let sent = s.sent();
    assert_eq!((sent.len(), sent[0].ack), (1, IRS + 1_001));
    assert_eq!(blocks(&sent[0]), [(IRS + 1, IRS + 1_001)]);
    s.data(IRS + 1_001, &[2; 1_000]).unwrap();
    let sent = s.sent();
    assert_eq!(blocks(&sent[0]), []);
    assert_eq!(s.tcb.info().duplicate_segments, 1);
}

#[test]
fn a_segment_within_what_is_held_out_of_order_is_reported_with_what_is_around_it() {
    let mut s = Script::established();
    s.data(IRS + 2_001, &[1; 1_000]).unwrap();
    s.data(IRS + 3_001, &[1; 1_000]).unwrap();
    s.data(IRS + 5_001, &[1; 1_000]).unwrap();
    s.sent();
    s.data(IRS + 2_001, &[1; 1_000]).unwrap();
    let sent = s.sent();
    assert_eq!(sent[0].ack, IRS + 1);
    assert_eq!(
        blocks(&sent[0]),
        [
            (IRS + 2_001, IRS + 3_001),
            (IRS + 2_001, IRS + 4_001),
            (IRS + 5_001, IRS + 6_001)
        ]
    );
}

#[test]
fn the_peers_fin_that_comes_again_is_reported() {
    let mut s = Script::established();
    s.segment(FIN, IRS + 1, ISS + 1, 2_000, Options::default(), b"end")
        .unwrap();
    s.sent();
    let again = s.segment(FIN, IRS + 1, ISS + 1, 2_000, Options::default(), b"end");
    assert!(again.is_err());
    assert_eq!(blocks(&s.sent()[0]), [(IRS + 1, IRS + 5)]);
}

#[test]
fn a_fin_behind_a_hole_that_comes_again_is_reported_once() {
    let mut s = Script::established();
    for expected in [
        vec![(IRS + 1_001, IRS + 1_005)],
        vec![(IRS + 1_001, IRS + 1_005), (IRS + 1_001, IRS + 1_005)],
    ] {
        s.segment(FIN, IRS + 1_001, ISS + 1, 2_000, Options::default(), b"end")
            .unwrap();
        let sent = s.sent();
        assert_eq!(sent.len(), 1);
        assert_eq!(blocks(&sent[0]), expected);
    }
}

#[test]
fn neighbours_that_come_again_before_an_acknowledgement_leaves_are_reported_together() {
    let mut s = Script::established();
    for i in 0..3 {
        s.data(IRS + 1 + i * 1_000, &[1; 1_000]).unwrap();
    }
    s.sent();
    assert!(s.data(IRS + 1, &[1; 1_000]).is_err());
    assert!(s.data(IRS + 1_001, &[1; 1_000]).is_err());
    assert_eq!(blocks(&s.sent()[0]), [(IRS + 1, IRS + 2_001)]);
}

#[test]
fn data_that_was_given_up_is_not_reported_as_held() {
    let mut s = Script::established();
    s.data(IRS + 2_001, &[1; 1_000]).unwrap();
    s.sent();
    s.data(IRS + 2_001, &[1; 1_000]).unwrap();
    s.tcb.renege(&mut s.pool);
    assert_eq!(blocks(&s.sent()[0]), []);
    assert_eq!(s.pool.in_use(), 0);
}

#[test]
fn a_peer_without_sack_gets_no_report() {
    let mut s = Script::without_sack();
    s.data(IRS + 1, &[1; 1_000]).unwrap();
    s.sent();
    assert!(s.data(IRS + 1, &[1; 1_000]).is_err());
    assert_eq!(blocks(&s.sent()[0]), []);
}
