//! Explicit congestion notification (RFC 3168), and the counts of marks between two of ours.

use super::*;

fn wanted() -> Settings {
    Settings {
        ecn: true,
        ..settings()
    }
}

/// Both ends want it, and the peer is one of ours.
fn accurate() -> Script {
    let options = Options {
        ce_count: Some(0),
        ..syn_options()
    };
    Script::established_with(&wanted(), RTT, options)
}

/// The peer knows RFC 3168 alone.
fn classic() -> Script {
    let mut s = Script::open_with(&wanted());
    s.sent();
    s.advance(RTT);
    let flags = SYN_ACK.with(Flags::ECE);
    s.segment(flags, IRS, ISS + 1, 65_535, syn_options(), &[])
        .unwrap();
    s.sent();
    s.ack(ISS + 1, 2_000);
    s
}

impl Script {
    /// An acknowledgement that reports so many marks.
    fn marks(&mut self, ack: u32, count: u32) {
        let options = Options {
            ce_count: Some(count),
            ..Options::default()
        };
        self.segment(ACK, IRS + 1, ack, 2_000, options, &[])
            .unwrap();
    }

    fn echo(&mut self, ack: u32) {
        let flags = ACK.with(Flags::ECE);
        self.segment(flags, IRS + 1, ack, 2_000, Options::default(), &[])
            .unwrap();
    }

    /// Data on a datagram that a router has marked.
    fn marked_data(&mut self, flags: Flags, seq: u32, data: &[u8]) {
        let segment = Segment {
            flags,
            seq: Seq(seq),
            ack: self.tcb.snd_nxt(),
            window: 2_000,
            options: Options::default(),
            payload: data,
            ce: !flags.has(Flags::CWR),
        };
        let taken = self.tcb.receive(self.now, &mut self.pool, &segment);
        assert_eq!(taken, Ok(()));
    }
}

#[test]
fn it_is_offered_and_agreed_on_with_the_syns() {
    let mut s = Script::open_with(&wanted());
    let sent = s.sent();
    assert!(sent[0].flags.has(Flags::ECE) && sent[0].flags.has(Flags::CWR));
    assert_eq!(sent[0].options.ce_count, Some(0));
    assert!(!sent[0].ect);
    let mut s = Script::established();
    s.write(1_000);
    assert!(!s.sent()[0].ect, "nobody wanted it");
}

#[test]
fn new_data_may_be_marked_and_nothing_else() {
    let mut s = accurate();
    s.write(5_000);
    assert!(s.sent().iter().all(|o| o.ect));
    s.advance(RTT);
    s.sack(ISS + 1, &[(ISS + 1_001, ISS + 5_001)]);
    let again = s.sent();
    assert_eq!((again[0].seq, again[0].ect), (ISS + 1, false));
    s.data(IRS + 1, &[1; 1_000]).unwrap();
    let acknowledgement = s.sent();
    assert!(acknowledgement.iter().all(|o| !o.ect));
}

#[test]
fn marks_reduce_the_window_once_in_a_round_trip() {
    let mut s = accurate();
    s.write(10_000);
    s.sent();
    s.advance(RTT);
    s.marks(ISS + 2_001, 1);
    let info = s.tcb.info();
    assert_eq!((info.cwnd, info.ssthresh), (5_000, 5_000));
    s.marks(ISS + 4_001, 3);
    s.marks(ISS + 9_001, 4);
    assert_eq!(s.tcb.info().ssthresh, 5_000);
    assert_eq!(s.tcb.info().ce_reported, 4);
    s.write(5_000);
    s.run(RTT);
    s.marks(ISS + 10_001, 4);
    assert_eq!(s.tcb.info().ssthresh, 5_000, "nothing new");
    s.marks(ISS + 12_001, 5);
    assert!(s.tcb.info().ssthresh < 5_000);
    assert_eq!(s.tcb.info().fast_recoveries, 0);
}

#[test]
fn every_mark_is_counted_and_reported_at_once() {
    let mut s = accurate();
    for (i, count) in [(0, 1), (1, 2)] {
        s.marked_data(ACK, IRS + 1 + i * 1_000, &[1; 1_000]);
        let sent = s.sent();
        assert_eq!(sent[0].options.ce_count, Some(count));
        assert!(!sent[0].flags.has(Flags::ECE));
    }
    s.data(IRS + 2_001, &[1; 1_000]).unwrap();
    assert_eq!(s.sent()[0].options.ce_count, Some(2));
}

#[test]
fn others_hear_an_echo_until_they_answer_it() {
    let mut s = classic();
    s.marked_data(ACK, IRS + 1, &[1; 1_000]);
    assert!(s.sent()[0].flags.has(Flags::ECE));
    s.data(IRS + 1_001, &[1; 1_000]).unwrap();
    let sent = s.sent();
    assert!(sent[0].flags.has(Flags::ECE));
    assert_eq!(sent[0].options.ce_count, None);
    s.marked_data(ACK.with(Flags::CWR), IRS + 2_001, &[1; 1_000]);
    assert!(!s.sent()[0].flags.has(Flags::ECE));
}

#[test]
fn an_echo_reduces_the_window_and_is_answered_on_new_data() {
    let mut s = classic();
    s.write(10_000);
    let sent = s.sent();
    assert!(sent.len() == 10 && sent.iter().all(|o| o.ect));
    s.advance(RTT);
    s.echo(ISS + 6_001);
    s.echo(ISS + 8_001);
    assert_eq!(s.tcb.info().ssthresh, 5_000);
    s.write(3_000);
    s.ack(ISS + 10_001, 2_000);
    s.advance(RTT);
    let sent = s.sent();
    assert!(sent[0].flags.has(Flags::CWR));
    assert!(!sent[1].flags.has(Flags::CWR));
}

#[test]
fn nothing_is_marked_any_more_when_only_what_is_not_marked_gets_through() {
    let mut s = accurate();
    for round in 1..=3 {
        s.write(1_000);
        assert!(s.sent()[0].ect);
        let again = s.run(2 * RTT);
        assert!(!again.is_empty());
        s.ack(ISS + 1 + round * 1_000, 2_000);
    }
    s.write(1_000);
    assert!(!s.sent()[0].ect);
}
