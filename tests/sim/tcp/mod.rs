//! The inner TCP alone: our own against itself and against smoltcp's, as TCP/IP packets over the links of the model.

mod cases;
mod liar;
mod ours;
mod random;
mod smol;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use utcp::error::CloseReason;
use utcp::time::{Micros, SECOND, Time};

use crate::link::{CE, Link, Packet};
use crate::rng::{Rng, mix};
use crate::stream::Stream;

/// What reading gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Data(usize),
    Nothing,
    End,
    /// Reset, or given up.
    Broken,
}

/// One TCP connection at one end, whoever wrote it.
pub trait Tcp {
    /// `ce`: a router has marked it.
    fn inject(&mut self, now: Time, packet: &[u8], ce: bool);
    /// Does what is due; gives the packets to be sent.
    fn poll(&mut self, now: Time) -> Vec<Vec<u8>>;
    fn deadline(&mut self, now: Time) -> Time;
    /// Returns how much was taken.
    fn write(&mut self, data: &[u8]) -> usize;
    fn read(&mut self, buffer: &mut [u8]) -> Read;
    fn finish(&mut self);
    fn abort(&mut self);
    /// Nothing of it is left, TIME-WAIT aside.
    fn is_over(&self) -> bool;
    fn describe(&self) -> String;
    /// Octets of queued data that it holds, if it says.
    fn held(&self) -> u64 {
        0
    }
    /// How it ended, if it says.
    fn reason(&self) -> Option<CloseReason> {
        None
    }
}

/// What one end does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Side {
    pub send: u64,
    /// Sends only once the other has finished.
    pub after_end: bool,
    /// Reads nothing before that time, and then slowly.
    pub read_after: Micros,
    /// Resets once so much has arrived.
    pub abort_at: Option<u64>,
}

struct End {
    tcp: Box<dyn Tcp>,
    side: Side,
    stream: Stream,
    sent: u64,
    finished: bool,
    received: u64,
    ended: bool,
    broken: bool,
    next_read: Time,
    rng: Rng,
}

/// Two TCPs and the links between them.
pub struct Pair {
    name: String,
    seed: u64,
    now: Time,
    ends: [End; 2],
    links: [Link; 2],
    flying: BinaryHeap<Reverse<(Time, u64, usize, usize)>>,
    packets: Vec<Option<Packet>>,
    progress: Time,
    /// What is received is compared.
    pub trusting: bool,
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let test = std::thread::current();
            eprintln!(
                "\ncase {} failed with seed {}; run it alone with:\n    UTCP_SIM_SEED={} cargo test --test sim {}",
                self.name,
                self.seed,
                self.seed,
                test.name().unwrap_or(&self.name),
            );
        }
    }
}

/// Address and port of each end.
pub fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, index as u8 + 1], 4_000 + index as u16))
}

impl Pair {
    pub fn new(
        name: &str,
        seed: u64,
        tcps: [Box<dyn Tcp>; 2],
        sides: [Side; 2],
        link: impl Fn() -> Link,
    ) -> Pair {
        let now = Time(1_000 * SECOND);
        let mut index = 0;
        let mut sides = sides.into_iter();
        let ends = tcps.map(|tcp| {
            index += 1;
            let side = sides.next().expect("two sides");
            End {
                tcp,
                side,
                stream: Stream::new(mix(seed ^ index), None),
                sent: 0,
                finished: false,
                received: 0,
                ended: false,
                broken: false,
                next_read: now + side.read_after,
                rng: Rng::new(seed, index),
            }
        });
        Pair {
            name: name.to_string(),
            seed,
            now,
            ends,
            links: [
                link().seeded(mix(seed + 1_000)),
                link().seeded(mix(seed + 2_000)),
            ],
            flying: BinaryHeap::new(),
            packets: Vec::new(),
            progress: now,
            trusting: true,
        }
    }

    fn fly(&mut self, at: Time, from: usize, stage: usize, packet: Packet) {
        self.packets.push(Some(packet));
        let order = self.packets.len() as u64 - 1;
        self.flying.push(Reverse((at, order, from, stage)));
    }

    fn serve(&mut self, index: usize) {
        for _ in 0..1_000 {
            let mut worked = self.script(index);
            let packets = self.ends[index].tcp.poll(self.now);
            worked |= !packets.is_empty();
            // What was injected or timed out may have made something possible.
            worked |= self.script(index);
            let idle = !worked;
            for data in packets {
                let packet = Packet {
                    from: address(index),
                    to: address(1 - index),
                    ecn: data[1] & 3,
                    data,
                };
                self.links[index].enter(&packet);
                self.fly(self.now, index, 0, packet);
            }
            if idle && self.ends[index].tcp.deadline(self.now) > self.now {
                return;
            }
        }
        self.fail(&format!("end {index} spins"));
    }

    /// Reads, writes and finishes; true if anything came of it.
    fn script(&mut self, index: usize) -> bool {
        let mut worked = false;
        let mut buffer = [0; 4_096];
        while !self.ends[index].ended
            && !self.ends[index].broken
            && self.now >= self.ends[index].next_read
        {
            let end = &mut self.ends[index];
            let room = end.rng.between(1, 4_096) as usize;
            match end.tcp.read(&mut buffer[..room]) {
                Read::Data(n) => {
                    worked = true;
                    let at = end.received;
                    end.received += n as u64;
                    self.progress = self.now;
                    if end.side.read_after > 0 {
                        end.next_read = self.now + SECOND / 20;
                    }
                    let stream = self.ends[1 - index].stream;
                    if let Some(position) = stream.differs(at, &buffer[..n])
                        && self.trusting
                    {
                        self.fail(&format!("end {index}: octet {position} differs"));
                    }
                }
                Read::Nothing => break,
                Read::End => {
                    worked = true;
                    end.ended = true;
                    self.progress = self.now;
                    let expect = self.ends[1 - index].sent;
                    if self.ends[index].received != expect && self.trusting {
                        self.fail(&format!("end {index}: ended short of {expect}"));
                    }
                }
                Read::Broken => {
                    worked = true;
                    end.broken = true;
                    self.progress = self.now;
                }
            }
        }
        let end = &mut self.ends[index];
        if end.side.abort_at.is_some_and(|n| end.received >= n) && !end.broken {
            end.tcp.abort();
            end.broken = true;
            return true;
        }
        if end.broken || (end.side.after_end && !end.ended) {
            return worked;
        }
        while end.sent < end.side.send {
            let most = (end.side.send - end.sent).min(4_096);
            let length = end.rng.between(1, most) as usize;
            end.stream.fill(end.sent, &mut buffer[..length]);
            let n = end.tcp.write(&buffer[..length]);
            end.sent += n as u64;
            worked |= n > 0;
            if n < length {
                break;
            }
        }
        if end.sent == end.side.send && !end.finished {
            end.finished = true;
            end.tcp.finish();
            worked = true;
        }
        worked
    }

    fn next(&mut self) -> Time {
        let mut next = self.flying.peek().map_or(Time::NEVER, |f| f.0.0);
        for end in &mut self.ends {
            next = next.min(end.tcp.deadline(self.now));
            if end.next_read > self.now {
                next = next.min(end.next_read);
            }
        }
        next.max(self.now)
    }

    fn step(&mut self) {
        self.now = self.next();
        let mut touched = [false; 2];
        while self.flying.peek().is_some_and(|f| f.0.0 <= self.now) {
            let Reverse((_, order, from, stage)) = self.flying.pop().expect("peeked");
            let packet = self.packets[order as usize].take().expect("flies once");
            if stage == self.links[from].stages() {
                let ce = packet.ecn == CE;
                self.ends[1 - from].tcp.inject(self.now, &packet.data, ce);
                touched[1 - from] = true;
                continue;
            }
            let passed = self.links[from].pass(stage, self.now, packet);
            for (at, packet) in passed.0.into_iter().flatten() {
                self.fly(at, from, stage + 1, packet);
            }
        }
        for (index, touched) in touched.into_iter().enumerate() {
            let end = &mut self.ends[index];
            if touched || end.tcp.deadline(self.now) <= self.now || end.next_read == self.now {
                self.serve(index);
            }
        }
    }

    /// Runs until both ends are over, within `bound`, without standing still for longer than `stall`.
    pub fn run(&mut self, bound: Micros, stall: Micros) {
        let deadline = self.now + bound;
        self.serve(0);
        self.serve(1);
        loop {
            let all = self
                .ends
                .iter()
                .all(|end| end.tcp.is_over() && (end.broken || (end.ended && end.finished)));
            if all {
                return;
            }
            let next = self.next();
            if next == Time::NEVER {
                self.fail("deadlock");
            }
            if next > deadline {
                self.fail(&format!("not within {} s", bound / SECOND));
            }
            if next.since(self.progress) > stall {
                self.fail(&format!("no progress for {} s", stall / SECOND));
            }
            self.step();
        }
    }

    /// Runs for this long; holds each end to `most` octets of memory all the while.
    pub fn run_for(&mut self, span: Micros, most: u64) {
        let deadline = self.now + span;
        self.serve(0);
        self.serve(1);
        while self.next() <= deadline {
            self.step();
            for index in 0..2 {
                let held = self.ends[index].tcp.held();
                if held > most {
                    self.fail(&format!("end {index} holds {held} octets"));
                }
            }
        }
        self.now = deadline;
    }

    /// Resets both ends, and gives what memory they hold then.
    pub fn abort(&mut self) -> u64 {
        for end in &mut self.ends {
            end.tcp.abort();
        }
        self.ends[0].tcp.held() + self.ends[1].tcp.held()
    }

    pub fn received(&self, index: usize) -> u64 {
        self.ends[index].received
    }

    pub fn reason(&self, index: usize) -> Option<CloseReason> {
        self.ends[index].tcp.reason()
    }

    fn fail(&self, text: &str) -> ! {
        let mut dump = String::new();
        for (index, end) in self.ends.iter().enumerate() {
            dump.push_str(&format!(
                "end {index}: sent {} received {} finished {} ended {} broken {}\n  {}\n  {:?}\n",
                end.sent,
                end.received,
                end.finished,
                end.ended,
                end.broken,
                end.tcp.describe(),
                self.links[index].counters(),
            ));
        }
        panic!("{text}, at {} s\n{dump}", self.now.0 as f64 / SECOND as f64);
    }
}
