//! A TCP for each circuit, the library's, alone: no siblings that share anything, no scheduler but turns, a segment in each
//! datagram. What protects the datagrams and brings them over is another's.

use std::collections::{BTreeMap, VecDeque};

use utcp::pool::Pool;
use utcp::tcp::segment::Flags;
use utcp::tcp::seq::Seq;
use utcp::tcp::{Rejected, Settings, Tcb, reset_for};
use utcp::time::{SECOND, Time};
use utcp::tortp::{self, DATAGRAM_HEADER, MIN_SEGMENT_HEADER};

use super::transport::{Control, Failure};

/// Octets of send and receive buffer of a circuit.
const BUFFER: usize = 4 << 20;

/// Octets that a segment's header may have beyond the least, options not counted: a circuit's number of several octets.
const SPARE: usize = 4;

/// All circuits of one side.
pub struct Segments {
    settings: Settings,
    pool: Pool,
    is_client: bool,
    circuits: BTreeMap<u32, Tcb>,
    /// Circuits in the order of their turns.
    turns: VecDeque<u32>,
    /// Answers to segments that nobody wants.
    resets: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Segments {
    /// No circuits yet; `largest` octets of plaintext fit a datagram.
    pub fn new(control: Control, largest: usize, is_client: bool) -> Segments {
        Segments {
            settings: Settings {
                mss: (largest - DATAGRAM_HEADER - MIN_SEGMENT_HEADER - SPARE) as u16,
                send_buffer: BUFFER,
                receive_buffer: BUFFER,
                congestion: control.algorithm(),
                dead_timeout: 60 * SECOND,
                srtt: 0,
                rttvar: 0,
                ecn: false,
            },
            pool: Pool::new(1 << 30),
            is_client,
            circuits: BTreeMap::new(),
            turns: VecDeque::new(),
            resets: Vec::new(),
            buffer: vec![0; 65_536],
        }
    }

    fn iss(circuit: u32) -> Seq {
        Seq(circuit.wrapping_mul(0x9E37_79B9))
    }

    fn add(&mut self, circuit: u32, tcb: Tcb) {
        self.circuits.insert(circuit, tcb);
        self.turns.push_back(circuit);
    }

    /// A datagram's plaintext has come.
    pub fn receive(&mut self, now: Time, plain: &[u8]) {
        if tortp::check(plain).is_err() {
            return;
        }
        for (circuit, segment) in tortp::segments(plain) {
            if let Some(tcb) = self.circuits.get_mut(&circuit) {
                if let Err(Rejected::Answer(reset)) = tcb.receive(now, &mut self.pool, &segment) {
                    self.reset(circuit, &reset.segment());
                }
            } else if segment.flags.has(Flags::SYN)
                && !segment.flags.has(Flags::ACK)
                && !self.is_client
            {
                let iss = Segments::iss(circuit);
                let tcb = Tcb::accept(&self.settings, iss, now, &mut self.pool, &segment);
                self.add(circuit, tcb);
            } else if let Some(reset) = reset_for(&segment) {
                self.reset(circuit, &reset.segment());
            }
        }
    }

    fn reset(&mut self, circuit: u32, segment: &utcp::tcp::segment::Segment<'_>) {
        let mut out = Vec::new();
        tortp::begin(&mut out);
        tortp::encode(circuit, segment, &mut out);
        self.resets.push(out);
    }

    /// Does what is due.
    pub fn timers(&mut self, now: Time) {
        for tcb in self.circuits.values_mut() {
            if tcb.deadline() <= now {
                tcb.on_timer(now, &mut self.pool);
            }
        }
    }

    /// The plaintext of the next datagram, if one may be sent now.
    pub fn next(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        out.clear();
        if let Some(reset) = self.resets.pop() {
            out.extend_from_slice(&reset);
            return true;
        }
        for _ in 0..self.turns.len() {
            let circuit = self.turns[0];
            self.turns.rotate_left(1);
            let tcb = self.circuits.get_mut(&circuit).expect("it has a turn");
            let Some(plan) = tcb.plan(now, self.pool.available()) else {
                continue;
            };
            tortp::begin(out);
            tortp::encode_header(
                circuit,
                plan.flags,
                plan.seq,
                plan.ack,
                plan.window,
                &plan.options,
                plan.payload as u16,
                out,
            );
            tcb.payload(&plan, out);
            tcb.commit(now, &plan);
            return true;
        }
        // Nobody has more.
        self.circuits.values_mut().for_each(|tcb| tcb.settle(now));
        false
    }

    /// When something has to be done at the latest, after everything was sent.
    pub fn deadline(&self) -> Time {
        let deadlines = self.circuits.values().map(Tcb::deadline);
        deadlines.min().unwrap_or(Time::NEVER)
    }

    /// See [`super::transport::Transport::write`].
    ///
    /// # Errors
    /// If there is no such circuit, or it was reset.
    pub fn write(&mut self, circuit: u32, data: &[u8]) -> Result<usize, Failure> {
        if !self.circuits.contains_key(&circuit) {
            if !self.is_client {
                return Err(format!("no circuit {circuit}").into());
            }
            self.add(
                circuit,
                Tcb::open(&self.settings, Segments::iss(circuit), None),
            );
        }
        let tcb = self.circuits.get_mut(&circuit).expect("it was just made");
        match tcb.write(&mut self.pool, data) {
            Ok(taken) => Ok(taken),
            Err(utcp::error::Error::WouldBlock) => Ok(0),
            Err(error) => Err(format!("circuit {circuit}: {error}").into()),
        }
    }

    /// Whether a circuit can be written to that could not be.
    pub fn take_writable(&mut self) -> bool {
        let mut some = false;
        for tcb in self.circuits.values_mut() {
            some |= tcb.take_writable();
        }
        some
    }

    /// See [`super::transport::Transport::read`].
    ///
    /// # Errors
    /// If a circuit was reset.
    pub fn read(&mut self, to: &mut dyn FnMut(u32, &[u8])) -> Result<(), Failure> {
        for (&circuit, tcb) in &mut self.circuits {
            while tcb.readable() > 0 {
                let count = tcb
                    .read(&mut self.pool, &mut self.buffer)
                    .map_err(|error| format!("circuit {circuit}: {error}"))?;
                to(circuit, &self.buffer[..count]);
            }
            if let Some(reason) = tcb.close_reason() {
                return Err(format!("circuit {circuit}: {reason:?}").into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circuits_come_over_a_pipe_that_loses_some() {
        let [mut client, mut server] =
            [true, false].map(|is_client| Segments::new(Control::Cubic, 1_400, is_client));
        let data: Vec<u8> = (0..50_000u32).map(|n| (n % 251) as u8).collect();
        let (mut written, mut got) = ([0; 3], [const { Vec::new() }; 3]);
        let mut out = Vec::new();
        let mut count = 0;
        for step in 1..3_000 {
            let now = Time(step * 1_000);
            for (circuit, written) in written.iter_mut().enumerate() {
                *written += client
                    .write(circuit as u32 + 1, &data[*written..])
                    .unwrap_or(0);
            }
            let mut datagrams = [Vec::new(), Vec::new()];
            for (side, datagrams) in [&mut client, &mut server].into_iter().zip(&mut datagrams) {
                side.timers(now);
                while side.next(now, &mut out) {
                    assert!(out.len() <= 1_400);
                    count += 1;
                    if count % 10 != 0 {
                        datagrams.push(out.clone());
                    }
                }
            }
            let later = Time(now.0 + 500);
            datagrams[0]
                .iter()
                .for_each(|plain| server.receive(later, plain));
            datagrams[1]
                .iter()
                .for_each(|plain| client.receive(later, plain));
            server
                .read(&mut |circuit, part| got[circuit as usize - 1].extend_from_slice(part))
                .unwrap();
        }
        for got in got {
            assert!(got == data, "{} of {}", got.len(), data.len());
        }
    }

    #[test]
    fn a_server_opens_no_circuits_and_resets_what_it_does_not_know() {
        let mut server = Segments::new(Control::Cubic, 1_400, false);
        assert!(server.write(1, &[0; 10]).is_err());
        let mut client = Segments::new(Control::Cubic, 1_400, true);
        client.write(1, &[1; 10]).unwrap();
        let mut out = Vec::new();
        assert!(client.next(Time(1), &mut out));
        server.receive(Time(2), &out);
        server
            .read(&mut |circuit, data| assert_eq!((circuit, data), (1, &[1; 10][..])))
            .unwrap();
        // The next process knows nothing of it.
        let mut other = Segments::new(Control::Cubic, 1_400, false);
        assert!(server.next(Time(3), &mut out));
        client.receive(Time(4), &out);
        while client.next(Time(1_000_000), &mut out) {
            other.receive(Time(1_000_001), &out);
        }
        while other.next(Time(1_000_002), &mut out) {
            client.receive(Time(1_000_003), &out);
        }
        assert!(client.read(&mut |_, _| {}).is_err());
    }
}
