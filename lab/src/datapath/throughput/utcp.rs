//! utcp through its C API: circuits of one connection, each always with something to send.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

use super::{CHUNK, Half, Progress};
use crate::datapath::capi::{self, Application, Circuit, Connection, RECEIVE_BUFFER, Relay};
use crate::datapath::{clock, udp};

/// Datagrams that are read before timers are looked at.
const LIMIT: usize = 512;

/// The largest window of each circuit: all circuits together fill no socket's buffer.
const WINDOW: u64 = 128 << 10;

struct Writer {
    circuits: u32,
    chunk: Vec<u8>,
}

impl Writer {
    fn fill(&self, circuit: Circuit) {
        while capi::write(circuit, &self.chunk) == self.chunk.len() {}
    }
}

impl Application for Writer {
    fn ready(&mut self, connection: Connection) {
        for number in 1..=self.circuits {
            self.fill(capi::open(connection, number));
        }
    }

    fn writable(&mut self, circuit: Circuit) {
        self.fill(circuit);
    }
}

struct Reader {
    progress: Progress,
    buffer: Vec<u8>,
}

impl Application for Reader {
    fn readable(&mut self, circuit: Circuit) {
        loop {
            let n = capi::read(circuit, &mut self.buffer);
            if n == 0 {
                break;
            }
            self.progress.fetch_add(n as u64, Ordering::Relaxed);
        }
    }
}

impl<A: Application + Send> Half for Relay<A> {
    fn turn(&mut self, now: u64) -> bool {
        let received = self.receive(now, LIMIT);
        if received == 0 && self.deadline() <= now {
            self.process(now);
            return true;
        }
        received > 0
    }

    fn fd(&self) -> RawFd {
        Relay::fd(self)
    }

    fn deadline(&self) -> u64 {
        Relay::deadline(self)
    }
}

/// Both ends; the application writes `chunk` octets at once.
pub fn pair(circuits: u32, chunk: usize, progress: &Progress) -> [Box<dyn Half>; 2] {
    let options = [(RECEIVE_BUFFER, WINDOW)];
    let writer = Writer {
        circuits,
        chunk: vec![7; chunk],
    };
    let reader = Reader {
        progress: progress.clone(),
        buffer: vec![0; CHUNK],
    };
    let mut sender = Relay::new(udp(), &options, writer);
    let receiver = Relay::new(udp(), &options, reader);
    sender.connect(clock::micros(), receiver.address());
    sender.process(clock::micros());
    [Box::new(sender), Box::new(receiver)]
}
