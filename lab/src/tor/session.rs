//! What every experiment has at hand: the network, the server, lengths, and the means to measure.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::network::{DESTINATION, Net, Set};
use super::server::{Clock, Request, Server};
use super::traffic::{Flow, Sample, probe, receive};
use crate::emulate::{LinkSettings, Summary, Verdict};
use crate::figures::{jain, quantile};
use crate::results::Series;

/// Time between two probes: more than the round trip and a delayed acknowledgement take, on a circuit or to the guard. Tor
/// does not set TCP_NODELAY, so that at shorter distances a probe waits until the one before is acknowledged on the
/// client's connection to its guard, and one late answer makes the next five late.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// How long answers are waited for after a window.
const GRACE: f64 = 1.0;

/// Nodes that wait longer for a processor, on average, show the machine and not the transport: a cell there and back is
/// handled about ten times.
const MOST_WAIT_MS: f64 = 1.0;

/// How long the parts of an experiment take, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lengths {
    /// Probes alone.
    pub idle: f64,
    /// Traffic that is not measured yet.
    pub settle: f64,
    /// Traffic that is.
    pub measure: f64,
}

impl Lengths {
    /// For the record.
    pub const FULL: Lengths = Lengths {
        idle: 6.0,
        settle: 6.0,
        measure: 40.0,
    };
    /// The short form.
    pub const QUICK: Lengths = Lengths {
        idle: 2.0,
        settle: 2.5,
        measure: 6.5,
    };
    /// Only to see that everything works.
    pub const SMOKE: Lengths = Lengths {
        idle: 1.0,
        settle: 1.0,
        measure: 2.0,
    };

    /// All of it, with what circuits and streams take.
    pub fn total(&self) -> f64 {
        self.idle + self.settle + self.measure + 2.5
    }
}

/// What one repetition gave.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// By name.
    pub figures: BTreeMap<String, f64>,
    /// Only `name`, `points` and `events` are set.
    pub series: Vec<Series>,
}

impl Measured {
    /// Adds a figure.
    pub fn set(&mut self, name: &str, value: f64) {
        // What is not a number cannot be written, and says nothing.
        if value.is_finite() {
            self.figures.insert(name.to_string(), value);
        }
    }

    /// Adds `NAME_ms` (the mean), and `NAME_p50_ms`, `_p90_ms`, `_p99_ms`; nothing if there are no values.
    pub fn set_delays(&mut self, name: &str, delays: &[f64]) {
        if delays.is_empty() {
            return;
        }
        self.set(
            &format!("{name}_ms"),
            delays.iter().sum::<f64>() / delays.len() as f64,
        );
        for (part, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            self.set(&format!("{name}_{part}_ms"), quantile(delays, share));
        }
    }

    /// Adds `delay_ratio`: `delay_ms` over `base_ms`, if there are both.
    pub fn set_ratio(&mut self) {
        if let (Some(delay), Some(base)) =
            (self.figures.get("delay_ms"), self.figures.get("base_ms"))
        {
            let ratio = delay / base;
            self.set("delay_ratio", ratio);
        }
    }

    /// Adds what all downloads together, and one of them, carried: `network_mbit`, `circuit_mbit`, `jain`.
    pub fn set_rates(&mut self, rates: &[f64]) {
        let sum: f64 = rates.iter().sum();
        self.set("network_mbit", sum);
        self.set("circuit_mbit", sum / rates.len().max(1) as f64);
        self.set("jain", jain(rates));
    }

    /// Adds a series.
    pub fn add_series(&mut self, name: &str, points: Vec<(f64, f64)>, events: bool) {
        self.series.push(Series {
            name: name.to_string(),
            points,
            events,
            ..Series::default()
        });
    }
}

/// A span of the clock, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// It begins.
    pub begin: f64,
    /// It ends.
    pub end: f64,
}

impl Window {
    fn has(self, at: f64) -> bool {
        (self.begin..self.end).contains(&at)
    }

    /// Mbit/s of what arrived in it.
    pub fn mbit(self, samples: &[Sample]) -> f64 {
        let within = samples.iter().filter(|sample| self.has(sample.at));
        let octets: u64 = within.map(|sample| sample.octets).sum();
        octets as f64 * 8.0 / 1e6 / (self.end - self.begin)
    }

    /// Delays in it.
    pub fn delays(self, samples: &[Sample]) -> Vec<f64> {
        let within = samples.iter().filter(|sample| self.has(sample.at));
        within.map(|sample| sample.delay_ms).collect()
    }
}

/// A circuit of a client.
#[derive(Clone, Debug)]
pub struct Circuit {
    /// The number of the client.
    pub client: usize,
    /// What Tor calls it.
    pub id: String,
}

/// See the module.
pub struct Session {
    /// The network.
    pub net: Net,
    /// On the destination's host.
    pub server: Server,
    /// Of all stamps.
    pub clock: Clock,
    /// How long everything takes.
    pub lengths: Lengths,
    /// Set from outside when everything is to end.
    pub ends: Arc<AtomicBool>,
    counted: Summary,
    /// Of all nodes together: time they waited for a processor, and how often they got one.
    waited: (f64, u64),
}

/// Whether a repetition counts.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// About the emulator.
    pub emulator: Verdict,
    /// How long nodes waited for a processor, on average, each time they had something to do, in milliseconds.
    pub waited_ms: f64,
}

impl Judgement {
    /// Why it does not count, if it does not.
    pub fn refused(&self) -> Option<String> {
        if self.emulator.overloaded {
            return Some(format!("the emulator was {}", self.emulator));
        }
        (self.waited_ms > MOST_WAIT_MS).then(|| {
            format!(
                "the machine is busy: Tor waited {:.2} ms for a processor each time",
                self.waited_ms
            )
        })
    }
}

/// Milliseconds that nodes waited for a processor, on average, each time they had something to do; from seconds that they
/// have waited all together, and how often they got a processor, before and after.
fn waited_ms(before: (f64, u64), after: (f64, u64)) -> f64 {
    let slices = after.1.saturating_sub(before.1).max(1);
    (after.0 - before.0) / slices as f64 * 1e3
}

impl Session {
    /// A session in a network.
    ///
    /// # Errors
    /// If the server cannot listen.
    pub fn new(net: Net, lengths: Lengths, ends: Arc<AtomicBool>) -> io::Result<Session> {
        let clock = Clock::start();
        let host = net.emulator.host(DESTINATION)?;
        let server = Server::start(host, net.emulator.address(DESTINATION)?, clock)?;
        Ok(Session {
            net,
            server,
            clock,
            lengths,
            ends,
            counted: Summary::default(),
            waited: (0.0, 0),
        })
    }

    /// Waits.
    ///
    /// # Errors
    /// If everything is to end, or a node has.
    pub fn sleep(&mut self, seconds: f64) -> Result<(), Box<dyn Error>> {
        let end = self.clock.seconds() + seconds;
        loop {
            if self.ends.load(Ordering::Relaxed) {
                return Err("interrupted".into());
            }
            let left = end - self.clock.seconds();
            if left <= 0.0 {
                break;
            }
            thread::sleep(Duration::from_secs_f64(left.min(0.2)));
        }
        self.net.check_alive()
    }

    /// Waits for `seconds`; gives the span, of which everything that was sent has had time to arrive.
    ///
    /// # Errors
    /// As [`Session::sleep`].
    pub fn window(&mut self, seconds: f64) -> Result<Window, Box<dyn Error>> {
        let begin = self.clock.seconds();
        self.sleep(seconds)?;
        let end = self.clock.seconds();
        Ok(Window { begin, end })
    }

    /// Time for answers to what was sent within a window.
    ///
    /// # Errors
    /// As [`Session::sleep`].
    pub fn grace(&mut self) -> Result<(), Box<dyn Error>> {
        self.sleep(GRACE)
    }

    /// Counters and lateness of the emulator are about what comes from now on.
    ///
    /// # Errors
    /// If the emulator has ended.
    pub fn begin_counting(&mut self) -> io::Result<()> {
        self.counted = self.net.emulator.counters()?;
        self.waited = self.net.waited()?;
        self.net.emulator.judge_anew()
    }

    /// Adds what the emulator did since [`Session::begin_counting`]: `effective_drop_percent` (of all packets between
    /// relays and clients, the share that was lost at random, the paper's figure), `queue_drop_percent` (the share that
    /// found a queue full), `packets`, and how well it did it: `emulator_late_p99_ms`, `emulator_cpu_percent`. And `processor_wait_ms`, how
    /// long nodes waited for a processor each time they had something to do.
    ///
    /// # Errors
    /// If the emulator has ended.
    pub fn end_counting(&mut self, measured: &mut Measured) -> io::Result<Judgement> {
        let verdict = self.net.emulator.verdict()?;
        let now = self.net.emulator.counters()?;
        let mut sums = [0u64; 3];
        for link in now
            .links
            .iter()
            .filter(|link| link.from != DESTINATION && link.to != DESTINATION)
        {
            let before = self
                .counted
                .links
                .iter()
                .find(|old| old.from == link.from && old.to == link.to);
            let before = before.map(|old| old.counters).unwrap_or_default();
            sums[0] += link.counters.entered - before.entered;
            sums[1] += link.counters.lost - before.lost;
            sums[2] += link.counters.overflowed - before.overflowed;
        }
        let [entered, lost, overflowed] = sums.map(|sum| sum as f64);
        measured.set("packets", entered);
        measured.set("effective_drop_percent", lost / entered.max(1.0) * 100.0);
        measured.set("queue_drop_percent", overflowed / entered.max(1.0) * 100.0);
        measured.set("emulator_late_p99_ms", verdict.late_p99_ms);
        measured.set("emulator_cpu_percent", verdict.processor * 100.0);
        let waited_ms = waited_ms(self.waited, self.net.waited()?);
        measured.set("processor_wait_ms", waited_ms);
        Ok(Judgement {
            emulator: verdict,
            waited_ms,
        })
    }

    /// Builds circuits of clients over paths, all at once; gives them in the same order.
    ///
    /// # Errors
    /// The first that was not built.
    pub fn circuits(&self, wanted: &[(usize, Vec<String>)]) -> io::Result<Vec<Circuit>> {
        let net = &self.net;
        let build = |client: usize, path: &[String]| {
            let id = net.circuit(client, path)?;
            Ok(Circuit { client, id })
        };
        thread::scope(|scope| {
            let all: Vec<_> = wanted
                .iter()
                .map(|(client, path)| scope.spawn(move || build(*client, path)))
                .collect();
            all.into_iter()
                .map(|one| one.join().expect("it does not panic"))
                .collect()
        })
    }

    /// Closes circuits.
    pub fn close(&self, circuits: &[Circuit]) {
        for circuit in circuits {
            self.net.client(circuit.client).close(&circuit.id);
        }
    }

    /// Echo probes on each circuit, every 100 ms.
    ///
    /// # Errors
    /// If a stream is not attached.
    pub fn probes(&self, circuits: &[Circuit]) -> io::Result<Vec<Flow>> {
        let start = |circuit: &Circuit| {
            let Circuit { client, id } = circuit;
            probe(
                &self.net,
                *client,
                id,
                &self.server,
                PROBE_EVERY,
                self.clock,
            )
        };
        circuits.iter().map(start).collect()
    }

    /// Stamped cells on each circuit, as fast as they are taken.
    ///
    /// # Errors
    /// If a stream is not attached.
    pub fn bulk(&self, circuits: &[Circuit]) -> io::Result<Vec<Flow>> {
        let start = |circuit| self.receive(circuit, Request::Stamps(0));
        circuits.iter().map(start).collect()
    }

    /// What is asked for, on a circuit.
    ///
    /// # Errors
    /// If the stream is not attached.
    pub fn receive(&self, circuit: &Circuit, request: Request) -> io::Result<Flow> {
        let Circuit { client, id } = circuit;
        receive(&self.net, *client, id, &self.server, request, self.clock)
    }

    /// Links between neighbours on a path are of a kind, in both directions.
    ///
    /// # Errors
    /// If there are no such hosts.
    pub fn set_links(
        &mut self,
        pairs: &[(String, String)],
        settings: &LinkSettings,
    ) -> io::Result<()> {
        pairs
            .iter()
            .try_for_each(|(a, b)| self.net.set_link(a, b, settings))
    }
}

/// Ends flows; gives the samples of each.
///
/// # Errors
/// The first that failed.
pub fn end_all(flows: Vec<Flow>) -> io::Result<Vec<Vec<Sample>>> {
    // All at once: what one still brings while another ends belongs to nothing.
    flows.into_iter().map(Flow::end).collect()
}

/// A path over relays of a set, by their numbers.
pub fn path(set: Set, numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(|number| set.relay(*number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(late: bool, waited_ms: f64) -> Judgement {
        let emulator = Verdict {
            late_p50_ms: 0.1,
            late_p99_ms: 0.2,
            late_p999_ms: 0.3,
            late_max_ms: 0.4,
            limit_ms: 1.0,
            packets: 1_000,
            device_drops: 0,
            processor: 0.1,
            overloaded: late,
        };
        Judgement {
            emulator,
            waited_ms,
        }
    }

    #[test]
    fn what_starved_for_a_processor_does_not_count() {
        assert_eq!(judgement(false, 0.05).refused(), None);
        assert_eq!(judgement(false, MOST_WAIT_MS).refused(), None);
        let why = judgement(false, 1.5 * MOST_WAIT_MS).refused().unwrap();
        assert!(why.contains("waited 1.50 ms for a processor"), "{why}");
        // The emulator's own lateness is said first.
        let why = judgement(true, 1.5 * MOST_WAIT_MS).refused().unwrap();
        assert!(why.contains("the emulator was late"), "{why}");
    }

    #[test]
    fn waiting_is_what_came_since_then_for_each_time() {
        // 3 s more, 2,000 times more often.
        assert_eq!(waited_ms((5.0, 1_000), (8.0, 3_000)), 1.5);
        assert_eq!(waited_ms((5.0, 1_000), (5.0, 1_000)), 0.0);
    }
}
