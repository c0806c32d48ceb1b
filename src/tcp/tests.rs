//! The state machine as readable scripts: inject a segment, expect what is sent, advance the time.

use super::congestion::Algorithm;
use super::segment::{Flags, Options, SackBlocks, Segment};
use super::seq::Seq;
use super::{Rejected, Settings, State, Tcb};
use crate::error::{CloseReason, Error};
use crate::pool::Pool;
use crate::time::{MILLISECOND, Micros, SECOND, Time};

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const FIN: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);
const RST: Flags = Flags::RST;
const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

/// Our initial sequence number, and the scripted peer's.
const ISS: u32 = 1_000;
const IRS: u32 = 9_000;
const MSS: u16 = 1_000;

fn settings() -> Settings {
    Settings {
        mss: MSS,
        send_buffer: 256 * 1024,
        receive_buffer: 1 << 20,
        congestion: Algorithm::NewReno,
        dead_timeout: 60 * SECOND,
        srtt: 0,
        rttvar: 0,
        ecn: false,
    }
}

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Out {
    flags: Flags,
    seq: u32,
    ack: u32,
    window: u16,
    options: Options,
    data: Vec<u8>,
}

struct Script {
    tcb: Tcb,
    pool: Pool,
    now: Time,
}

fn syn_options() -> Options {
    Options {
        mss: Some(MSS),
        window_scale: Some(7),
        sack_permitted: true,
        ..Options::default()
    }
}

impl Script {
    fn open() -> Script {
        Script {
            tcb: Tcb::open(&settings(), Seq(ISS), Some(77)),
            pool: Pool::new(1 << 24),
            now: Time(SECOND),
        }
    }

    fn accept(data: &[u8]) -> Script {
        let mut pool = Pool::new(1 << 24);
        let syn = Segment {
            flags: SYN,
            seq: Seq(IRS),
            ack: Seq(0),
            window: 65_535,
            options: syn_options(),
            payload: data,
            ce: false,
        };
        let now = Time(SECOND);
        Script {
            tcb: Tcb::accept(&settings(), Seq(ISS), now, &mut pool, &syn),
            pool,
            now,
        }
    }

    /// Opened by us, answered by the peer, all quiet.
    fn established() -> Script {
        let mut s = Script::open();
        s.sent();
        s.advance(50 * MILLISECOND);
        s.segment(SYN_ACK, IRS, ISS + 1, 65_535, syn_options(), &[])
            .unwrap();
        s.sent();
        assert_eq!(s.tcb.state(), State::Established);
        s.ack(ISS + 1, 2_000);
        s
    }

    fn segment(
        &mut self,
        flags: Flags,
        seq: u32,
        ack: u32,
        window: u16,
        options: Options,
        data: &[u8],
    ) -> Result<(), Rejected> {
        let segment = Segment {
            flags,
            seq: Seq(seq),
            ack: Seq(ack),
            window,
            options,
            payload: data,
            ce: false,
        };
        self.tcb.receive(self.now, &mut self.pool, &segment)
    }

    /// A pure acknowledgement by the established peer that has sent nothing else; the window is unscaled by 7.
    fn ack(&mut self, ack: u32, window: u16) {
        self.segment(ACK, IRS + 1, ack, window, Options::default(), &[])
            .unwrap();
    }

    fn sack(&mut self, ack: u32, blocks: &[(u32, u32)]) {
        let mut sack = SackBlocks::default();
        for &(start, end) in blocks {
            assert!(sack.push(Seq(start), Seq(end)));
        }
        let options = Options {
            sack,
            ..Options::default()
        };
        self.segment(ACK, IRS + 1, ack, 2_000, options, &[])
            .unwrap();
    }

    fn data(&mut self, seq: u32, data: &[u8]) -> Result<(), Rejected> {
        let ack = self.tcb.snd_nxt().0;
        self.segment(ACK, seq, ack, 2_000, Options::default(), data)
    }

    fn write(&mut self, n: usize) {
        let data: Vec<u8> = (0..n).map(|i| i as u8).collect();
        assert_eq!(self.tcb.write(&mut self.pool, &data), Ok(n));
    }

    fn advance(&mut self, span: Micros) {
        self.now = self.now + span;
        self.tcb.on_timer(self.now, &mut self.pool);
    }

    /// Everything that is to be sent now.
    fn sent(&mut self) -> Vec<Out> {
        let mut out = Vec::new();
        while let Some(plan) = self.tcb.plan(self.now, u64::MAX) {
            let mut data = Vec::new();
            self.tcb.payload(&plan, &mut data);
            out.push(Out {
                flags: Flags(plan.flags.0 & !Flags::PSH.0),
                seq: plan.seq.0,
                ack: plan.ack.0,
                window: plan.window,
                options: plan.options,
                data,
            });
            self.tcb.commit(self.now, &plan);
            assert!(out.len() < 1_000, "output does not end");
        }
        self.tcb.settle(self.now);
        out
    }

    /// The same as (flags, SEQ, octets), for short expectations.
    fn sent_short(&mut self) -> Vec<(Flags, u32, usize)> {
        self.sent()
            .into_iter()
            .map(|o| (o.flags, o.seq, o.data.len()))
            .collect()
    }

    fn read_all(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 100_000];
        let n = self.tcb.read(&mut self.pool, &mut buffer).unwrap_or(0);
        buffer.truncate(n);
        buffer
    }
}

// ---- opening ----

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

// ---- what is rejected ----

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

// ---- data ----

#[test]
fn only_what_is_missing_is_sent_again() {
    let mut s = Script::established();
    s.write(8_000);
    assert_eq!(s.sent_short().len(), 8);
    s.advance(50 * MILLISECOND);
    s.sack(
        ISS + 1,
        &[(ISS + 1_001, ISS + 3_001), (ISS + 4_001, ISS + 8_001)],
    );
    assert_eq!(
        s.sent_short(),
        [(ACK, ISS + 1, 1_000), (ACK, ISS + 3_001, 1_000)]
    );
    let info = s.tcb.info();
    assert_eq!((info.fast_recoveries, info.timeouts), (1, 0));
    s.advance(50 * MILLISECOND);
    s.ack(ISS + 8_001, 2_000);
    assert_eq!(s.tcb.info().send_queue, 0);
}

#[test]
fn a_lost_retransmission_is_repaired_without_a_timeout() {
    let mut s = Script::established();
    s.write(10_000);
    s.sent();
    s.advance(50 * MILLISECOND);
    s.sack(ISS + 1, &[(ISS + 1_001, ISS + 4_001)]);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
    // The rest of the window arrives, and lets new data out behind the retransmission.
    s.advance(MILLISECOND);
    s.write(1_000);
    s.sack(ISS + 1, &[(ISS + 1_001, ISS + 10_001)]);
    assert_eq!(s.sent_short(), [(ACK, ISS + 10_001, 1_000)]);
    s.advance(50 * MILLISECOND);
    s.sack(ISS + 1, &[(ISS + 1_001, ISS + 11_001)]);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
    assert_eq!(s.tcb.info().timeouts, 0);
}

#[test]
fn a_peer_without_sack_gets_a_fast_retransmit_on_the_third_duplicate() {
    let mut s = Script::open();
    s.sent();
    s.advance(50 * MILLISECOND);
    let options = Options {
        sack_permitted: false,
        ..syn_options()
    };
    s.segment(SYN_ACK, IRS, ISS + 1, 65_535, options, &[])
        .unwrap();
    s.sent();
    s.ack(ISS + 1, 2_000);
    s.write(6_000);
    s.sent();
    s.advance(50 * MILLISECOND);
    for _ in 0..2 {
        s.ack(ISS + 1, 2_000);
        assert_eq!(s.sent_short(), []);
    }
    s.ack(ISS + 1, 2_000);
    assert_eq!(s.sent_short(), [(ACK, ISS + 1, 1_000)]);
}

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

#[test]
fn the_congestion_window_limits_and_slow_start_doubles() {
    let mut s = Script::established();
    s.write(13_000);
    assert_eq!(s.sent_short().len(), 10);
    s.advance(50 * MILLISECOND);
    s.ack(ISS + 1 + 10_000, 2_000);
    assert_eq!(s.tcb.info().cwnd, 20_000);
}

#[test]
fn after_idleness_the_initial_window_is_used_again() {
    let mut s = Script::established();
    for round in 0..4u32 {
        let before = s.tcb.snd_nxt().0;
        s.write(s.tcb.room());
        s.sent();
        s.advance(50 * MILLISECOND);
        let ack = s.tcb.snd_nxt().0;
        assert!(ack > before, "round {round}");
        s.ack(ack, 2_000);
    }
    assert!(s.tcb.info().cwnd > 20_000);
    s.sent();
    s.advance(50 * MILLISECOND);
    s.ack(s.tcb.snd_nxt().0, 2_000);
    s.advance(10 * SECOND);
    s.write(15_000);
    assert_eq!(s.sent_short().len(), 10);
}

#[test]
fn a_rate_cap_spaces_segments() {
    let mut s = Script::established();
    s.tcb.set_rate(100_000);
    s.write(10_000);
    let mut octets = 0;
    let begin = s.now;
    while octets < 10_000 {
        octets += s.sent().iter().map(|o| o.data.len()).sum::<usize>();
        s.ack(s.tcb.snd_nxt().0, 2_000);
        let next = s.tcb.deadline();
        if octets < 10_000 {
            assert_ne!(next, Time::NEVER);
            s.advance(next.since(s.now));
        }
    }
    let took = s.now.since(begin);
    assert!(
        (70 * MILLISECOND..110 * MILLISECOND).contains(&took),
        "{took}"
    );
}

// ---- windows ----

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

// ---- ending ----

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
fn no_memory_means_loss_and_nothing_worse() {
    let mut s = Script::established();
    s.pool = Pool::new(0);
    assert_eq!(s.data(IRS + 1, b"x"), Err(Rejected::Memory));
    assert_eq!(s.tcb.write(&mut s.pool, b"x"), Err(Error::WouldBlock));
    s.pool = Pool::new(1 << 20);
    s.data(IRS + 1, b"x").unwrap();
    assert_eq!(s.read_all(), b"x");
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
