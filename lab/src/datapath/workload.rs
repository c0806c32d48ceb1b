//! Fixed work for two endpoints in memory, whose cost is counted in instructions (`callgrind`) or in CPU time. The same
//! work costs the same number of instructions in every run, but for what the handshake before it left in memory.

use super::clock;
use super::pair::{CELL, Pair};
use utcp::time::SECOND;

/// What was done, and what that took.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Packets, cells or circuits.
    pub units: u64,
    /// CPU time, nanoseconds, of both ends.
    pub nanos: u64,
}

/// Kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Full datagrams on one circuit, while others are open.
    Bulk,
    /// A cell on each of the circuits in turn.
    Cells,
    /// A cell on each of 100 of the circuits in turn, while the others are open.
    SomeCells,
    /// Circuits are opened, with a cell each.
    Open,
    /// Full datagrams on one circuit, one of 50 lost.
    Loss,
    /// Time passes, and nothing is due.
    Timer,
}

/// Work with a number of circuits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What is done.
    pub work: Work,
    /// Circuits that are open, or opened.
    pub circuits: u32,
}

const NAMES: [(Work, &str, &str); 6] = [
    (Work::Bulk, "bulk", "full datagram"),
    (Work::Cells, "cells", "cell"),
    (Work::SomeCells, "some-cells", "cell"),
    (Work::Open, "open", "circuit"),
    (Work::Loss, "loss", "full datagram"),
    (Work::Timer, "timer", "call"),
];

/// What `make bench-quick` counts.
pub const QUICK: [Workload; 5] = [
    Workload::new(Work::Bulk, 1),
    Workload::new(Work::Cells, 1_000),
    Workload::new(Work::Open, 20_000),
    Workload::new(Work::Loss, 1),
    Workload::new(Work::Timer, 20_000),
];

/// Octets of a full datagram's payload, about.
const FULL: u64 = 1_400;

impl Workload {
    /// This work with so many circuits.
    pub const fn new(work: Work, circuits: u32) -> Workload {
        Workload { work, circuits }
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        let name = NAMES.iter().find(|entry| entry.0 == self.work);
        format!("{}-{}", name.map_or("", |entry| entry.1), self.circuits)
    }

    /// What its cost is counted for.
    pub fn unit(self) -> &'static str {
        let name = NAMES.iter().find(|entry| entry.0 == self.work);
        name.map_or("", |entry| entry.2)
    }

    /// The workload with this name.
    pub fn parse(name: &str) -> Option<Workload> {
        let (work, circuits) = name.rsplit_once('-')?;
        let work = NAMES.iter().find(|entry| entry.1 == work)?.0;
        Some(Workload::new(work, circuits.parse().ok()?))
    }

    /// Does it.
    pub fn run(self) -> Outcome {
        let mut pair = Pair::plain();
        let count = if self.work == Work::Open {
            0
        } else {
            self.circuits
        };
        let ids = pair.open(1..1 + count);
        // All cells arrive, and circuits fall asleep.
        pair.run(100 * SECOND);
        assert_eq!(pair.read, u64::from(count) * CELL as u64);
        let bulk = |pair: &mut Pair, octets: u64| {
            let end = pair.read + octets;
            while pair.read < end {
                pair.fill(ids[0]);
                pair.turn();
            }
        };
        let cells = |pair: &mut Pair, circuits: usize, count: usize| {
            let begin = pair.read;
            for (n, id) in ids[..circuits].iter().cycle().take(count).enumerate() {
                // Those that have only begun share a window (RFC 9040), and may have to wait.
                while pair.end(0).room(*id) < CELL {
                    pair.turn();
                }
                let written = pair.on(0, |end| end.write(*id, &[7; CELL]));
                assert_eq!(written, Ok(CELL));
                if (n + 1).is_multiple_of(64) {
                    pair.turn();
                }
            }
            while pair.read < begin + (count * CELL) as u64 {
                pair.turn();
            }
        };
        match self.work {
            Work::Bulk => {
                bulk(&mut pair, 8_000 * FULL);
                measure(8_000, &mut || bulk(&mut pair, 8_000 * FULL))
            }
            Work::Loss => {
                pair.lose = 50;
                bulk(&mut pair, 2_000 * FULL);
                measure(4_000, &mut || bulk(&mut pair, 4_000 * FULL))
            }
            Work::Cells => {
                let count = self.circuits as usize;
                cells(&mut pair, count, count);
                measure(6_400, &mut || cells(&mut pair, count, 6_400))
            }
            Work::SomeCells => {
                let count = ids.len().min(100);
                cells(&mut pair, count, 6_400);
                measure(6_400, &mut || cells(&mut pair, count, 6_400))
            }
            Work::Open => {
                let count = self.circuits;
                pair.open(1..101);
                measure(count.into(), &mut || {
                    pair.open(101..101 + count);
                    pair.run(SECOND);
                })
            }
            Work::Timer => measure(20_000, &mut || {
                for _ in 0..10_000 {
                    let now = pair.now + 1;
                    pair.now = now;
                    for who in 0..2 {
                        pair.on(who, |end| {
                            end.process(now);
                            std::hint::black_box(end.next_deadline());
                        });
                    }
                }
            }),
        }
    }
}

fn measure(units: u64, work: &mut dyn FnMut()) -> Outcome {
    let begin = clock::cpu();
    measured(work);
    Outcome {
        units,
        nanos: clock::cpu() - begin,
    }
}

/// What callgrind counts; it finds it by its name.
#[inline(never)]
pub fn measured(work: &mut dyn FnMut()) {
    work();
    // Keeps this a call and not a jump.
    std::hint::black_box(());
}
