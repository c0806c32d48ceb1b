//! The state machine as readable scripts: inject a segment, expect what is sent, advance the time.

mod acknowledging;
mod congestion;
mod dsack;
mod ecn;
mod ending;
mod opening;
mod pair;
mod peer;
mod recovery;
mod rejection;
mod sleeping;
mod tail;
mod timeout;
mod undo;
mod windows;

use super::congestion::Algorithm;
use super::segment::{Flags, Options, SackBlocks, Segment};
use super::seq::Seq;
use super::{Allowance, Rejected, Settings, State, Tcb};
use crate::error::{CloseReason, Error};
use crate::pool::Pool;
use crate::time::{MILLISECOND, Micros, SECOND, Time};

use proptest::prelude::ProptestConfig;

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const FIN: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);
const RST: Flags = Flags::RST;
const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

/// Our initial sequence number, and the scripted peer's.
const ISS: u32 = 1_000;
const IRS: u32 = 9_000;
const MSS: u16 = 1_000;
/// The round-trip time of the scripts, unless they say another.
const RTT: Micros = 50 * MILLISECOND;

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
    ect: bool,
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
        Script::open_with(&settings())
    }

    fn open_with(settings: &Settings) -> Script {
        Script {
            tcb: Tcb::open(settings, Seq(ISS), Some(77)),
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

    /// Opened by us, answered by the peer after 50 ms, all quiet.
    fn established() -> Script {
        Script::established_with(&settings(), RTT, syn_options())
    }

    fn established_with(settings: &Settings, rtt: Micros, options: Options) -> Script {
        let mut s = Script::open_with(settings);
        s.sent();
        s.advance(rtt);
        let flags = match options.ce_count {
            Some(_) => SYN_ACK.with(Flags::ECE),
            None => SYN_ACK,
        };
        s.segment(flags, IRS, ISS + 1, 65_535, options, &[])
            .unwrap();
        s.sent();
        assert_eq!(s.tcb.state(), State::Established);
        s.ack(ISS + 1, 2_000);
        s
    }

    /// With a peer that has no SACK.
    fn without_sack() -> Script {
        let options = Options {
            sack_permitted: false,
            ..syn_options()
        };
        Script::established_with(&settings(), RTT, options)
    }

    /// Full windows, each acknowledged at once when it has left, until the window has `cwnd` octets.
    fn grow(&mut self, cwnd: u64) {
        while self.tcb.info().cwnd < cwnd {
            self.write(self.tcb.room());
            self.run(RTT);
            self.ack(self.tcb.snd_nxt().0, 2_000);
        }
        while self.tcb.info().send_queue > 0 {
            self.run(RTT);
            self.ack(self.tcb.snd_nxt().0, 2_000);
        }
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
                ect: plan.ect,
            });
            self.tcb.commit(self.now, &plan);
            assert!(out.len() < 1_000, "output does not end");
        }
        self.tcb.settle(self.now);
        out
    }

    /// Timers as they come due, and what is sent then, for so long: (microseconds from the start, SEQ, octets).
    fn run(&mut self, span: Micros) -> Vec<(Micros, u32, usize)> {
        let begin = self.now;
        let mut out = Vec::new();
        loop {
            let at = self.now.since(begin);
            out.extend(self.sent().into_iter().map(|o| (at, o.seq, o.data.len())));
            let next = self.tcb.deadline().max(self.now);
            if next > begin + span {
                break;
            }
            self.advance(next.since(self.now));
            assert!(out.len() < 10_000, "it never rests");
        }
        self.advance((begin + span).since(self.now));
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

/// How many cases a property is tried with, unless PROPTEST_CASES says another number.
fn cases(usual: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => ProptestConfig {
            cases: usual,
            max_shrink_iters: 2_000,
            ..config
        },
    }
}

impl Tcb {
    fn check_board(&self) {
        let ended = self.state == State::Closed;
        let from = if ended { self.snd_nxt } else { self.snd_una };
        self.board.check(from, self.snd_nxt);
    }

    /// What must hold whenever everything that could be sent was sent; panics if it does not.
    fn check(&self) {
        self.check_board();
        let flying = !self.board.is_empty();
        assert!(!flying || self.retransmit_at != Time::NEVER, "no timer");
        if self.state == State::Closed {
            assert_eq!(self.deadline(), Time::NEVER);
        }
        assert!(self.state == State::Closed || self.queue_start <= self.snd_una.max(self.iss + 1));
        if let Some(recovery) = self.recovery {
            assert!(recovery.end <= self.snd_nxt);
        }
        let info = self.info();
        assert!(info.rto <= 16 * SECOND);
        assert!((64..1 << 40).contains(&info.cwnd), "{}", info.cwnd);
        assert!(info.ssthresh >= 2 * 64);
    }
}
