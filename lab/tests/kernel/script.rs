//! What utcp's end does in a test, and what it saw.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use utcp::error::CloseReason;
use utcp::tcp::State;
use utcp_lab::emulate::link::Nanos;
use utcp_lab::kernel::emulator::App;
use utcp_lab::kernel::inner::{Inner, Read};
use utcp_lab::rng::mix;

/// Which of the two streams of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    FromKernel = 1,
    FromOurs = 2,
}

impl Stream {
    /// The octets from `position` on: each depends on where it stands, and the two streams differ.
    pub fn fill(self, position: u64, buffer: &mut [u8]) {
        for (octet, at) in buffer.iter_mut().zip(position..) {
            *octet = (mix((at / 8) << 8 | self as u64) >> (8 * (at % 8))) as u8;
        }
    }

    /// Whether `data` is what stands at `position`.
    pub fn matches(self, position: u64, data: &[u8]) -> bool {
        let mut wanted = vec![0; data.len()];
        self.fill(position, &mut wanted);
        wanted == data
    }
}

/// When utcp's end finishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    #[default]
    Never,
    /// As soon as everything is written.
    AfterSending,
    /// Once the kernel has finished and everything is written.
    AfterEnd,
}

/// What utcp's end has seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub received: u64,
    pub written: u64,
    /// An octet was not what it should be.
    pub wrong: bool,
    /// The kernel has finished.
    pub ended: bool,
    /// The connection broke.
    pub broken: bool,
    pub state: Option<State>,
    pub reason: Option<CloseReason>,
    pub retransmitted: u64,
    pub timeouts: u64,
    pub answers: u64,
}

/// A switch that the test turns.
#[derive(Clone, Debug, Default)]
pub struct Switch(Arc<AtomicBool>);

impl Switch {
    pub fn on() -> Switch {
        let switch = Switch::default();
        switch.turn_on();
        switch
    }
    pub fn turn_on(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Script {
    /// Octets of `Stream::FromOurs` to write.
    pub send: u64,
    /// Waits with writing until the connection is established.
    pub patient: bool,
    /// Waits with writing until the kernel has finished.
    pub after_end: bool,
    /// Reads while this is on.
    pub reading: Switch,
    pub finish: Finish,
    /// Resets the connection when this is on.
    pub abort: Switch,
    /// Asks so often for an answer: requests are parts of `Stream::FromOurs`, answers are their echo.
    pub requests: u64,
    /// Writes what it reads.
    pub echo: bool,
    pub report: Arc<Mutex<Report>>,
    /// Read and not yet echoed.
    pub pending: Vec<u8>,
    /// Answers received completely.
    pub answered: u64,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            send: 0,
            patient: false,
            after_end: false,
            reading: Switch::on(),
            finish: Finish::Never,
            abort: Switch::default(),
            requests: 0,
            echo: false,
            report: Arc::default(),
            pending: Vec::new(),
            answered: 0,
        }
    }
}

/// The length of a request.
pub fn request_len(number: u64) -> u64 {
    1 + mix(number) % 5_000
}

impl Script {
    /// Sends `octets`, and finishes then.
    pub fn sends(octets: u64) -> Script {
        Script {
            send: octets,
            finish: Finish::AfterSending,
            ..Script::default()
        }
    }

    fn read(&mut self, tcp: &mut Inner, report: &mut Report) {
        let mut buffer = [0; 16_384];
        // What is to be echoed is not taken without bound.
        while self.reading.is_on() && self.pending.len() < 65_536 {
            match tcp.read(&mut buffer) {
                Read::Data(n) => {
                    let stream = if self.requests > 0 {
                        Stream::FromOurs
                    } else {
                        Stream::FromKernel
                    };
                    report.wrong |= !stream.matches(report.received, &buffer[..n]);
                    report.received += n as u64;
                    if self.echo {
                        self.pending.extend_from_slice(&buffer[..n]);
                    }
                }
                Read::Nothing => break,
                Read::End => {
                    report.ended = true;
                    break;
                }
                Read::Broken => {
                    report.broken = true;
                    break;
                }
            }
        }
    }

    fn write(&mut self, tcp: &mut Inner, report: &mut Report) {
        while self.answered < self.requests && report.received == self.send {
            // The last answer is complete: ask again.
            if self.send > 0 {
                self.answered += 1;
                report.answers = self.answered;
            }
            if self.answered < self.requests {
                self.send += request_len(self.answered);
            }
            if report.received < self.send {
                break;
            }
        }
        if !self.pending.is_empty() {
            let n = tcp.write(&self.pending);
            self.pending.drain(..n);
            report.written += n as u64;
        }
        let mut buffer = [0; 16_384];
        while report.written < self.send && !self.echo {
            let n = (self.send - report.written).min(buffer.len() as u64) as usize;
            Stream::FromOurs.fill(report.written, &mut buffer[..n]);
            let taken = tcp.write(&buffer[..n]);
            report.written += taken as u64;
            if taken < n {
                break;
            }
        }
    }
}

impl App for Script {
    fn act(&mut self, _: Nanos, tcp: &mut Inner) {
        let shared = self.report.clone();
        let mut report = shared.lock().expect("nobody panics with it");
        self.read(tcp, &mut report);
        let may_write =
            (!self.patient || tcp.is_established()) && (!self.after_end || report.ended);
        if may_write && tcp.state().is_some() {
            self.write(tcp, &mut report);
        }
        if self.abort.is_on() {
            tcp.abort();
        }
        let written = self.pending.is_empty()
            && (report.written >= self.send || self.echo)
            && self.answered == self.requests;
        let due = match self.finish {
            Finish::Never => false,
            Finish::AfterSending => written,
            Finish::AfterEnd => written && report.ended,
        };
        if due {
            tcp.finish();
        }
        report.state = tcp.state();
        report.reason = tcp.reason();
        let info = tcp.info();
        report.retransmitted = info.segments_retransmitted;
        report.timeouts = info.timeouts;
    }
}
