//! Runs tasks: a network for those that can share one, refusal of what an overloaded emulator spoilt, and the results.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::experiments::shared::{CLIENT_COUNT, QUIET_COUNT};
use super::experiments::{DELAY_MS, RATE_MBIT, Task, Work};
use super::network::{Net, Set, Spec};
use super::plausible::implausible;
use super::programs::{Programs, Release};
use super::session::{Lengths, Session};
use super::torrc::Windows;
use crate::emulate::record::Wanted;
use crate::emulate::{Accuracy, LinkSettings, Load};
use crate::results::run::Writer;
use crate::results::{Outcome, Series};

/// Relays of each set.
const RELAYS: usize = 6;
/// A queue of the delay there and back at the rate of the links.
const QUEUE_OCTETS: u64 = 250_000;
/// Attempts at an experiment that the emulator spoilt.
const ATTEMPTS: u32 = 3;
/// Links between a client and its third relay, each of which carries everything.
const HOPS: f64 = 3.0;
/// How long the start of a network takes, about.
const START_S: f64 = 45.0;

/// What the runner needs besides the tasks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of 0.4.9.
    pub modern: Option<Programs>,
    /// Of 0.2.0.35.
    pub old: Option<Programs>,
    /// How long everything takes.
    pub lengths: Lengths,
    /// How often everything is measured.
    pub repetitions: u32,
    /// Of all random choices.
    pub seed: u64,
    /// Lines for the torrc of patched relays.
    pub patched_lines: Vec<String>,
    /// Tables of packets go there.
    pub trace: Option<PathBuf>,
    /// Logs of networks stay.
    pub keep: bool,
}

/// See the module.
pub struct Runner<'a> {
    settings: Settings,
    writer: &'a mut Writer,
    bar: ProgressBar,
    ends: Arc<AtomicBool>,
    failed: u32,
}

impl<'a> Runner<'a> {
    /// A runner that stops when `ends` is set.
    pub fn new(settings: Settings, writer: &'a mut Writer, ends: Arc<AtomicBool>) -> Runner<'a> {
        let bar = ProgressBar::new(0);
        let style = "{wide_bar} {percent} % [{elapsed_precise}, about {eta_precise} left] {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("it is a template"));
        bar.enable_steady_tick(Duration::from_millis(500));
        Runner {
            settings,
            writer,
            bar,
            ends,
            failed: 0,
        }
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }

    /// How long tasks take, in seconds.
    pub fn estimate(settings: &Settings, tasks: &[Task]) -> f64 {
        let each: f64 = tasks
            .iter()
            .map(|task| task.seconds(&settings.lengths) * f64::from(task.times()))
            .sum();
        let mut networks: Vec<(Release, Windows)> = tasks
            .iter()
            .map(|task| (task.release, task.windows))
            .collect();
        networks.sort_unstable();
        networks.dedup();
        each * f64::from(settings.repetitions) + networks.len() as f64 * START_S
    }

    /// Runs all tasks; gives how many could not be measured.
    ///
    /// # Errors
    /// If a network does not start, results cannot be written, or everything is to end.
    pub fn run(&mut self, tasks: &[Task]) -> Result<u32, Box<dyn Error>> {
        self.bar
            .set_length(Self::estimate(&self.settings, tasks) as u64);
        let mut networks: BTreeMap<(Release, Windows), Vec<Task>> = BTreeMap::new();
        for task in tasks {
            networks
                .entry((task.release, task.windows))
                .or_default()
                .push(task.clone());
        }
        for ((release, windows), tasks) in networks {
            self.network(release, windows, &tasks)?;
        }
        self.bar.finish_and_clear();
        Ok(self.failed)
    }

    fn network(
        &mut self,
        release: Release,
        windows: Windows,
        tasks: &[Task],
    ) -> Result<(), Box<dyn Error>> {
        let mut sets: Vec<Set> = tasks.iter().flat_map(Task::sets).collect();
        sets.sort_unstable();
        sets.dedup();
        let spec = Spec {
            release,
            windows,
            sets,
            relays: RELAYS,
            clients: CLIENT_COUNT + QUIET_COUNT,
            patched_lines: self.settings.patched_lines.clone(),
            link: LinkSettings {
                delay_ms: Some(DELAY_MS),
                rate_mbit: Some(RATE_MBIT),
                queue_bytes: Some(QUEUE_OCTETS),
                ..LinkSettings::default()
            },
            seed: self.settings.seed,
        };
        let programs = match release {
            Release::Modern => self.settings.modern.clone(),
            Release::Old => self.settings.old.clone(),
        };
        let programs = programs.ok_or("there is no Tor of this release")?;
        let mut net = self.start(&spec, &programs)?;
        if self.settings.keep {
            let place = net.keep();
            self.say(&format!("logs stay in {}", place.display()));
        }
        self.bar.inc(START_S as u64);
        let accuracy = self.exactness(&mut net)?;
        self.accuracy(release, windows, &accuracy)?;
        let mut session = Session::new(net, self.settings.lengths, self.ends.clone())?;
        for repetition in 1..=self.settings.repetitions {
            let most = tasks.iter().map(Task::times).max().unwrap_or(1);
            for turn in 0..most {
                for task in tasks.iter().filter(|task| turn < task.times()) {
                    let number = (repetition - 1) * task.times() + turn + 1;
                    self.task(&mut session, task, number)?;
                }
            }
        }
        Ok(())
    }

    fn start(&self, spec: &Spec, programs: &Programs) -> Result<Net, Box<dyn Error>> {
        let sets: Vec<String> = spec
            .sets
            .iter()
            .map(|set| format!("{}/{}", set.program.name(), set.kernel.name()))
            .collect();
        let tell = |what: &str| self.bar.set_message(format!("the network starts: {what}"));
        let describe = format!(
            "{} relays each of {}, {}",
            spec.relays,
            sets.join(", "),
            spec.windows.name()
        );
        let mut attempt = 1;
        loop {
            match Net::start(spec.clone(), programs, &tell) {
                Ok(net) => {
                    let took = net.bootstrap.as_secs_f64();
                    let consensus = net.consensus.as_secs_f64();
                    self.say(&format!("network of {describe}: ready after {took:.0} s, with a consensus after {consensus:.0}"));
                    return Ok(net);
                }
                Err(error) if attempt < 2 && !self.ends.load(Ordering::Relaxed) => {
                    self.say(&format!("network of {describe}: {error}; once more"));
                }
                Err(error) => return Err(error),
            }
            attempt += 1;
        }
    }

    /// Measures how exact the emulator is at the load of experiments: again if it was not, the machine may have been busy.
    /// Whether an experiment counts is decided by how late packets were during it.
    fn exactness(&self, net: &mut Net) -> Result<Accuracy, Box<dyn Error>> {
        let mut attempt = 1;
        loop {
            let load = Load {
                mbit: HOPS * RATE_MBIT,
                seconds: 3.0,
            };
            let accuracy = net.emulator.accuracy(load)?;
            let verdict = if accuracy.is_met() {
                "exact"
            } else {
                "NOT EXACT"
            };
            self.say(&format!(
                "emulator beside {:.0} Mbit/s: RTT error p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms; {:.1} of {:.1} Mbit/s \
                 carried: {verdict}",
                accuracy.carried_load_mbit,
                accuracy.rtt_error.p50,
                accuracy.rtt_error.p99,
                accuracy.rtt_error.p999,
                accuracy.rate_carried_mbit,
                accuracy.rate_set_mbit,
            ));
            if accuracy.is_met() || attempt == ATTEMPTS {
                return Ok(accuracy);
            }
            attempt += 1;
        }
    }

    /// The emulator's own accuracy at the load of experiments, as an outcome.
    fn accuracy(
        &mut self,
        release: Release,
        windows: Windows,
        accuracy: &Accuracy,
    ) -> io::Result<()> {
        let release = match release {
            Release::Modern => "0.4.9",
            Release::Old => "0.2.0.35",
        };
        let figures = [
            ("rtt_error_p50_ms", accuracy.rtt_error.p50),
            ("rtt_error_p99_ms", accuracy.rtt_error.p99),
            ("one_way_error_p99_ms", accuracy.one_way_error.p99),
            ("rate_set_mbit", accuracy.rate_set_mbit),
            ("rate_carried_mbit", accuracy.rate_carried_mbit),
        ];
        self.writer.outcome(Outcome {
            experiment: "tor-emulator".into(),
            variant: format!("network of {release}, {}", windows.name()),
            at: [("load_mbit".to_string(), accuracy.carried_load_mbit)].into(),
            repetition: 1,
            figures: figures
                .into_iter()
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
            refused: None,
        })
    }

    fn begin_trace(&self, session: &mut Session, task: &Task, repetition: u32) -> io::Result<()> {
        let Some(folder) = &self.settings.trace else {
            return Ok(());
        };
        // It keeps a trace of its own.
        if task.work == Work::Picture {
            return Ok(());
        }
        std::fs::create_dir_all(folder)?;
        let place = crate::results::record::place(&task.at());
        let name = format!(
            "{} {} {place} {repetition}.csv",
            task.experiment(),
            task.variant()
        );
        let file = folder.join(name.replace([' ', ','], "-"));
        session.net.emulator.record(&Wanted {
            trace: Some(file),
            captures: None,
        })
    }

    fn task(
        &mut self,
        session: &mut Session,
        task: &Task,
        repetition: u32,
    ) -> Result<(), Box<dyn Error>> {
        let place = crate::results::record::place(&task.at());
        let name = format!(
            "{} | {} | {place} | {repetition}",
            task.experiment(),
            task.variant()
        );
        for attempt in 1..=ATTEMPTS {
            self.bar.set_message(name.clone());
            self.begin_trace(session, task, repetition)?;
            let measured = task.run(
                session,
                self.settings.seed.wrapping_add(u64::from(repetition)),
            );
            session.net.emulator.end_record()?;
            if self.ends.load(Ordering::Relaxed) {
                return Err("interrupted".into());
            }
            let (results, refused) = match measured {
                Ok((results, judgement)) => (results, judgement.refused()),
                Err(error) => {
                    session.net.check_alive()?;
                    (Vec::new(), Some(error.to_string()))
                }
            };
            let results = if results.is_empty() {
                vec![Default::default()]
            } else {
                results
            };
            for part in results {
                let mut at = task.at();
                at.extend(part.at);
                let measured = part.measured;
                let shown: Vec<String> = task
                    .main_figures()
                    .iter()
                    .filter_map(|f| Some(format!("{f} {:.4}", measured.figures.get(*f)?)))
                    .collect();
                let place = crate::results::record::place(&at);
                let name = format!(
                    "{} | {} | {place} | {repetition}",
                    task.experiment(),
                    task.variant()
                );
                // A mistake of ours would be made again: it is said, and not tried again.
                let doubt = match &refused {
                    None => implausible(task, &at, &measured.figures),
                    Some(_) => None,
                };
                self.failed += u32::from(doubt.is_some());
                let refused = refused
                    .clone()
                    .or_else(|| Some(format!("implausible: {}", doubt?)));
                match &refused {
                    None => self.say(&format!("{name}: {}", shown.join(", "))),
                    Some(reason) => {
                        self.say(&format!("{name}: refused: {reason} ({})", shown.join(", ")))
                    }
                }
                // An object that nobody asked for has no times.
                let is_void = measured.figures.get("visits") == Some(&0.0);
                let missing = task
                    .main_figures()
                    .iter()
                    .find(|f| !measured.figures.contains_key(**f));
                if let Some(missing) = missing.filter(|_| refused.is_none() && !is_void) {
                    self.say(&format!("{name}: {missing} could not be measured"));
                    self.failed += 1;
                }
                for series in measured.series.into_iter().filter(|_| refused.is_none()) {
                    self.writer.series(Series {
                        experiment: task.experiment().into(),
                        variant: task.variant(),
                        at: at.clone(),
                        repetition,
                        ..series
                    })?;
                }
                self.writer.outcome(Outcome {
                    experiment: task.experiment().into(),
                    variant: task.variant(),
                    at,
                    repetition,
                    figures: measured.figures,
                    refused,
                })?;
            }
            if refused.is_none() {
                break;
            }
            if attempt == ATTEMPTS {
                self.failed += 1;
            }
        }
        self.bar.inc(task.seconds(&self.settings.lengths) as u64);
        Ok(())
    }
}
