//! One circuit's TCP: segments as a peer could send them, calls of the relay, and the passing of time.
//!
//! Numbers in segments are mostly relative to what the circuit waits for, so that the fuzzer gets past the first check.

use utcp::error::{CloseReason, Error};
use utcp::pool::{BLOCK_SIZE, Pool};
use utcp::tcp::congestion::Algorithm;
use utcp::tcp::segment::{Flags, Options, Segment};
use utcp::tcp::seq::Seq;
use utcp::tcp::{Plan, Settings, State, Tcb};
use utcp::time::{SECOND, Time};

use super::input::{Input, compare, octets};

/// Stream of what the circuit under test sends, and of what it receives.
const OURS: u32 = 1;
const THEIRS: u32 = 2;

/// Segments that one circuit may send at one moment, and rounds of its timers: more is a loop without end.
const SPIN: usize = 20_000;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut rig = Rig::new(&mut input);
    while !input.is_empty() {
        rig.step(&mut input);
        rig.check();
    }
    rig.end();
}

struct Rig {
    tcb: Tcb,
    pool: Pool,
    now: Time,
    started: Time,
    dead_timeout: u64,
    mss: u16,
    iss: Seq,
    irs: Seq,
    /// Octets that the relay has written and read.
    written: u32,
    read: u32,
    /// The highest acknowledgement that was of something sent.
    una: Seq,
    /// The right edge that the circuit offered last, as the peer understands it.
    rcv_nxt: Option<Seq>,
    /// The largest buffers that were configured.
    send_buffer: usize,
    receive_buffer: usize,
    /// The socket takes nothing.
    blocked: bool,
    /// The endpoint has no memory for what could arrive.
    starved: bool,
    reset_came: bool,
}

impl Rig {
    fn new(input: &mut Input<'_>) -> Rig {
        let kind = input.u8();
        let settings = Settings {
            mss: input.choose(&[1_376, 520, 1_200, 9_000]),
            send_buffer: input.choose(&[65_536, 4_096, 262_144, 1 << 20]),
            receive_buffer: input.choose(&[4 << 20, 4_096, 65_535, 65_536, 1 << 20, 1 << 30]),
            congestion: input.choose(&[Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr]),
            dead_timeout: input.choose(&[180, 1, 60]) * SECOND,
            srtt: input.choose(&[0, 1, 50_000, 3_000_000]),
            rttvar: input.choose(&[0, 1, 20_000]),
            ecn: kind & 8 != 0,
        };
        let (iss, irs) = (Seq(input.u32()), Seq(input.u32()));
        let mut pool = Pool::new(if kind & 1 == 0 { 64 << 20 } else { 32 << 10 });
        let now = Time(10 * SECOND);
        let tcb = if kind & 2 == 0 {
            Tcb::open(&settings, iss, (kind & 4 == 0).then_some(7))
        } else {
            let n = usize::from(input.u16()) % 2_000;
            let payload = octets(THEIRS, 0, n);
            let syn = Segment {
                flags: Flags(input.u8() & (Flags::FIN.0 | Flags::ECE.0 | Flags::CWR.0))
                    .with(Flags::SYN),
                seq: irs,
                ack: Seq(0),
                window: input.u16(),
                options: syn_options(input),
                payload: &payload,
                ce: false,
            };
            Tcb::accept(&settings, iss, now, &mut pool, &syn)
        };
        let mut rig = Rig {
            tcb,
            pool,
            now,
            started: now,
            dead_timeout: settings.dead_timeout,
            mss: settings.mss,
            iss,
            irs,
            written: 0,
            read: 0,
            una: iss,
            rcv_nxt: None,
            send_buffer: settings.send_buffer,
            receive_buffer: settings.receive_buffer,
            blocked: false,
            starved: false,
            reset_came: false,
        };
        rig.check();
        rig
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 20 {
            0..=5 => self.segment(input),
            6 => self.write(usize::from(input.u16())),
            7 => self.read(usize::from(input.u16())),
            8 => self.advance(Time(self.now.0 + (1 << (input.u8() % 28)))),
            9 => self.advance(self.tcb.deadline().min(self.now + 3_600 * SECOND)),
            10 => self.tcb.finish(),
            11 => self.tcb.close(&mut self.pool),
            12 => self.tcb.probe(),
            13 => self.tcb.revive(self.now),
            14 => {
                self.tcb.renege(&mut self.pool);
            }
            15 => self.configure(input),
            16 => self.blocked = !self.blocked,
            17 => self.starved = !self.starved,
            18 => {
                self.tcb.take_readable();
                self.tcb.take_writable();
                self.tcb.block_writer();
            }
            _ => {
                if input.u8() == 0xff {
                    let reset = self.tcb.abort(&mut self.pool, CloseReason::Local);
                    assert!(reset.is_none_or(|r| r.segment().flags.has(Flags::RST)));
                }
            }
        }
    }

    fn segment(&mut self, input: &mut Input<'_>) {
        let flags = Flags(input.u8());
        let how = input.u8();
        let next = self.tcb.rcv_nxt();
        let window = self.tcb.info().receive_window as u32;
        let mut seq = match how & 7 {
            0 | 1 => next,
            2 => next + u32::from(input.u16()),
            3 => next - u32::from(input.u16()),
            4 => next + window - 1 + u32::from(input.u8()) - 8,
            5 => next + u32::from(input.u8()) * u32::from(self.mss),
            6 => self.irs,
            _ => Seq(input.u32()),
        };
        let sent = self.tcb.snd_nxt();
        let ack = match how >> 3 & 7 {
            0 | 1 => sent,
            2 => sent - u32::from(input.u16()),
            3 => sent + 1 + u32::from(input.u8()),
            4 => self.una + u32::from(input.u8()) * u32::from(self.mss),
            5 => self.una,
            6 => self.iss + u32::from(input.u8() & 1),
            _ => Seq(input.u32()),
        };
        let window = input.u16();
        let mut options = Options::default();
        if how & 0x40 != 0 {
            if flags.has(Flags::SYN) {
                options = syn_options(input);
            } else if window & 2 != 0 {
                options.ce_count = Some(u32::from(window));
            }
            for _ in 0..input.u8() % 5 {
                let start = self.una + u32::from(input.u16());
                options.sack.push(start, start + u32::from(input.u16()));
            }
        }
        let n = if how & 0x80 != 0 {
            usize::from(input.u16()) % 2_000
        } else {
            0
        };
        if self.tcb.state() == State::SynSent && flags.has(Flags::SYN) {
            // The stream's first octet has to be known.
            seq = self.irs;
        }
        let first = seq + u32::from(flags.has(Flags::SYN));
        let payload = octets(THEIRS, first - (self.irs + 1), n);
        let segment = Segment {
            flags,
            seq,
            ack: if flags.has(Flags::ACK) { ack } else { Seq(0) },
            window,
            options,
            payload: &payload,
            ce: window & 1 != 0,
        };
        self.reset_came |= flags.has(Flags::RST);
        let before = self.tcb.snd_nxt();
        let taken = self.tcb.receive(self.now, &mut self.pool, &segment);
        assert_eq!(self.tcb.snd_nxt(), before, "a segment does not send");
        if taken.is_ok() && flags.has(Flags::ACK) && ack > self.una && ack <= before {
            self.una = ack;
        }
    }

    fn write(&mut self, n: usize) {
        let data = octets(OURS, self.written, n);
        let room = self.tcb.room();
        match self.tcb.write(&mut self.pool, &data) {
            Ok(taken) => {
                assert!(
                    taken <= n.min(room),
                    "{taken} of {n} taken, room for {room}"
                );
                self.written += taken as u32;
            }
            Err(Error::WouldBlock | Error::State | Error::Closed) => {}
            Err(other) => panic!("write: {other:?}"),
        }
    }

    fn read(&mut self, n: usize) {
        let mut buffer = vec![0; n.max(1)];
        let readable = self.tcb.readable();
        match self.tcb.read(&mut self.pool, &mut buffer) {
            Ok(taken) => {
                assert!(taken > 0 && taken <= buffer.len().min(readable));
                compare(THEIRS, self.read, &buffer[..taken]);
                self.read += taken as u32;
            }
            Err(Error::WouldBlock | Error::End | Error::Closed) => assert_eq!(readable, 0),
            Err(other) => panic!("read: {other:?}"),
        }
    }

    fn configure(&mut self, input: &mut Input<'_>) {
        let octets = 4_096 << (input.u8() % 10);
        match input.u8() % 7 {
            0 => {
                self.tcb.set_send_buffer(octets);
                self.send_buffer = self.send_buffer.max(octets);
            }
            1 => {
                self.tcb.set_receive_buffer(octets);
                self.receive_buffer = self.receive_buffer.max(octets);
            }
            2 => self.tcb.set_rate(octets as u64 - 4_096),
            3 => {
                let algorithms = [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr];
                self.tcb.set_congestion(input.choose(&algorithms));
            }
            4 => self.tcb.set_coupled(self.now, octets > 65_536),
            5 => {
                self.tcb.take_signals();
            }
            _ => {
                let mss = input.choose(&[300, 520, 1_200, 9_000]);
                self.tcb.set_path_mss(mss.min(self.mss));
                self.tcb.path_shrank(self.now);
            }
        }
    }

    fn advance(&mut self, until: Time) {
        self.now = self.now.max(until);
    }

    /// Timers, output, and what must hold at any moment.
    fn check(&mut self) {
        self.send();
        let mut rounds = 0;
        while self.tcb.deadline() <= self.now {
            self.tcb.on_timer(self.now, &mut self.pool);
            self.send();
            rounds += 1;
            assert!(
                rounds < SPIN,
                "the timer never rests: {:?}, deadline {:?}, {:?}",
                self.now,
                self.tcb.deadline(),
                self.tcb.info()
            );
        }
        let info = self.tcb.info();
        assert!(
            info.bytes_acked <= info.bytes_sent,
            "acknowledged unsent data"
        );
        assert!(info.bytes_sent <= u64::from(self.written));
        assert!(info.send_queue <= u64::from(self.written));
        assert!(info.bytes_in_flight <= u64::from(self.tcb.snd_nxt() - self.iss));
        assert!(u32::from(self.mss) >= info.mss && info.mss >= 64);
        let most = self.send_buffer + self.receive_buffer + 8 * BLOCK_SIZE;
        assert!(
            self.pool.in_use() <= most as u64,
            "{} held",
            self.pool.in_use()
        );
        if self.tcb.state() != State::SynSent {
            let next = self.tcb.rcv_nxt();
            assert!(self.rcv_nxt.is_none_or(|before| before <= next));
            self.rcv_nxt = Some(next);
        }
        let ended = matches!(self.tcb.state(), State::Closed | State::TimeWait);
        assert_eq!(ended, self.tcb.close_reason().is_some());
        match self.tcb.close_reason() {
            Some(CloseReason::Reset | CloseReason::Refused) => assert!(self.reset_came),
            Some(CloseReason::Timeout) => {
                let passed = self.now.since(self.started);
                assert!(passed >= self.dead_timeout.min(60 * SECOND), "{passed} us");
            }
            Some(CloseReason::Done | CloseReason::Local) | None => {}
            Some(other) => panic!("ended with {other:?}"),
        }
    }

    fn send(&mut self) {
        if self.blocked {
            return;
        }
        let mut segments = 0;
        loop {
            let memory = if self.starved {
                0
            } else {
                self.pool.available()
            };
            let Some(plan) = self.tcb.plan(self.now, memory) else {
                break;
            };
            self.verify(&plan);
            let before = self.tcb.snd_nxt();
            self.tcb.commit(self.now, &plan);
            assert!(self.tcb.snd_nxt() >= before);
            segments += 1;
            assert!(segments < SPIN, "it never stops sending: {plan:?}");
        }
        self.tcb.settle(self.now);
    }

    /// A segment that is about to be sent.
    fn verify(&self, plan: &Plan) {
        let mut payload = Vec::new();
        self.tcb.payload(plan, &mut payload);
        assert_eq!(payload.len(), plan.payload);
        assert!(plan.payload + plan.options.encoded_len() <= usize::from(self.mss).max(40));
        let first = plan.seq + u32::from(plan.flags.has(Flags::SYN));
        if plan.payload > 0 {
            let position = first - (self.iss + 1);
            compare(OURS, position, &payload);
            assert!(position as usize + payload.len() <= self.written as usize);
        }
        if plan.flags.has(Flags::FIN) {
            assert_eq!(first + plan.payload as u32, self.iss + 1 + self.written);
        }
        let opens = self.tcb.state() == State::SynSent;
        assert_eq!(plan.flags.has(Flags::ACK), !opens);
        if !opens {
            assert_eq!(plan.ack, self.tcb.rcv_nxt());
        }
    }

    fn end(mut self) {
        while self.tcb.readable() > 0 {
            self.read(4_096);
        }
        self.tcb.release(&mut self.pool);
        assert_eq!(self.pool.in_use(), 0, "memory is lost");
    }
}

fn syn_options(input: &mut Input<'_>) -> Options {
    let bits = input.u8();
    Options {
        mss: (bits & 1 != 0).then(|| input.u16()),
        window_scale: (bits & 2 != 0).then(|| input.u8()),
        sack_permitted: bits & 4 != 0,
        ce_count: (bits & 8 != 0).then_some(0),
        ..Options::default()
    }
}
