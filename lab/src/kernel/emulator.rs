//! Paths of two ends with the kernel or utcp's TCP at each, carried by the lab's emulator.

use std::io;

use utcp::time::Time;

use super::inner::Inner;
use crate::emulate::carrier::{Carrier, Local};
use crate::emulate::host::MTU;
use crate::emulate::link::{Link, Nanos};
use crate::emulate::network::Network;

pub use crate::emulate::carrier::{Clock, Lateness, own_time};

/// The library counts microseconds.
fn micros(now: Nanos) -> Time {
    Time(now / 1_000)
}

/// What uses the TCP of an end inside this process.
pub trait App: Send {
    /// Reads, writes, ends as it likes. Called after each arrival, after timers, and each 10 ms.
    fn act(&mut self, now: Nanos, tcp: &mut Inner);
}

/// utcp's TCP with what uses it.
pub struct Ours {
    tcp: Inner,
    app: Box<dyn App>,
    deadline: Time,
    touched: bool,
}

impl Ours {
    /// The connection's counters.
    pub fn info(&self) -> utcp::stats::CircuitInfo {
        self.tcp.info()
    }
}

impl Local for Box<Ours> {
    fn arrive(&mut self, now: Nanos, packet: &[u8]) {
        self.tcp.inject(micros(now), packet);
        self.touched = true;
    }

    /// The application, and then what TCP has to send.
    fn round(&mut self, now: Nanos, out: &mut Vec<Vec<u8>>) {
        self.app.act(now, &mut self.tcp);
        self.tcp.poll(micros(now), out);
        debug_assert!(out.iter().all(|packet| packet.len() <= MTU));
        self.deadline = self.tcp.deadline(micros(now));
        // Where something was sent there may be room to write again.
        self.touched = !out.is_empty();
    }

    fn due(&self) -> Nanos {
        if self.touched {
            return 0;
        }
        self.deadline.0.saturating_mul(1_000)
    }
}

/// One end of a path.
pub type End = crate::emulate::carrier::End<Box<Ours>>;

impl End {
    /// utcp, used by `app`.
    pub fn ours(tcp: Inner, app: impl App + 'static) -> End {
        End::Local(Box::new(Ours {
            tcp,
            app: Box::new(app),
            deadline: Time(0),
            touched: true,
        }))
    }
}

/// Two ends, and what lies between them: `links[0]` leads from `ends[0]` to `ends[1]`.
pub struct Path {
    /// See above.
    pub ends: [End; 2],
    /// See above.
    pub links: [Link; 2],
}

/// Paths that one thread carries.
pub struct Paths(Carrier<Box<Ours>>);

impl Paths {
    /// Nothing was carried yet.
    pub fn new(paths: impl IntoIterator<Item = Path>) -> Paths {
        let (ends, links): (Vec<_>, Vec<_>) = paths
            .into_iter()
            .map(|path| (path.ends, path.links))
            .unzip();
        Paths(Carrier::new(
            ends.into_iter().flatten().collect(),
            Network::pairs(links),
        ))
    }

    /// Carries packets until `over` says so; it is asked every 10 ms at least.
    ///
    /// # Errors
    /// If a TUN device cannot be read or waited for.
    pub fn run(
        &mut self,
        clock: &Clock,
        mut over: impl FnMut(Nanos) -> bool,
    ) -> io::Result<Lateness> {
        self.0.run(clock, None, |now, _| over(now))?;
        Ok(self.0.lateness.clone())
    }

    /// An end of a path.
    pub fn end(&self, path: usize, side: usize) -> &End {
        &self.0.ends[2 * path + side]
    }

    /// The links of a path.
    pub fn links(&self, path: usize) -> [&Link; 2] {
        [0, 1].map(|way| self.0.network.link(2 * path + way))
    }
}
