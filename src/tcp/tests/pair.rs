//! Two of our own over a path that does its worst, with relays on top that do what comes to their minds: whatever that is,
//! octets arrive once, in order, and all of them, and everything comes to its end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::pool::{Block, NOBODY, Use};
use crate::tcp::Reset;
use crate::tcp::recovery::rate::RateEstimator;

/// Octets that siblings leave in the network to a circuit that shares their window.
const COMMON_WINDOW: u64 = 30_000;
/// Turns in a second of virtual time, and in a run, that count as a loop without end.
const BUSY: usize = 20_000;
const ENDLESS: usize = 300_000;
/// How long a run may take.
const LONGEST: Micros = 4_000 * SECOND;

/// What the path does to a segment. The list is used up one after the other; then all is well.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    Late(Micros),
    Twice(Micros),
    Marked,
    /// The window field is cut to a part of it: the receiver was short of memory for a moment.
    Window(u16),
}

/// What a relay does to its end.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write(usize),
    /// Reads so much at a time from now on, zero for not at all.
    Read(usize),
    Finish,
    Close,
    Abort,
    Congestion(Algorithm),
    Coupled(bool),
    TakeSignals,
    Rate(u64),
    PathMss(u16),
    SendBuffer(usize),
    ReceiveBuffer(usize),
    /// Other circuits take memory, or give it back.
    Memory(usize),
    Renege,
    Probe,
    Revive,
}

/// A relay, an act, and how long it waits after the one before.
type Deed = (bool, Micros, Act);

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Arrives),
        3 => Just(Fate::Lost),
        2 => (0..200 * MILLISECOND).prop_map(Fate::Late),
        1 => (0..300 * MILLISECOND).prop_map(Fate::Twice),
        1 => Just(Fate::Marked),
        1 => (0..64u16).prop_map(Fate::Window),
    ]
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![
        Just(Algorithm::NewReno),
        Just(Algorithm::Cubic),
        Just(Algorithm::Bbr)
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => (1..40_000usize).prop_map(Act::Write),
        10 => (1..600usize).prop_map(Act::Write),
        4 => prop_oneof![Just(0), 1..3_000usize].prop_map(Act::Read),
        4 => Just(Act::Read(usize::MAX)),
        1 => Just(Act::Finish),
        1 => Just(Act::Close),
        1 => Just(Act::Abort),
        3 => algorithm().prop_map(Act::Congestion),
        3 => any::<bool>().prop_map(Act::Coupled),
        2 => Just(Act::TakeSignals),
        2 => prop_oneof![Just(0), 2_000..2_000_000u64].prop_map(Act::Rate),
        3 => prop_oneof![Just(9_000), 200..1_400u16].prop_map(Act::PathMss),
        2 => (2_048..100_000usize).prop_map(Act::SendBuffer),
        2 => (0..300_000usize).prop_map(Act::ReceiveBuffer),
        3 => prop_oneof![Just(0), 1..200usize].prop_map(Act::Memory),
        2 => Just(Act::Renege),
        1 => Just(Act::Probe),
        1 => Just(Act::Revive),
    ]
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let wait = prop_oneof![
        Just(0),
        0..5 * MILLISECOND,
        0..200 * MILLISECOND,
        0..5 * SECOND
    ];
    vec((any::<bool>(), wait, act()), 1..40)
}

fn settings_of_an_end() -> impl Strategy<Value = Settings> {
    (
        prop_oneof![Just(1_376u16), 300..1_400u16, Just(9_000)],
        prop_oneof![Just(256 * 1024), 4_096..100_000usize],
        prop_oneof![Just(1 << 20), 2_000..100_000usize],
        algorithm(),
        prop_oneof![Just(0), 1_000..200_000u64],
        any::<bool>(),
    )
        .prop_map(
            |(mss, send_buffer, receive_buffer, congestion, srtt, ecn)| Settings {
                mss,
                send_buffer,
                receive_buffer,
                congestion,
                dead_timeout: LONGEST,
                srtt,
                rttvar: srtt / 4,
                ecn,
            },
        )
}

/// Octet `at` of the stream of end `index`.
fn octet(index: usize, at: u64) -> u8 {
    let mixed = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ index as u64);
    (mixed >> 40) as u8
}

/// A segment under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    at: Time,
    order: usize,
    to: usize,
    /// Which one, so that the heap has something to compare.
    index: usize,
}

#[derive(Clone, Debug)]
struct Content {
    flags: Flags,
    seq: Seq,
    ack: Seq,
    window: u16,
    options: Options,
    payload: Vec<u8>,
    ce: bool,
}

struct End {
    tcb: Option<Tcb>,
    settings: Settings,
    pool: Pool,
    /// Blocks that other circuits have.
    others: Vec<Block>,
    shared: RateEstimator,
    reads: usize,
    written: u64,
    read: u64,
    /// The relay wants to write so many octets more.
    wants: u64,
    finished: bool,
    closed: bool,
    aborted: bool,
    at_end: bool,
    broken: bool,
}

impl End {
    fn new(settings: Settings) -> End {
        // What both queues may hold at most, and what blocks waste.
        let most = 300_000 + 2 * (256 * 1024 + (1 << 20)) as u64;
        End {
            tcb: None,
            settings,
            pool: Pool::new(most),
            others: Vec::new(),
            shared: RateEstimator::default(),
            reads: usize::MAX,
            written: 0,
            read: 0,
            wants: 0,
            finished: false,
            closed: false,
            aborted: false,
            at_end: false,
            broken: false,
        }
    }

    fn is_over(&self) -> bool {
        let tcb = self.tcb.as_ref();
        tcb.is_none_or(|t| matches!(t.state(), State::Closed | State::TimeWait))
    }
}

struct Rig {
    ends: [End; 2],
    fates: [std::vec::IntoIter<Fate>; 2],
    delay: Micros,
    path_mss: u16,
    flying: BinaryHeap<Reverse<Packet>>,
    contents: Vec<Content>,
    now: Time,
    turns: usize,
    busy: (u64, usize),
}

impl Rig {
    fn new(settings: [Settings; 2], fates: [Vec<Fate>; 2], delay: Micros, iss: u32) -> Rig {
        let mut ends = settings.map(End::new);
        ends[0].tcb = Some(Tcb::open(&ends[0].settings, Seq(iss), Some(5)));
        Rig {
            ends,
            fates: fates.map(Vec::into_iter),
            delay,
            path_mss: u16::MAX,
            flying: BinaryHeap::new(),
            contents: Vec::new(),
            now: Time(SECOND),
            turns: 0,
            busy: (0, 0),
        }
    }

    fn fly(&mut self, from: usize, mut content: Content, ect: bool) {
        if content.payload.len() + content.options.encoded_len() > usize::from(self.path_mss) {
            return;
        }
        let mut at = self.now + self.delay;
        let mut again = None;
        match self.fates[from].next().unwrap_or(Fate::Arrives) {
            Fate::Arrives => {}
            Fate::Lost => return,
            Fate::Late(by) => at = at + by,
            Fate::Twice(later) => again = Some(at + later),
            Fate::Marked => content.ce = ect,
            Fate::Window(part) => {
                content.window = (u32::from(content.window) * u32::from(part) / 64) as u16;
            }
        }
        for at in std::iter::once(at).chain(again) {
            let index = self.contents.len();
            self.contents.push(content.clone());
            self.flying.push(Reverse(Packet {
                at,
                order: index,
                to: 1 - from,
                index,
            }));
        }
    }

    fn reset(&mut self, from: usize, reset: Reset) {
        let segment = reset.segment();
        let content = Content {
            flags: segment.flags,
            seq: segment.seq,
            ack: segment.ack,
            window: 0,
            options: Options::default(),
            payload: Vec::new(),
            ce: false,
        };
        self.fly(from, content, false);
    }

    fn arrive(&mut self, to: usize, index: usize) {
        let content = self.contents[index].clone();
        let segment = Segment {
            flags: content.flags,
            seq: content.seq,
            ack: content.ack,
            window: content.window,
            options: content.options,
            payload: &content.payload,
            ce: content.ce,
        };
        let end = &mut self.ends[to];
        let Some(tcb) = &mut end.tcb else {
            if segment.flags.has(SYN) && !segment.flags.has(ACK) {
                let mut tcb = Tcb::accept(
                    &end.settings,
                    Seq(u32::MAX - 20_000),
                    self.now,
                    &mut end.pool,
                    &segment,
                );
                tcb.set_path_mss(self.path_mss);
                end.tcb = Some(tcb);
            }
            return;
        };
        if let Err(Rejected::Answer(reset)) = tcb.receive(self.now, &mut end.pool, &segment) {
            self.reset(to, reset);
        }
    }

    /// Reads and writes what can be, sends what may be sent, and looks at the end from all sides.
    fn serve(&mut self, index: usize) {
        for _ in 0..BUSY {
            self.relay(index);
            let end = &mut self.ends[index];
            let Some(tcb) = &mut end.tcb else { return };
            if tcb.deadline() <= self.now {
                tcb.on_timer(self.now, &mut end.pool);
            }
            let mut sent = 0;
            loop {
                let end = &mut self.ends[index];
                let Some(tcb) = &mut end.tcb else { return };
                let coupled = tcb.is_coupled();
                let allowance = Allowance {
                    memory: end.pool.available(),
                    window: if coupled {
                        COMMON_WINDOW.saturating_sub(tcb.in_flight())
                    } else {
                        u64::MAX
                    },
                };
                let Some(plan) = tcb.plan(self.now, allowance) else {
                    break;
                };
                let mut payload = Vec::new();
                tcb.payload(&plan, &mut payload);
                let content = Content {
                    flags: plan.flags,
                    seq: plan.seq,
                    ack: plan.ack,
                    window: plan.window,
                    options: plan.options,
                    payload,
                    ce: false,
                };
                let len = u64::from(plan.sequence_space());
                let counted = (coupled && len > 0)
                    .then(|| end.shared.depart(self.now, len, tcb.in_flight() + len));
                tcb.commit_counted(self.now, &plan, counted);
                self.fly(index, content, plan.ect);
                sent += 1;
                assert!(sent < 2_000, "it does not stop sending");
            }
            let end = &mut self.ends[index];
            let Some(tcb) = &mut end.tcb else { return };
            tcb.settle(self.now);
            tcb.check();
            if sent == 0 && tcb.deadline() > self.now {
                return;
            }
        }
        panic!("end {index} spins");
    }

    fn relay(&mut self, index: usize) {
        let [ours, theirs] = {
            let [a, b] = &mut self.ends;
            if index == 0 { [a, b] } else { [b, a] }
        };
        let Some(tcb) = &mut ours.tcb else { return };
        while ours.reads > 0 && !ours.at_end && !ours.broken {
            let mut buffer = vec![0; ours.reads.min(50_000)];
            match tcb.read(&mut ours.pool, &mut buffer) {
                Ok(n) => {
                    for &byte in &buffer[..n] {
                        assert_eq!(byte, octet(1 - index, ours.read), "octet {}", ours.read);
                        ours.read += 1;
                    }
                    assert!(ours.read <= theirs.written, "read what nobody wrote");
                }
                Err(Error::WouldBlock) => break,
                Err(Error::End) => {
                    assert_eq!(ours.read, theirs.written, "ended early");
                    assert!(theirs.finished || theirs.closed);
                    ours.at_end = true;
                }
                Err(Error::Closed) => ours.broken = true,
                Err(other) => panic!("read: {other:?}"),
            }
        }
        while ours.wants > 0 {
            let data: Vec<u8> = (ours.written..)
                .take(ours.wants.min(5_000) as usize)
                .map(|at| octet(index, at))
                .collect();
            match tcb.write(&mut ours.pool, &data) {
                Ok(n) => {
                    ours.written += n as u64;
                    ours.wants -= n as u64;
                }
                Err(Error::WouldBlock) => break,
                Err(Error::Closed | Error::State) => ours.wants = 0,
                Err(other) => panic!("write: {other:?}"),
            }
        }
        if ours.finished && ours.wants == 0 {
            tcb.finish();
        }
    }

    fn act(&mut self, index: usize, act: Act) {
        let now = self.now;
        let end = &mut self.ends[index];
        match act {
            Act::Write(n) if !end.finished && !end.closed => end.wants += n as u64,
            Act::Read(n) => end.reads = n,
            Act::Finish => end.finished = true,
            Act::Memory(blocks) => {
                for block in end.others.drain(..) {
                    end.pool.give(NOBODY, Use::Send, block);
                }
                while end.others.len() < blocks {
                    let Some(block) = end.pool.take(NOBODY, Use::Send) else {
                        break;
                    };
                    end.others.push(block);
                }
                // None but these are left.
                if blocks > 100 {
                    while let Some(block) = end.pool.take(NOBODY, Use::Send) {
                        end.others.push(block);
                    }
                }
            }
            _ => {}
        }
        let Some(tcb) = &mut end.tcb else { return };
        match act {
            Act::Close => {
                tcb.close(&mut end.pool);
                end.wants = 0;
                end.closed = true;
                end.broken = true;
            }
            Act::Abort => {
                let reset = tcb.abort(&mut end.pool, CloseReason::Local);
                end.aborted = true;
                end.broken = true;
                end.wants = 0;
                if let Some(reset) = reset {
                    self.reset(index, reset);
                }
                return;
            }
            Act::Congestion(algorithm) => tcb.set_congestion(algorithm),
            Act::Coupled(coupled) => tcb.set_coupled(now, coupled),
            Act::TakeSignals => {
                let coupled = tcb.is_coupled();
                assert_eq!(tcb.take_signals().is_some(), coupled);
            }
            Act::Rate(rate) => tcb.set_rate(rate),
            Act::PathMss(mss) => {
                let shrinks = mss < self.path_mss;
                self.path_mss = mss;
                for end in &mut self.ends {
                    if let Some(tcb) = &mut end.tcb {
                        tcb.set_path_mss(mss);
                        if shrinks {
                            tcb.path_shrank(now);
                        }
                    }
                }
                return;
            }
            Act::SendBuffer(octets) => tcb.set_send_buffer(octets),
            Act::ReceiveBuffer(octets) => tcb.set_receive_buffer(octets),
            Act::Renege => {
                tcb.renege(&mut end.pool);
            }
            Act::Probe => tcb.probe(),
            Act::Revive => tcb.revive(now),
            _ => {}
        }
        tcb.check();
    }

    /// Time passes, until `until` or until nothing is left to do.
    fn pass(&mut self, until: Time) {
        for index in 0..2 {
            self.serve(index);
        }
        loop {
            let timers = self.ends.iter().filter_map(|end| end.tcb.as_ref());
            let timer = timers.map(Tcb::deadline).min().unwrap_or(Time::NEVER);
            let arrival = self.flying.peek().map_or(Time::NEVER, |p| p.0.at);
            let next = timer.min(arrival);
            if next > until || next == Time::NEVER {
                self.now = self.now.max(until);
                return;
            }
            self.now = self.now.max(next);
            self.count();
            // No end is looked at unless it has asked for it, or something has arrived.
            let mut due = [0, 1].map(|index: usize| {
                let tcb = self.ends[index].tcb.as_ref();
                tcb.is_some_and(|t| t.deadline() <= self.now)
            });
            while self.flying.peek().is_some_and(|p| p.0.at <= self.now) {
                let Some(Reverse(packet)) = self.flying.pop() else {
                    break;
                };
                self.arrive(packet.to, packet.index);
                due[packet.to] = true;
            }
            for index in (0..2).filter(|&index| due[index]) {
                self.serve(index);
            }
        }
    }

    fn count(&mut self) {
        self.turns += 1;
        let second = self.now.0 / SECOND;
        if self.busy.0 == second {
            self.busy.1 += 1;
        } else {
            self.busy = (second, 1);
        }
        assert!(self.busy.1 < BUSY, "busy at {:?}", self.now);
        assert!(self.turns < ENDLESS, "it does not come to an end");
    }

    fn run(&mut self, deeds: &[Deed]) {
        for &(second, wait, act) in deeds {
            self.pass(self.now + wait);
            self.act(usize::from(second), act);
        }
        // Everything is well again, and both are done.
        for index in 0..2 {
            self.act(index, Act::Memory(0));
            self.act(index, Act::Read(usize::MAX));
            self.act(index, Act::SendBuffer(100_000));
            self.act(index, Act::ReceiveBuffer(100_000));
            self.act(index, Act::Finish);
        }
        self.pass(self.now + LONGEST / 4);
        // One that only waits for the other's end does not learn of a reset that got lost, unless it asks.
        for _ in 0..150 {
            if self.is_violent() {
                for index in 0..2 {
                    self.act(index, Act::Probe);
                }
                self.pass(self.now + SECOND);
            }
        }
        self.pass(self.now + LONGEST / 4);
        for (index, end) in self.ends.iter().enumerate() {
            assert!(
                end.is_over(),
                "end {index} hangs: {:?}",
                end.tcb.as_ref().map(Tcb::info)
            );
        }
        // TIME-WAIT and what is still under way.
        self.pass(self.now + 1_000 * SECOND);
        self.settled();
    }

    /// An end did not wait for what the other had to say.
    fn is_violent(&self) -> bool {
        self.ends.iter().any(|end| end.aborted || end.closed)
    }

    fn settled(&mut self) {
        let violent = self.is_violent();
        for end in &mut self.ends {
            let Some(tcb) = &mut end.tcb else { continue };
            assert_eq!(tcb.state(), State::Closed);
            assert_eq!(tcb.deadline(), Time::NEVER);
            if !violent {
                assert_eq!(tcb.close_reason(), Some(CloseReason::Done));
                assert!(end.at_end && !end.broken);
            }
            tcb.release(&mut end.pool);
            assert_eq!(end.pool.in_use(), 0, "memory is lost");
        }
    }
}

proptest! {
    #![proptest_config(super::cases(96))]

    #[test]
    fn every_octet_arrives_once_and_all_comes_to_an_end(
        settings in [settings_of_an_end(), settings_of_an_end()],
        fates in [vec(fate(), 0..150), vec(fate(), 0..150)],
        delay in prop_oneof![Just(0), 100..2_000u64, 2_000..150_000u64],
        iss in prop_oneof![any::<u32>(), u32::MAX - 50_000..=u32::MAX],
        deeds in deeds(),
    ) {
        Rig::new(settings, fates, delay, iss).run(&deeds);
    }
}
