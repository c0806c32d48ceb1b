//! `lab tor`: the paper's experiments on real Tor binaries.

// It says when a run began.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use super::signals::{Came, Signals};
use crate::results::run::Writer;
use crate::results::{About, Run};
use crate::tor::experiments::Task;
use crate::tor::plan::{Form, tasks};
use crate::tor::programs::{Programs, Release};
use crate::tor::runner::{Runner, Settings};
use crate::tor::targets::targets;

/// The paper's experiments on real Tor binaries, over emulated links. As root.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// A patched Tor of 0.4.9, instead of building one. With neither this nor --plain-tor, demo/run builds both.
    #[arg(long, value_name = "PROGRAM")]
    tor: Option<PathBuf>,
    /// An unpatched one, with tor-gencert beside it or in ../tools.
    #[arg(long, value_name = "PROGRAM")]
    plain_tor: Option<PathBuf>,
    /// A patched Tor 0.2.0.35, with its tor-gencert, to be measured too.
    #[arg(long = "tor-0.2.0.35", value_name = "PROGRAM")]
    old_tor: Option<PathBuf>,
    /// An unpatched one.
    #[arg(long = "plain-tor-0.2.0.35", value_name = "PROGRAM")]
    old_plain_tor: Option<PathBuf>,
    /// A line for the torrc of every patched relay.
    #[arg(long = "patched-line", value_name = "LINE")]
    patched_lines: Vec<String>,
    /// The short form: fewer variants and repetitions, seconds each.
    #[arg(long)]
    quick: bool,
    /// Each experiment for a moment, only to see that it works and gives figures.
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Only experiments whose description (see --list) contains this; several: any of them.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Print what would be measured, and how long that takes.
    #[arg(long)]
    list: bool,
    /// How often everything is measured.
    #[arg(long, value_name = "N")]
    repetitions: Option<u32>,
    /// Of all random choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where results go.
    #[arg(long, value_name = "FOLDER", default_value = "build/lab/tor")]
    out: PathBuf,
    /// What happened to every packet of each experiment goes to this folder, as tables.
    #[arg(long, value_name = "FOLDER")]
    trace: Option<PathBuf>,
    /// Keep the logs of Tor.
    #[arg(long)]
    keep: bool,
}

fn describe(task: &Task) -> String {
    let place = crate::results::record::place(&task.at());
    format!("{} | {} | {place}", task.experiment(), task.variant())
}

/// What it ran on.
fn facts(modern: Option<&Programs>, old: Option<&Programs>) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            facts.insert(name.to_string(), value);
        }
    };
    let first = |file: &str| Some(fs::read_to_string(file).ok()?.trim().to_string());
    let cpu = first("/proc/cpuinfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_string())
    });
    add("cpu", cpu);
    add(
        "cores",
        thread::available_parallelism().ok().map(|n| n.to_string()),
    );
    add("kernel", first("/proc/sys/kernel/osrelease"));
    add(
        "tor",
        modern.and_then(|programs| Programs::version(programs.any())),
    );
    add(
        "old_tor",
        old.and_then(|programs| Programs::version(programs.any())),
    );
    facts
}

/// Runs what was asked for.
///
/// # Errors
/// What stands against it.
pub fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let form = match (options.smoke, options.quick) {
        (true, _) => Form::Smoke,
        (_, true) => Form::Quick,
        _ => Form::Full,
    };
    if !options.list
        && let Some(reason) = crate::emulate::unavailable()
    {
        return Err(format!("nothing was measured: {reason}").into());
    }
    let old = Programs::named(options.old_plain_tor.as_deref(), options.old_tor.as_deref())?;
    let mut modern = Programs::named(options.plain_tor.as_deref(), options.tor.as_deref())?;
    if modern.is_none() && (old.is_none() || options.list) {
        modern = Some(if options.list {
            let nowhere = || Some(PathBuf::new());
            Programs {
                vanilla: nowhere(),
                patched: nowhere(),
                gencert: PathBuf::new(),
            }
        } else {
            Programs::built(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")))?
        });
    }
    let mut wanted = Vec::new();
    for (programs, release) in [(&modern, Release::Modern), (&old, Release::Old)] {
        if let Some(programs) = programs {
            wanted.extend(tasks(form, programs, release));
        }
    }
    if !options.filter.is_empty() {
        wanted.retain(|task| {
            options
                .filter
                .iter()
                .any(|text| describe(task).contains(text.as_str()))
        });
    }
    if wanted.is_empty() {
        return Err("no experiment has such a description; see --list".into());
    }
    let settings = Settings {
        modern: modern.clone(),
        old: old.clone(),
        lengths: form.lengths(),
        repetitions: options.repetitions.unwrap_or(form.repetitions()).max(1),
        seed: options.seed,
        patched_lines: options.patched_lines.clone(),
        trace: options.trace.clone(),
        keep: options.keep,
    };
    let minutes = Runner::estimate(&settings, &wanted) / 60.0;
    if options.list {
        wanted
            .iter()
            .for_each(|task| println!("{}", describe(task)));
    }
    println!(
        "{} experiments, {} times each: about {minutes:.0} minutes",
        wanted.len(),
        settings.repetitions
    );
    if options.list {
        return Ok(ExitCode::SUCCESS);
    }

    let signals = Signals::block()?;
    let ends = Arc::new(AtomicBool::new(false));
    let seen = ends.clone();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            while let Ok(Came::End(_)) = signals.wait(None, None) {
                seen.store(true, Ordering::Relaxed);
            }
        })?;
    let about = About {
        command: std::env::args().collect(),
        began: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        facts: facts(modern.as_ref(), old.as_ref()),
        seed: options.seed,
        quick: form != Form::Full,
    };
    let mut writer = Writer::new(&options.out, &about)?;
    let failed = Runner::new(settings, &mut writer, ends).run(&wanted)?;
    // One that only shows that everything works has nothing to say about targets.
    let run = Run::read(&options.out)?;
    if form != Form::Smoke && options.filter.is_empty() && modern.is_some() {
        let all = targets(&run);
        all.iter().for_each(|target| println!("{}", target.line()));
        let met = all.iter().filter(|target| target.is_met()).count();
        println!("targets: {met} met, {} missed", all.len() - met);
    }
    println!(
        "results: {}",
        options.out.join(crate::results::run::FILE).display()
    );
    if failed > 0 {
        eprintln!("lab: {failed} experiments could not be measured");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
