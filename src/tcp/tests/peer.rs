//! A peer that is authenticated and says what it likes: mostly what a TCP could say, in any order. It may spoil its own
//! circuit; beyond that nothing happens.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::pool::BLOCK_SIZE;

/// The segment that the peer sends; positions are in thousandths of what is outstanding or offered.
#[derive(Clone, Debug)]
struct Said {
    flags: Flags,
    ack: Where,
    sack: Vec<(u16, u16)>,
    /// A report of a duplicate, below the acknowledgement or anywhere.
    twice: Option<(bool, u16, u16)>,
    seq: Where,
    len: u16,
    window: u16,
    ce_count: Option<u32>,
    ce: bool,
}

/// Where a number lies between what has been heard last and what could be heard next.
#[derive(Clone, Copy, Debug)]
enum Where {
    At(u16),
    Before(u32),
    Beyond(u32),
}

impl Where {
    fn of(self, from: Seq, to: Seq) -> Seq {
        match self {
            Where::At(part) => {
                let span = u64::from(to - from) * u64::from(part) / 1_000;
                from + span as u32
            }
            Where::Before(by) => from - by,
            Where::Beyond(by) => to + by,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Read(usize),
    Hear(Said),
    Wait(Micros),
    Timer,
    Finish,
    Close,
    Congestion(Algorithm),
    Coupled(bool),
    PathMss(u16),
    Rate(u64),
    Renege,
    Revive,
}

fn position() -> impl Strategy<Value = Where> {
    prop_oneof![
        8 => (0..=1_000u16).prop_map(Where::At),
        4 => Just(Where::At(0)),
        4 => Just(Where::At(1_000)),
        1 => (1..100_000u32).prop_map(Where::Before),
        1 => any::<u32>().prop_map(Where::Before),
        1 => (1..100_000u32).prop_map(Where::Beyond),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let flags = prop_oneof![
        40 => Just(ACK),
        4 => Just(ACK.with(Flags::ECE)),
        2 => Just(ACK.with(Flags::CWR)),
        1 => Just(FIN),
        1 => any::<u8>().prop_map(|bits| Flags(bits & !Flags::RST.0)),
    ];
    let part = 0..=1_000u16;
    let blocks = vec((part.clone(), part.clone()), 0..4);
    let ce_count = prop_oneof![
        4 => Just(None),
        2 => (0..50u32).prop_map(Some),
        1 => any::<u32>().prop_map(Some)
    ];
    let window = prop_oneof![6 => Just(2_000u16), 2 => 0..200u16, 1 => any::<u16>()];
    (
        flags,
        position(),
        blocks,
        proptest::option::weighted(0.2, (any::<bool>(), part.clone(), part)),
        position(),
        prop_oneof![2 => Just(0u16), 1 => 1..2_000u16],
        window,
        ce_count,
        any::<bool>(),
    )
        .prop_map(
            |(flags, ack, sack, twice, seq, len, window, ce_count, ce)| Said {
                flags,
                ack,
                sack,
                twice,
                seq,
                len,
                window,
                ce_count,
                ce,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    let algorithm = prop_oneof![
        Just(Algorithm::NewReno),
        Just(Algorithm::Cubic),
        Just(Algorithm::Bbr)
    ];
    prop_oneof![
        60 => said().prop_map(Step::Hear),
        15 => (1..30_000usize).prop_map(Step::Write),
        10 => (0..100 * MILLISECOND).prop_map(Step::Wait),
        10 => Just(Step::Timer),
        5 => (1..50_000usize).prop_map(Step::Read),
        1 => Just(Step::Finish),
        1 => Just(Step::Close),
        2 => algorithm.prop_map(Step::Congestion),
        2 => any::<bool>().prop_map(Step::Coupled),
        2 => prop_oneof![200..1_400u16, Just(9_000)].prop_map(Step::PathMss),
        1 => prop_oneof![Just(0), 1..1_000_000u64].prop_map(Step::Rate),
        1 => Just(Step::Renege),
        1 => Just(Step::Revive),
    ]
}

struct Rig {
    s: Script,
    /// The peer's first octet, and how far it has read what we deliver.
    first: Seq,
    read: u32,
    written: u32,
    acked: Seq,
}

impl Rig {
    fn new(algorithm: Algorithm, sack: bool, ecn: bool, accurate: bool) -> Rig {
        let settings = Settings {
            congestion: algorithm,
            ecn,
            dead_timeout: 3_600 * SECOND,
            ..settings()
        };
        let mut s = Script::open_with(&settings);
        s.sent();
        s.advance(RTT);
        let options = Options {
            sack_permitted: sack,
            ce_count: accurate.then_some(0),
            ..syn_options()
        };
        let flags = if ecn {
            SYN_ACK.with(Flags::ECE)
        } else {
            SYN_ACK
        };
        s.segment(flags, IRS, ISS + 1, 65_535, options, &[])
            .unwrap();
        Rig {
            s,
            first: Seq(IRS + 1),
            read: 0,
            written: 0,
            acked: Seq(ISS + 1),
        }
    }

    fn hear(&mut self, said: &Said) {
        let tcb = &self.s.tcb;
        let (una, nxt) = (tcb.snd_una, tcb.snd_nxt);
        let (next, edge) = (tcb.rcv_nxt(), tcb.window.edge());
        let within = |from: Seq, a: u16, b: u16| {
            let (low, high) = (a.min(b), a.max(b));
            let start = Where::At(low).of(from, nxt);
            (start, Where::At(high).of(from, nxt))
        };
        let ack = said.ack.of(una, nxt);
        let mut options = Options {
            ce_count: said.ce_count,
            ..Options::default()
        };
        match said.twice {
            Some((true, a, b)) => {
                let (from, to) = (u32::from(a.min(b)) * 10, u32::from(a.max(b)) * 10);
                options.sack.push(ack - to, ack - from);
            }
            Some((false, a, b)) => {
                let (start, end) = within(una, a, b);
                options.sack.push(start, end);
            }
            None => {}
        }
        for &(a, b) in &said.sack {
            let (start, end) = within(una, a, b);
            options.sack.push(start, end);
        }
        let seq = said.seq.of(next, edge);
        // Always the same octet at the same place.
        let payload: Vec<u8> = (0..u32::from(said.len))
            .map(|i| octet((seq + i) - self.first))
            .collect();
        let segment = Segment {
            flags: said.flags,
            seq,
            ack,
            window: said.window,
            options,
            payload: &payload,
            ce: said.ce,
        };
        let pool = &mut self.s.pool;
        let taken = self.s.tcb.receive(self.s.now, pool, &segment);
        assert_eq!(self.s.tcb.snd_nxt, nxt, "hearing does not send");
        let una = self.s.tcb.snd_una;
        assert!(self.acked <= una && una <= nxt);
        self.acked = una;
        if taken.is_ok() && said.flags.has(ACK) && self.s.tcb.state() != State::Closed {
            assert!(ack <= nxt, "acknowledges what was never sent");
            assert!(una >= ack);
        }
        assert!(self.s.tcb.rcv_nxt() >= next && self.s.tcb.rcv_nxt() <= edge + 1);
    }

    fn step(&mut self, step: &Step) {
        if let Step::Hear(said) = step {
            self.hear(said);
        }
        let s = &mut self.s;
        match step {
            Step::Write(n) => {
                let data = vec![0; *n];
                if let Ok(n) = s.tcb.write(&mut s.pool, &data) {
                    self.written += n as u32;
                }
            }
            Step::Read(n) => {
                let mut buffer = vec![0; *n];
                if let Ok(n) = s.tcb.read(&mut s.pool, &mut buffer) {
                    for &byte in &buffer[..n] {
                        assert_eq!(byte, octet(self.read), "octet {}", self.read);
                        self.read += 1;
                    }
                }
            }
            Step::Hear(_) => {}
            Step::Wait(span) => s.advance(*span),
            Step::Timer => {
                let next = s.tcb.deadline();
                if next != Time::NEVER {
                    s.advance(next.since(s.now));
                }
            }
            Step::Finish => s.tcb.finish(),
            Step::Close => s.tcb.close(&mut s.pool),
            Step::Congestion(algorithm) => s.tcb.set_congestion(*algorithm),
            Step::Coupled(coupled) => s.tcb.set_coupled(s.now, *coupled),
            Step::PathMss(mss) => {
                s.tcb.set_path_mss(*mss);
                s.tcb.path_shrank(s.now);
            }
            Step::Rate(rate) => s.tcb.set_rate(*rate),
            Step::Renege => {
                s.tcb.renege(&mut s.pool);
            }
            Step::Revive => s.tcb.revive(s.now),
        }
        s.tcb.check_board();
        self.answer();
    }

    /// What is sent for it, and what must hold then.
    fn answer(&mut self) {
        let s = &mut self.s;
        let flight = s.tcb.in_flight();
        let own = !s.tcb.is_coupled();
        let window = s.tcb.congestion.cwnd();
        let sent: usize = s.sent().iter().map(|o| o.data.len()).sum();
        s.tcb.check();
        let mss = u64::from(s.tcb.mss);
        if own && flight > 0 {
            let most = window.saturating_sub(flight) + 4 * mss;
            assert!(sent as u64 <= most, "{sent} sent at {flight} of {window}");
        }
        let mut turns = 0;
        while s.tcb.deadline() <= s.now {
            s.advance(0);
            s.sent();
            turns += 1;
            assert!(turns < 10, "the timers do not rest");
        }
        let info = s.tcb.info();
        assert!(info.bytes_sent <= u64::from(self.written));
        assert!(info.bytes_acked <= info.bytes_sent);
        // No window grows faster than by what is delivered, from where it began.
        let delivered = s.tcb.board.rate().delivered();
        let most = 10 * 9_000 + delivered + 8 * 9_000;
        assert!(info.cwnd <= most, "{} after {delivered}", info.cwnd);
        let held = s.pool.in_use();
        let most = 256 * 1_024 + 2 * (1 << 20) + 8 * BLOCK_SIZE;
        assert!(held <= most as u64, "{held} held");
    }
}

fn octet(at: u32) -> u8 {
    (at.wrapping_mul(0x9e37_79b9) >> 20) as u8
}

proptest! {
    #![proptest_config(super::cases(256))]

    #[test]
    fn whatever_a_peer_says_it_harms_itself_alone(
        algorithm in prop_oneof![
            Just(Algorithm::NewReno),
            Just(Algorithm::Cubic),
            Just(Algorithm::Bbr)
        ],
        sack in proptest::bool::weighted(0.8),
        ecn in any::<bool>(),
        accurate in any::<bool>(),
        steps in vec(step(), 1..150),
    ) {
        let mut rig = Rig::new(algorithm, sack, ecn, ecn && accurate);
        rig.answer();
        for step in &steps {
            rig.step(step);
        }
        rig.s.tcb.abort(&mut rig.s.pool, CloseReason::Local);
        rig.s.tcb.release(&mut rig.s.pool);
        prop_assert_eq!(rig.s.pool.in_use(), 0);
    }
}
