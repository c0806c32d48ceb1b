//! `lab peers`: rivals on the same link; `lab peer`: one side of one of them.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::emulate::{self, Emulator, Load, realtime};
use crate::peers::identity::Identity;
use crate::peers::points::{Experiment, Point, Variant, points};
use crate::peers::process::{self, BEGUN, LISTENING};
use crate::peers::run::{Program, pattern, run as run_one, topology};
use crate::peers::targets::targets;
use crate::peers::traffic::Pattern;
use crate::peers::transport::{Control, Kind, Side, open, unavailable};
use crate::report::short;
use crate::results::run::Writer;
use crate::results::{About, Outcome, Run};

/// The emulator is not exact enough for an experiment.
const REFUSED: u8 = 75;

/// An outcome that is refused is tried again so often.
const TRIES: u32 = 3;

/// Rivals on the same emulated link, with the same traffic. As root.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// One link rate, short runs.
    #[arg(long)]
    quick: bool,
    /// As short as figures can be had, on one link; a rival that has none is an error.
    #[arg(long)]
    smoke: bool,
    /// Only where `RIVAL, CONTROL at EXPERIMENT RATEmbit-RTTms-LOSS%` contains this; several times: one of these.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Repetitions of each run; 3, or 1 if short.
    #[arg(long, value_name = "N")]
    repetitions: Option<u32>,
    /// The seed of losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Links at work at once; as many as the rate and the processors allow.
    #[arg(long, value_name = "N")]
    links: Option<usize>,
    /// Where results.jsonl goes.
    #[arg(long, value_name = "FOLDER", default_value = "build/lab/peers")]
    out: PathBuf,
    /// Do not measure first how exact the emulator is. Packets that leave late still make a run void.
    #[arg(long)]
    no_check: bool,
}

/// One side of a rival: `lab peers` starts it inside of a host.
#[derive(Args, Clone, Debug)]
pub struct SideOptions {
    #[arg(value_enum)]
    kind: Kind,
    #[arg(long, value_enum)]
    control: Control,
    #[arg(long, value_enum)]
    role: Role,
    /// Where the server listens.
    #[arg(long)]
    address: SocketAddr,
    /// The folder with certificate and key.
    #[arg(long)]
    identity: PathBuf,
    /// The traffic, as JSON.
    #[arg(long)]
    pattern: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Client,
    Server,
}

/// Runs one side to its end.
///
/// # Errors
/// What broke the connection.
pub fn side(options: &SideOptions) -> Result<ExitCode, Box<dyn Error>> {
    let pattern: Pattern = serde_json::from_str(&options.pattern)?;
    let identity = Identity::read(&options.identity)?;
    // Both sides of all rivals in the same way; without the right to it, all of them go without.
    realtime::fifo(realtime::SOCKETS);
    let report = match options.role {
        Role::Client => {
            let side = Side::Client(options.address);
            let mut transport = open(options.kind, options.control, &side, &identity)?;
            let mut told = |begun| {
                let _ = process::tell(&format!("{BEGUN}{begun}"));
            };
            process::client(&pattern, &mut *transport, &mut told)?
        }
        Role::Server => {
            let side = Side::Server(options.address);
            let mut transport = open(options.kind, options.control, &side, &identity)?;
            process::tell(LISTENING)?;
            process::server(&pattern, &mut *transport)?
        }
    };
    process::tell(&serde_json::to_string(&report)?)?;
    Ok(ExitCode::SUCCESS)
}

/// One run that is to be made.
#[derive(Clone, Copy, Debug)]
struct Job {
    variant: Variant,
    point: Point,
    repetition: u32,
}

impl Options {
    fn is_short(&self) -> bool {
        self.quick || self.smoke
    }

    fn jobs(&self) -> Vec<Job> {
        let repetitions = self
            .repetitions
            .unwrap_or(if self.is_short() { 1 } else { 3 });
        let mut points = points(self.is_short());
        if self.smoke {
            points.retain(|point| point.experiment == Experiment::Load && point.loss == 0.1);
        }
        let mut jobs = Vec::new();
        for repetition in 1..=repetitions {
            for &point in &points {
                for variant in Variant::all() {
                    let name = format!("{} at {}", variant.name(), point.name());
                    if self.filter.is_empty() || self.filter.iter().any(|text| name.contains(text))
                    {
                        jobs.push(Job {
                            variant,
                            point,
                            repetition,
                        });
                    }
                }
            }
        }
        jobs
    }

    fn pattern(&self, point: &Point) -> Pattern {
        pattern(point.experiment, self.quick, self.smoke)
    }

    /// A link takes both processes of a run and its emulator.
    fn links(&self, jobs: &[Job]) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let rate = jobs.iter().map(|job| job.point.rate).fold(1.0, f64::max);
        // About what one processor carries, all parts together.
        let most = (60.0 * processors as f64 / rate) as usize;
        self.links.unwrap_or(most).clamp(1, 16)
    }
}

#[allow(clippy::disallowed_methods)] // the lab may look at the clock, the library may not
fn about(options: &Options) -> About {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or_default();
    let facts = [
        ("cpu", cpu.trim_matches([' ', '\t', ':']).to_string()),
        (
            "processors",
            std::thread::available_parallelism()
                .map_or(0, usize::from)
                .to_string(),
        ),
        (
            "kernel",
            read("/proc/sys/kernel/osrelease").trim().to_string(),
        ),
        ("openssl", openssl::version::version().to_string()),
        (
            "build",
            if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
            .to_string(),
        ),
    ];
    let began = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    About {
        command: std::env::args().collect(),
        began,
        facts: facts.map(|(name, value)| (name.to_string(), value)).into(),
        seed: options.seed,
        quick: options.is_short(),
    }
}

/// Figures of the table, and how wide they are.
const COLUMNS: [(&str, &str); 13] = [
    ("sum_mbit", "Mbit/s"),
    ("link_down_mbit", "on link"),
    ("jain", "Jain"),
    ("idle_p50_ms", "idle"),
    ("quiet_p50_ms", "p50"),
    ("quiet_p99_ms", "p99 ms"),
    ("request_p50_ms", "50 kB"),
    ("sockets", "sockets"),
    ("server_memory_octets", "memory"),
    ("processor_s", "CPU s"),
    ("wire_ratio", "wire"),
    ("hit_extra_ms", "hit +ms"),
    ("others_extra_ms", "others +ms"),
];

fn table(run: &Run) {
    let mut place = String::new();
    let mut groups: Vec<_> = run.groups().into_iter().collect();
    groups.sort_by_key(|(key, _)| (key.experiment.clone(), key.at.clone()));
    for (key, outcomes) in groups {
        let here = format!("{} at {}", key.experiment, key.at);
        let in_place = |outcome: &&Outcome| outcome.experiment == key.experiment;
        let has = |figure: &str| {
            run.outcomes
                .iter()
                .filter(in_place)
                .any(|o| o.figures.contains_key(figure))
        };
        let columns: Vec<_> = COLUMNS.iter().filter(|(figure, _)| has(figure)).collect();
        if here != place {
            let heads: String = columns
                .iter()
                .map(|(_, head)| format!(" {head:>10}"))
                .collect();
            println!("\n{here}\n{:<22}{heads}", "");
            place = here;
        }
        let mut line = format!("{:<22}", key.variant);
        for (figure, _) in columns {
            let values: Vec<f64> = outcomes
                .iter()
                .filter_map(|o| o.figures.get(*figure).copied())
                .collect();
            let mean = crate::results::interval(&values).map(|interval| interval.mean);
            let text = match mean {
                Some(octets) if figure.ends_with("_octets") => format!("{:.0} MB", octets / 1e6),
                Some(mean) => short(mean),
                None => "-".into(),
            };
            line += &format!(" {text:>10}");
        }
        println!("{line}");
    }
}

/// Whether the emulator is exact enough: again if it was not, the machine may have been busy for a moment. What counts of
/// each run is decided by how late packets were during it.
fn check(point: &Point, links: usize, seed: u64) -> Result<bool, Box<dyn Error>> {
    const ATTEMPTS: u32 = 3;
    let mut running = Emulator::new(&topology(point, seed))?.start()?;
    for _ in 0..ATTEMPTS {
        let accuracy = running.accuracy(Load {
            mbit: point.rate * links as f64,
            seconds: 2.0,
        })?;
        print!("{accuracy}");
        if accuracy.is_met() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// All runs that were asked for, a table, and the targets.
///
/// # Errors
/// What failed, but not a single run: that is told, and counts as missing.
pub fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let mut jobs = options.jobs();
    if let Some(reason) = emulate::unavailable() {
        println!("SKIPPED: {reason}");
        return Ok(ExitCode::from(REFUSED));
    }
    for kind in crate::peers::points::KINDS {
        if let Some(reason) = unavailable(kind) {
            let before = jobs.len();
            jobs.retain(|job| job.variant.kind != kind);
            if jobs.len() < before {
                println!("LEFT OUT: {}: {reason}", kind.name());
            }
        }
    }
    let Some(first) = jobs.first() else {
        return Err("nothing is called so".into());
    };
    let links = options.links(&jobs);
    if !options.no_check && !check(&first.point, links, options.seed)? {
        println!("REFUSED: the emulator is not exact enough on this machine at present");
        return Ok(ExitCode::from(REFUSED));
    }
    let mut writer = Writer::new(&options.out, &about(options))?;
    let failed = perform(options, &jobs, links, &mut |outcome| {
        writer.outcome(outcome)
    })?;
    let run = Run::read(&options.out)?;
    table(&run);
    println!();
    let targets = targets(&run);
    targets
        .iter()
        .for_each(|target| println!("{}", target.line()));
    let met = targets.iter().filter(|target| target.is_met()).count();
    println!("targets: {met} met, {} missed", targets.len() - met);
    let refused = run
        .outcomes
        .iter()
        .filter(|outcome| outcome.refused.is_some())
        .count();
    println!(
        "{failed} runs failed, {refused} refused; {}",
        options.out.display()
    );
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// Makes all runs, several links at once; returns how many failed.
fn perform(
    options: &Options,
    jobs: &[Job],
    links: usize,
    keep: &mut (dyn FnMut(Outcome) -> std::io::Result<()> + Send),
) -> Result<usize, Box<dyn Error>> {
    let program = Program::own()?;
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} (left: {eta})")?;
    let bar = ProgressBar::new(jobs.len() as u64).with_style(style);
    bar.enable_steady_tick(Duration::from_secs(1));
    let queue = Mutex::new(jobs.iter());
    let keep = Mutex::new(keep);
    let failed = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..links {
            scope.spawn(|| {
                loop {
                    let Some(job) = queue.lock().expect("nobody panics").next() else {
                        break;
                    };
                    let name = format!("{} at {}", job.variant.name(), job.point.name());
                    bar.set_message(name.clone());
                    if !attempt(options, &program, job, &name, &bar, &keep) {
                        *failed.lock().expect("nobody panics") += 1;
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    Ok(failed.into_inner()?)
}

/// Makes a run, again if it was refused; whether there is an outcome, be it that it does not count.
fn attempt(
    options: &Options,
    program: &Program,
    job: &Job,
    name: &str,
    bar: &ProgressBar,
    keep: &Mutex<&mut (dyn FnMut(Outcome) -> std::io::Result<()> + Send)>,
) -> bool {
    let pattern = options.pattern(&job.point);
    // The same losses for all variants.
    let seed = crate::rng::mix(options.seed ^ u64::from(job.repetition));
    let tell = |text: String| bar.suspend(|| println!("{text}"));
    for _ in 0..TRIES {
        let mut outcome = match run_one(program, job.variant, &job.point, &pattern, seed) {
            Ok(outcome) => outcome,
            Err(error) => {
                tell(format!("FAILED: {name}: {error}"));
                return false;
            }
        };
        outcome.repetition = job.repetition;
        let refused = outcome.refused.clone();
        if let Err(error) = keep.lock().expect("nobody panics")(outcome) {
            tell(format!("FAILED: {name}: {error}"));
            return false;
        }
        match refused {
            Some(reason) => tell(format!("REFUSED: {name}: {reason}")),
            None => return true,
        }
    }
    true
}
