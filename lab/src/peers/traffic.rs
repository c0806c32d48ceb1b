//! The traffic, the same for all rivals, and what is measured of it.
//!
//! Bulk circuits bring as much as they can from the server; quiet circuits send a cell now and then, which the server sends
//! back; request circuits ask for some cells now and then. First there are quiet circuits alone (idle), then all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cells::{Assembler, CELL, Cell, Command, Damaged};
use super::clock::{MILLI, Micros, NEVER, SECOND};
use super::transport::{Failure, Transport};

/// Cells that are written together, at most.
const TOGETHER: usize = 8;

/// Times that each circuit may write before something else is done.
const PASSES: usize = 32;

/// How many circuits do what, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    /// Circuits with as much data as they can carry; they have the lowest numbers.
    pub bulk: u32,
    /// Circuits with a cell now and then.
    pub quiet: u32,
    /// How often each of those has one.
    pub quiet_every: Micros,
    /// Circuits that ask for something now and then; they have the highest numbers.
    pub requests: u32,
    /// How often each of those asks, unless the answer to its last request is still on its way.
    pub request_every: Micros,
    /// Octets of the answer, in cells.
    pub request_octets: u64,
    /// Before delays count.
    pub settle: Micros,
    /// Quiet circuits alone.
    pub idle: Micros,
    /// All circuits, before anything counts.
    pub warm: Micros,
    /// All circuits, and everything counts.
    pub measure: Micros,
    /// Quiet circuits alone, so that what is under way can still arrive.
    pub drain: Micros,
    /// Whether each delay is told, beside their distribution.
    pub samples: bool,
}

impl Default for Pattern {
    fn default() -> Pattern {
        Pattern {
            bulk: 8,
            quiet: 8,
            quiet_every: 50 * MILLI,
            requests: 2,
            request_every: SECOND,
            request_octets: 50_000,
            settle: 300 * MILLI,
            idle: 1_500 * MILLI,
            warm: 2 * SECOND,
            measure: 5 * SECOND,
            drain: 500 * MILLI,
            samples: false,
        }
    }
}

impl Pattern {
    /// From when to when everything counts, of a run that began then.
    pub fn counts(&self, begun: Micros) -> (Micros, Micros) {
        let from = begun + self.idle + self.warm;
        (from, from + self.measure)
    }

    /// From when to when delays are those of an idle link.
    pub fn is_idle(&self, begun: Micros) -> (Micros, Micros) {
        (begun + self.settle, begun + self.idle)
    }

    /// How long it takes.
    pub fn length(&self) -> Micros {
        self.idle + self.warm + self.measure + self.drain
    }

    /// All circuits.
    pub fn circuits(&self) -> u32 {
        self.bulk + self.quiet + self.requests
    }

    fn quiet_circuits(&self) -> std::ops::RangeInclusive<u32> {
        self.bulk + 1..=self.bulk + self.quiet
    }

    fn request_circuits(&self) -> std::ops::RangeInclusive<u32> {
        self.bulk + self.quiet + 1..=self.circuits()
    }
}

/// A cell that came back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Of this circuit.
    pub circuit: u32,
    /// When the client had it to send.
    pub asked: Micros,
    /// How long it took there and back.
    pub took: Micros,
}

/// What the client saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When it began.
    pub begun: Micros,
    /// Of cells of quiet circuits, there and back: idle.
    pub idle: Vec<Micros>,
    /// The same beside bulk.
    pub loaded: Vec<Micros>,
    /// Of those, from the server to the client.
    pub loaded_one_way: Vec<Micros>,
    /// Cells that did not come back; of the others nothing is known but that they took longer than is left. They are in
    /// `loaded` with that.
    pub unanswered: u64,
    /// Octets of cells of each bulk circuit while everything counted.
    pub bulk: Vec<u64>,
    /// How long requests took, to the last octet.
    pub requests: Vec<Micros>,
    /// All delays, if they were asked for.
    pub samples: Vec<Sample>,
}

/// Cells of one circuit that wait for the transport.
#[derive(Debug, Default)]
struct Outbox {
    octets: Vec<u8>,
    taken: usize,
    next: u32,
}

impl Outbox {
    fn push(&mut self, circuit: u32, command: Command, asked: Micros, sent: Micros, value: u64) {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        Cell {
            circuit,
            command,
            number,
            asked,
            sent,
            value,
        }
        .encode(&mut self.octets);
    }

    fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// Returns whether all was taken.
    fn write(&mut self, circuit: u32, transport: &mut dyn Transport) -> Result<bool, Failure> {
        if self.is_empty() {
            return Ok(true);
        }
        self.taken += transport.write(circuit, &self.octets[self.taken..])?;
        let done = self.taken == self.octets.len();
        if done {
            self.octets.clear();
            self.taken = 0;
        }
        Ok(done)
    }
}

/// All cells that have come, in the order of their circuits; counts octets.
#[derive(Debug, Default)]
struct Inbox {
    circuits: BTreeMap<u32, Assembler>,
    octets: u64,
}

impl Inbox {
    fn read(
        &mut self,
        transport: &mut dyn Transport,
        to: &mut dyn FnMut(Cell),
    ) -> Result<(), Failure> {
        let mut damaged: Option<Damaged> = None;
        transport.read(&mut |circuit, data| {
            self.octets += data.len() as u64;
            let result = self
                .circuits
                .entry(circuit)
                .or_default()
                .push(circuit, data, to);
            damaged = damaged.take().or(result.err());
        })?;
        damaged.map_or(Ok(()), |damaged| Err(damaged.into()))
    }
}

/// What a process does with its transport.
pub trait Part {
    /// Reads, writes; says when it has something to do next.
    ///
    /// # Errors
    /// If the connection is broken, or what came is not what was sent.
    fn act(&mut self, now: Micros, transport: &mut dyn Transport) -> Result<Micros, Failure>;

    /// When the run began, once that is known.
    fn begun(&self) -> Option<Micros>;

    /// Octets of cells that have come.
    fn octets(&self) -> u64;
}

/// The side that asks.
#[derive(Debug)]
pub struct Client {
    pattern: Pattern,
    begun: Option<Micros>,
    flooded: bool,
    due: BTreeMap<u32, Micros>,
    asked: BTreeMap<(u32, Micros), ()>,
    open_requests: BTreeMap<u32, ()>,
    outboxes: BTreeMap<u32, Outbox>,
    inbox: Inbox,
    seen: Seen,
}

impl Client {
    /// Begins as soon as the transport is ready.
    pub fn new(pattern: Pattern) -> Client {
        let seen = Seen {
            bulk: vec![0; pattern.bulk as usize],
            ..Seen::default()
        };
        Client {
            pattern,
            begun: None,
            flooded: false,
            due: BTreeMap::new(),
            asked: BTreeMap::new(),
            open_requests: BTreeMap::new(),
            outboxes: BTreeMap::new(),
            inbox: Inbox::default(),
            seen,
        }
    }

    fn begin(&mut self, now: Micros) {
        let pattern = &self.pattern;
        self.begun = Some(now);
        self.seen.begun = now;
        // One after the other, so that a lost packet is one circuit's.
        let step = |every: Micros, count: u32| every / Micros::from(count.max(1));
        let first = pattern.bulk + 1;
        for circuit in pattern.quiet_circuits() {
            let offset = step(pattern.quiet_every, pattern.quiet) * Micros::from(circuit - first);
            self.due.insert(circuit, now + offset);
        }
        let first = pattern.bulk + pattern.quiet + 1;
        for circuit in pattern.request_circuits() {
            let offset =
                step(pattern.request_every, pattern.requests) * Micros::from(circuit - first);
            self.due
                .insert(circuit, now + pattern.idle + pattern.warm + offset);
        }
    }

    fn ask(&mut self, now: Micros, begun: Micros) {
        let pattern = &self.pattern;
        let (_, end) = pattern.counts(begun);
        if !self.flooded && now >= begun + pattern.idle {
            self.flooded = true;
            for circuit in 1..=pattern.bulk {
                let outbox = self.outboxes.entry(circuit).or_default();
                outbox.push(circuit, Command::Flood, now, 0, end);
            }
        }
        for (&circuit, due) in &mut self.due {
            if *due > now || *due >= end {
                continue;
            }
            let outbox = self.outboxes.entry(circuit).or_default();
            if pattern.quiet_circuits().contains(&circuit) {
                // Late or not: it is as old as it should be.
                outbox.push(circuit, Command::Ask, *due, 0, begun);
                self.asked.insert((circuit, *due), ());
                *due += pattern.quiet_every;
            } else {
                if self.open_requests.insert(circuit, ()).is_none() {
                    outbox.push(circuit, Command::Request, now, 0, pattern.request_octets);
                }
                *due += pattern.request_every;
            }
        }
    }

    fn take(&mut self, now: Micros, begun: Micros, cell: Cell) {
        let within = |(from, to): (Micros, Micros), time| (from..to).contains(&time);
        let counts = self.pattern.counts(begun);
        let took = now.saturating_sub(cell.asked);
        match cell.command {
            Command::Answer => {
                self.asked.remove(&(cell.circuit, cell.asked));
                if self.pattern.samples {
                    self.seen.samples.push(Sample {
                        circuit: cell.circuit,
                        asked: cell.asked,
                        took,
                    });
                }
                if within(self.pattern.is_idle(begun), cell.asked) {
                    self.seen.idle.push(took);
                } else if within(counts, cell.asked) {
                    self.seen.loaded.push(took);
                    self.seen.loaded_one_way.push(now.saturating_sub(cell.sent));
                }
            }
            Command::Data if within(counts, now) => {
                if let Some(octets) = self.seen.bulk.get_mut(cell.circuit as usize - 1) {
                    *octets += CELL as u64;
                }
            }
            Command::Part if cell.value == 0 => {
                self.open_requests.remove(&cell.circuit);
                self.seen.requests.push(took);
            }
            _ => {}
        }
    }

    /// What was measured, at the end.
    pub fn finish(mut self, now: Micros) -> Seen {
        let (from, to) = self.pattern.counts(self.seen.begun);
        for &(_, asked) in self.asked.keys() {
            if (from..to).contains(&asked) {
                self.seen.unanswered += 1;
                self.seen.loaded.push(now.saturating_sub(asked));
            }
        }
        self.seen
    }
}

impl Part for Client {
    fn act(&mut self, now: Micros, transport: &mut dyn Transport) -> Result<Micros, Failure> {
        let Some(begun) = self.begun else {
            if transport.is_ready() {
                self.begin(now);
                return Ok(now);
            }
            return Ok(NEVER);
        };
        let mut cells = Vec::new();
        self.inbox.read(transport, &mut |cell| cells.push(cell))?;
        cells
            .into_iter()
            .for_each(|cell| self.take(now, begun, cell));
        self.ask(now, begun);
        for (&circuit, outbox) in &mut self.outboxes {
            outbox.write(circuit, transport)?;
        }
        let (_, end) = self.pattern.counts(begun);
        let due = self
            .due
            .values()
            .copied()
            .filter(|&due| due < end)
            .min()
            .unwrap_or(NEVER);
        let flood = if self.flooded {
            NEVER
        } else {
            begun + self.pattern.idle
        };
        Ok(due.min(flood))
    }

    fn begun(&self) -> Option<Micros> {
        self.begun
    }

    fn octets(&self) -> u64 {
        self.inbox.octets
    }
}

/// What one circuit of the server has to send.
#[derive(Debug, Default)]
struct Duty {
    outbox: Outbox,
    flood_until: Micros,
    /// Cells of an answer that are still to be made, and when it was asked for.
    parts: u64,
    asked: Micros,
}

impl Duty {
    /// Makes more cells if all that were made are gone; whether there are any.
    fn fill(&mut self, circuit: u32, now: Micros) -> bool {
        if self.outbox.is_empty() {
            for _ in 0..TOGETHER {
                if self.parts > 0 {
                    self.parts -= 1;
                    self.outbox
                        .push(circuit, Command::Part, self.asked, now, self.parts);
                } else if now < self.flood_until {
                    self.outbox.push(circuit, Command::Data, 0, now, 0);
                } else {
                    break;
                }
            }
        }
        !self.outbox.is_empty()
    }
}

/// The side that answers.
#[derive(Debug, Default)]
pub struct Server {
    begun: Option<Micros>,
    duties: BTreeMap<u32, Duty>,
    inbox: Inbox,
}

impl Part for Server {
    fn act(&mut self, now: Micros, transport: &mut dyn Transport) -> Result<Micros, Failure> {
        let Server {
            begun,
            duties,
            inbox,
        } = self;
        inbox.read(transport, &mut |cell| {
            let duty = duties.entry(cell.circuit).or_default();
            match cell.command {
                Command::Ask => {
                    begun.get_or_insert(cell.value);
                    duty.outbox
                        .push(cell.circuit, Command::Answer, cell.asked, now, 0);
                }
                Command::Flood => duty.flood_until = cell.value,
                Command::Request => {
                    duty.parts = cell.value.div_ceil(CELL as u64);
                    duty.asked = cell.asked;
                }
                Command::Answer | Command::Data | Command::Part => {}
            }
        })?;
        // Quiet circuits first: what they have is older.
        let mut open: Vec<(u32, &mut Duty)> =
            duties.iter_mut().map(|(c, duty)| (*c, duty)).collect();
        open.sort_by_key(|(_, duty)| duty.flood_until);
        for _ in 0..PASSES {
            let mut left = Vec::new();
            for (circuit, duty) in open {
                if duty.fill(circuit, now) && duty.outbox.write(circuit, transport)? {
                    left.push((circuit, duty));
                }
            }
            if left.is_empty() {
                return Ok(NEVER);
            }
            open = left;
        }
        // There would be more.
        Ok(now)
    }

    fn begun(&self) -> Option<Micros> {
        self.begun
    }

    fn octets(&self) -> u64 {
        self.inbox.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ends of a wire without delay; each circuit holds so much.
    #[derive(Default)]
    struct Wire {
        out: BTreeMap<u32, Vec<u8>>,
        come: Vec<(u32, Vec<u8>)>,
    }

    impl Transport for Wire {
        fn is_ready(&self) -> bool {
            true
        }

        fn write(&mut self, circuit: u32, data: &[u8]) -> Result<usize, Failure> {
            let queue = self.out.entry(circuit).or_default();
            let taken = data.len().min(3_000 - queue.len());
            queue.extend_from_slice(&data[..taken]);
            Ok(taken)
        }

        fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Failure> {
            self.come
                .drain(..)
                .for_each(|(circuit, data)| to(circuit, &data));
            Ok(())
        }

        fn turn(&mut self, _until: Micros) -> Result<(), Failure> {
            Ok(())
        }
    }

    fn pattern() -> Pattern {
        Pattern {
            requests: 1,
            quiet: 2,
            bulk: 2,
            ..Pattern::default()
        }
    }

    fn run(pattern: &Pattern) -> (Seen, Server) {
        let (mut client, mut server) = (Client::new(pattern.clone()), Server::default());
        let (mut here, mut there) = (Wire::default(), Wire::default());
        let begin = 5 * SECOND;
        let end = begin + pattern.length();
        // 10 ms each way.
        for step in 0..pattern.length() / (10 * MILLI) {
            let now = begin + step * 10 * MILLI;
            client.act(now, &mut here).unwrap();
            there.come.extend(std::mem::take(&mut here.out));
            server.act(now, &mut there).unwrap();
            here.come.extend(std::mem::take(&mut there.out));
        }
        (client.finish(end), server)
    }

    #[test]
    fn every_kind_of_circuit_gets_what_it_asks_for() {
        let pattern = pattern();
        let (seen, server) = run(&pattern);
        assert_eq!(server.begun, Some(seen.begun));
        // Each 50 ms, and the first of the idle time do not count.
        assert_eq!(seen.idle.len(), 2 * 24);
        assert_eq!(seen.loaded.len(), 2 * 100);
        assert!(
            seen.loaded
                .iter()
                .all(|&took| (10 * MILLI..=20 * MILLI).contains(&took))
        );
        assert_eq!(seen.unanswered, 0);
        // 3,000 octets each 10 ms for each circuit, in whole cells.
        for octets in seen.bulk {
            assert!((1_490_000..=1_500_000).contains(&octets), "{octets}");
        }
        // 50,000 octets take 17 steps and the way there.
        assert_eq!(seen.requests.len(), 5);
        assert!(
            seen.requests.iter().all(|&took| took == 170 * MILLI),
            "{:?}",
            seen.requests
        );
    }

    #[test]
    fn what_does_not_come_back_counts_with_what_is_known_of_it() {
        let pattern = Pattern {
            bulk: 0,
            requests: 0,
            quiet: 1,
            ..Pattern::default()
        };
        let mut client = Client::new(pattern.clone());
        let mut wire = Wire::default();
        for step in 0..pattern.length() / MILLI {
            client.act(SECOND + step * MILLI, &mut wire).unwrap();
            wire.out.clear();
        }
        let seen = client.finish(SECOND + pattern.length());
        assert_eq!(seen.unanswered, 100);
        assert_eq!(seen.loaded.len(), 100);
        assert!(seen.loaded.iter().all(|&took| took >= pattern.drain));
    }
}
