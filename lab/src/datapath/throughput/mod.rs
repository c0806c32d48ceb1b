//! Payload octets per CPU second, both ends counted, over real sockets on loopback: one contestant after the other in
//! each round, so that what disturbs the machine disturbs all of them.

pub mod dtls;
pub mod quinn;
pub mod tls;
pub mod tokio;
pub mod utcp;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{clock, socket};

/// Octets handed over by one call of the application, to each contestant.
pub const CHUNK: usize = 16 << 10;

/// The longest that a thread sleeps before it looks whether the measurement is over, microseconds.
const LOOK: u64 = 5_000;

/// Payload that has arrived.
pub type Progress = Arc<AtomicU64>;

/// One end of a flow.
pub trait Half: Send {
    /// Does what can be done now without waiting; whether that was anything.
    fn turn(&mut self, now: u64) -> bool;
    /// What to wait on when there is nothing to do.
    fn fd(&self) -> RawFd;
    /// Whether to wait for room to write, too.
    fn wants_room(&self) -> bool {
        false
    }
    /// When to come back at the latest, microseconds.
    fn deadline(&self) -> u64 {
        u64::MAX
    }
}

/// How many threads the two ends have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Both ends in one.
    One,
    /// One for each.
    Two,
}

/// What is measured: from `begin` octets of payload on, to `end`.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Where slow start is over.
    pub begin: u64,
    /// Where the measurement ends.
    pub end: u64,
}

impl Span {
    /// Octets per CPU second if it took so many nanoseconds.
    fn rate(self, nanos: u64) -> f64 {
        (self.end - self.begin) as f64 * 1e9 / nanos as f64
    }
}

fn wait(halves: &[&mut dyn Half]) {
    let now = clock::micros();
    let due = halves.iter().map(|half| half.deadline()).min();
    let span = due.unwrap_or(u64::MAX).saturating_sub(now).min(LOOK);
    if span == 0 {
        return;
    }
    let sockets: Vec<(RawFd, bool)> = halves
        .iter()
        .map(|half| (half.fd(), half.wants_room()))
        .collect();
    socket::wait(&sockets, span as u32 * 1_000);
}

/// CPU time of a thread within the span. Belongs to that thread.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    span: Span,
    /// CPU time and octets when the beginning was seen.
    begin: Option<(u64, u64)>,
    /// Nanoseconds, once the end was seen.
    pub nanos: Option<u64>,
}

impl Meter {
    /// Before the beginning.
    pub fn new(span: Span) -> Meter {
        Meter {
            span,
            begin: None,
            nanos: None,
        }
    }

    /// So much has arrived by now.
    pub fn look(&mut self, arrived: u64) {
        let span = self.span;
        if arrived < span.begin || self.nanos.is_some() {
            return;
        }
        let (cpu, from) = *self.begin.get_or_insert_with(|| (clock::cpu(), arrived));
        if arrived >= span.end {
            // Beginning and end are seen a little late.
            let part = (span.end - span.begin) as f64 / (arrived - from).max(1) as f64;
            self.nanos = Some(((clock::cpu() - cpu) as f64 * part) as u64);
        }
    }
}

/// Lets these ends work until all has arrived; returns the CPU time in nanoseconds that this thread spent on it within
/// the span.
fn drive(halves: &mut [&mut dyn Half], progress: &Progress, span: Span) -> u64 {
    let mut meter = Meter::new(span);
    loop {
        meter.look(progress.load(Ordering::Relaxed));
        if let Some(nanos) = meter.nanos {
            return nanos;
        }
        let now = clock::micros();
        let mut busy = false;
        for half in halves.iter_mut() {
            busy |= half.turn(now);
        }
        if !busy {
            wait(halves);
        }
    }
}

/// Payload octets per CPU second of one run.
pub fn run(
    mut sender: Box<dyn Half>,
    mut receiver: Box<dyn Half>,
    progress: &Progress,
    threads: Threads,
    span: Span,
) -> f64 {
    let nanos = match threads {
        Threads::One => drive(&mut [&mut *sender, &mut *receiver], progress, span),
        Threads::Two => thread::scope(|scope| {
            let other = scope.spawn(|| drive(&mut [&mut *receiver], progress, span));
            drive(&mut [&mut *sender], progress, span) + other.join().expect("no panic")
        }),
    };
    span.rate(nanos)
}
