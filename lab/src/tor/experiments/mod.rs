//! The experiments, one file each.

use std::collections::BTreeMap;
use std::error::Error;

use super::network::{Kernel, Set};
use super::programs::{Program, Release};
use super::session::{Judgement, Lengths, Measured, Session};
use super::torrc::Windows;

pub mod basic;
pub mod mixed;
pub mod picture;
pub mod queues;
pub mod relays;
pub mod shared;
pub mod volume;
pub mod web;

/// Rate of the links, in Mbit/s, where nothing else is said.
pub const RATE_MBIT: f64 = 40.0;
/// One-way delay of the links, in milliseconds: 50 there and back, as in the paper.
pub const DELAY_MS: f64 = 25.0;

/// One experiment, once.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Experiment 3, with links of so many Mbit/s; 0 is no limit, as in the paper.
    Basic(f64),
    /// Experiment 1.
    Shared(shared::Loss),
    /// Figure 1.
    Queues,
    /// Figure 2.
    Picture,
    /// Time to first and last octet of web-like downloads.
    Web,
    /// Latency by volume.
    Volume,
    /// So many of the four relays are patched; the set does not matter.
    Mixed(usize),
    /// What relays hold.
    Relays,
}

/// What is to be measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Which release of Tor.
    pub release: Release,
    /// How circuits are controlled from end to end.
    pub windows: Windows,
    /// On which relays.
    pub set: Set,
    /// What.
    pub work: Work,
}

impl Task {
    /// The name of the experiment.
    pub fn experiment(&self) -> &'static str {
        match self.work {
            Work::Basic(_) => "tor-3-basic",
            Work::Shared(_) => "tor-1-shared",
            Work::Queues => "tor-figure-1-queues",
            Work::Picture => "tor-figure-2-circuits",
            Work::Web => "tor-web",
            Work::Volume => "tor-volume",
            Work::Mixed(_) => "tor-mixed",
            Work::Relays => "tor-relays",
        }
    }

    /// Who takes part: `patched, vegas, cubic`, or `patched 0.2.0.35, fixed, cubic`. The last word is the congestion
    /// control of the kernel, the one before that of Tor's circuits.
    pub fn variant(&self) -> String {
        let name = variant(
            self.release,
            self.set.program,
            self.windows,
            self.set.kernel,
        );
        match self.work {
            Work::Mixed(_) => name.replacen(self.set.program.name(), "mixed", 1),
            _ => name,
        }
    }

    /// Where.
    pub fn at(&self) -> BTreeMap<String, f64> {
        let at = match &self.work {
            Work::Basic(rate) => vec![("rate_mbit", *rate)],
            Work::Shared(loss) => vec![
                ("loss_shared_percent", loss.shared),
                ("loss_remaining_percent", loss.remaining),
                ("rate_mbit", loss.rate),
            ],
            Work::Queues => vec![
                ("loss_shared_percent", queues::LOSS.shared),
                ("rate_mbit", queues::LOSS.rate),
            ],
            Work::Mixed(patched) => vec![
                (
                    "patched_percent",
                    *patched as f64 / mixed::PLACES as f64 * 100.0,
                ),
                ("loss_percent", mixed::LOSS_PERCENT),
                ("rate_mbit", RATE_MBIT),
            ],
            Work::Picture | Work::Relays => vec![],
            Work::Web | Work::Volume => vec![("rate_mbit", RATE_MBIT)],
        };
        at.into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect()
    }

    /// Does it.
    ///
    /// # Errors
    /// If circuits or streams fail, a node ends, or everything is to end.
    pub fn run(&self, session: &mut Session, seed: u64) -> Done {
        match &self.work {
            Work::Basic(rate) => alone(basic::run(session, self.set, *rate)),
            Work::Shared(loss) => alone(shared::run(session, self.set, *loss)),
            Work::Queues => alone(queues::run(session, self.set)),
            Work::Picture => alone(picture::run(session, self.set)),
            Work::Web => web::run(session, self.set, seed),
            Work::Volume => volume::run(session, self.set),
            Work::Mixed(patched) => alone(mixed::run(session, *patched, seed)),
            Work::Relays => alone(relays::run(session, self.set)),
        }
    }

    /// How many times as often as others it is measured: one circuit varies more than eight together.
    pub fn times(&self) -> u32 {
        match self.work {
            Work::Basic(_) if self.windows == Windows::Vegas => 2,
            _ => 1,
        }
    }

    /// The sets of relays that it needs.
    pub fn sets(&self) -> Vec<Set> {
        match self.work {
            Work::Mixed(_) => mixed::sets().to_vec(),
            _ => vec![self.set],
        }
    }

    /// How long it takes, about, in seconds.
    pub fn seconds(&self, lengths: &Lengths) -> f64 {
        match self.work {
            Work::Web => lengths.settle + lengths.measure * web::LONGER + 8.0,
            Work::Queues => lengths.settle + lengths.measure + 3.0,
            Work::Relays => lengths.settle + 4.0,
            _ => lengths.total(),
        }
    }

    /// What to show of it while everything runs.
    pub fn main_figures(&self) -> &'static [&'static str] {
        match self.work {
            Work::Basic(_) => &[
                "base_ms",
                "delay_ms",
                "delay_ratio",
                "bulk_mbit",
                "bulk_delay_p50_ms",
                "processor_wait_ms",
            ],
            Work::Shared(_) => &[
                "network_mbit",
                "jain",
                "base_ms",
                "delay_ms",
                "quiet_base_ms",
                "quiet_ms",
                "quiet_p99_ms",
                "bulk_delay_p50_ms",
                "effective_drop_percent",
                "queue_drop_percent",
                "relay_cpu_percent",
                "emulator_cpu_percent",
                "processor_wait_ms",
            ],
            Work::Queues => &[
                "network_mbit",
                "output_queue_mean_octets",
                "unsent_mean_octets",
                "unwritable_percent",
            ],
            Work::Picture => &[
                "steady_delay_ms",
                "steady_burst_delay_ms",
                "steady_burst_delay_p99_ms",
                "burst_ms",
            ],
            Work::Web => &["visits", "first_ms", "last_ms", "network_mbit"],
            Work::Volume => &[
                "base_ms",
                "delay_ms",
                "delay_ratio",
                "delay_p99_ms",
                "network_mbit",
            ],
            Work::Mixed(_) => &[
                "network_mbit",
                "jain",
                "base_ms",
                "delay_ms",
                "delay_p99_ms",
                "udp_hops_percent",
            ],
            Work::Relays => &[
                "relay_sockets",
                "relay_tcp_connections",
                "relay_udp_links",
                "relay_memory_octets",
                "relay_cpu_percent",
            ],
        }
    }
}

/// What an experiment gave for one of its coordinates.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Coordinates besides those of the task.
    pub at: BTreeMap<String, f64>,
    /// What was measured there.
    pub measured: Measured,
}

/// What came of a task: its parts, and whether the emulator was in time.
pub type Done = Result<(Vec<Part>, Judgement), Box<dyn Error>>;

fn alone(done: Result<(Measured, Judgement), Box<dyn Error>>) -> Done {
    let at = BTreeMap::new();
    done.map(|(measured, verdict)| (vec![Part { at, measured }], verdict))
}

/// The name of a variant.
pub fn variant(release: Release, program: Program, windows: Windows, kernel: Kernel) -> String {
    let program = program.name();
    let release = match release {
        Release::Modern => "",
        Release::Old => " 0.2.0.35",
    };
    format!("{program}{release}, {}, {}", windows.name(), kernel.name())
}
