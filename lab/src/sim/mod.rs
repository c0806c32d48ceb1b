//! Whole networks in virtual time: relays and clients spread over the Earth, circuits of three hops, several transports
//! with the same inner TCP. `lab sim` runs them.
//!
//! ```text
//! geography   where nodes are, and how long light takes
//! layout      nodes, circuits, loads: the same for every transport
//! transport   what shares a TCP connection
//! fabric      links with rates, queues and losses
//! cell        what travels
//! net         endpoints of the library, relays that forward cells
//! client      what clients do, and what they measure
//! tap         what an entry relay sees
//! attack      how well a guess separates from chance
//! whole       a network under load
//! probe       the reconnaissance probe of the paper's §4.2
//! leak        the RTT leak of its §5.1.1
//! ```
//!
//! What is simulated is the library itself: each relay and client is an endpoint with DTLS. "Multiplexed" is the same
//! library with one circuit for all of Tor's circuits between two nodes, so that the transports differ in nothing but
//! what shares a TCP connection; what TLS over TCP adds to a packet is about what DTLS and TORTP add. UDP-OR has the
//! inner TCP at client and exit, and relays that forward datagrams.
//!
//! Exits have what they send: servers answer after a time of their own, and their rate is no limit. Relays take no time
//! to compute. A circuit's cells under way are limited from end to end as by Tor's stream window (500 cells), not by
//! its congestion control; with UDP-OR by TCP alone. Runs with the same seed are the same to the packet.

pub mod attack;
mod cell;
pub mod client;
pub mod fabric;
pub mod geography;
pub mod layout;
pub mod leak;
pub mod net;
pub mod probe;
mod tap;
#[cfg(test)]
mod tests;
pub mod transport;
pub mod whole;

use std::io;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use nix::time::{ClockId, clock_gettime};
use rayon::prelude::*;

use crate::bench::Figures;
use crate::results::run::Writer;
use crate::results::{Outcome, Run};
use crate::target::Target;
use transport::{ALL, Transport};

/// About how many minutes the short and the whole form take, on two cores.
pub const MINUTES: [f64; 2] = [1.5, 120.0];

/// A probe has a handful of victims for each seed, where the others have hundreds of circuits: it gets more seeds.
const PROBES: u64 = 3;

/// The simulator's figures are not held to anything by themselves: what they compare, the report shows.
pub fn targets(_run: &Run) -> Vec<Target> {
    Vec::new()
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The short form.
    pub quick: bool,
    /// The first seed.
    pub seed: u64,
    /// How many seeds.
    pub seeds: u64,
    /// Only experiments whose name contains one of these; all if empty.
    pub only: Vec<String>,
    /// Only transports whose name contains one of these; all if empty.
    pub transports: Vec<String>,
    /// Percent of packets lost.
    pub losses: Vec<f64>,
}

struct Job {
    experiment: &'static str,
    transport: Transport,
    at: Vec<(&'static str, f64)>,
    repetition: u32,
    /// How long it takes, beside others: the long ones are begun first.
    cost: f64,
    run: Box<dyn Fn() -> Figures + Send + Sync>,
}

fn jobs(plan: &Plan) -> Vec<Job> {
    let wanted = |all: &[String], name: &str| {
        all.is_empty() || all.iter().any(|o| name.contains(o.as_str()))
    };
    let (whole, probe, leak) = if plan.quick {
        (whole::QUICK, probe::QUICK, leak::QUICK)
    } else {
        (whole::FULL, probe::FULL, leak::FULL)
    };
    let mut jobs = Vec::new();
    for &transport in ALL.iter().filter(|t| wanted(&plan.transports, t.name)) {
        for &loss in &plan.losses {
            // The short form attacks only where the most is lost.
            let attacked = !plan.quick || plan.losses.iter().all(|l| *l <= loss);
            for number in 0..plan.seeds * PROBES {
                let seed = plan.seed + number;
                let mut add =
                    |experiment, at, cost, run: Box<dyn Fn() -> Figures + Send + Sync>| {
                        let seeds = if experiment == "sim-probe" {
                            plan.seeds * PROBES
                        } else {
                            plan.seeds
                        };
                        let here = attacked || experiment == "sim-network";
                        if wanted(&plan.only, experiment) && here && number < seeds {
                            jobs.push(Job {
                                experiment,
                                transport,
                                at,
                                repetition: number as u32 + 1,
                                cost,
                                run,
                            });
                        }
                    };
                let at = |relays: usize, circuits: usize| {
                    vec![
                        ("loss_percent", loss),
                        ("relays", relays as f64),
                        ("circuits", circuits as f64),
                    ]
                };
                add(
                    "sim-network",
                    at(whole.relays, whole.circuits),
                    10.0,
                    Box::new(move || whole::run(whole, transport, loss, seed)),
                );
                add(
                    "sim-probe",
                    at(probe.relays, probe.victims),
                    3.0,
                    Box::new(move || probe::run(probe, transport, loss, seed)),
                );
                add(
                    "sim-rtt-leak",
                    at(leak.relays, leak.circuits),
                    2.0,
                    Box::new(move || leak::run(leak, transport, loss, seed)),
                );
            }
        }
    }
    jobs.sort_by(|a, b| b.cost.total_cmp(&a.cost));
    jobs
}

/// Seconds that this thread has computed.
fn computed() -> f64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(0.0, |t| t.tv_sec() as f64 + t.tv_nsec() as f64 / 1e9)
}

/// Runs everything on all cores; each outcome is written as soon as it is there.
///
/// # Errors
/// What the file system says.
pub fn run(plan: &Plan, writer: &mut Writer) -> io::Result<()> {
    let jobs = jobs(plan);
    if jobs.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "nothing is called so; experiments are network, probe and rtt-leak",
        ));
    }
    let total: f64 = jobs.iter().map(|job| job.cost).sum();
    let bar = ProgressBar::new(total as u64);
    let style =
        ProgressStyle::with_template("{wide_bar} {percent}% {elapsed}, about {eta} to go: {msg}");
    bar.set_style(style.expect("a template"));
    let writer = Mutex::new(writer);
    jobs.par_iter().with_max_len(1).try_for_each(|job| {
        let before = computed();
        let mut figures = (job.run)();
        figures.push(("run_cpu_s", computed() - before));
        bar.inc(job.cost as u64);
        bar.set_message(format!("{}, {}", job.experiment, job.transport.name));
        let named =
            |all: &[(&'static str, f64)]| all.iter().map(|(n, v)| (n.to_string(), *v)).collect();
        let outcome = Outcome {
            experiment: job.experiment.into(),
            variant: job.transport.name.into(),
            at: named(&job.at),
            repetition: job.repetition,
            figures: named(&figures),
            refused: None,
        };
        writer
            .lock()
            .expect("nobody panicked with it")
            .outcome(outcome)
    })?;
    bar.finish_and_clear();
    Ok(())
}
