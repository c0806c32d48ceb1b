//! `lab emulate`: hosts and links of a topology file, for a command, until Ctrl-C, or to see how exact they are.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;
use serde_json::json;

use super::signals::{Came, Signals};
use crate::emulate::record::Wanted;
use crate::emulate::topology::variable;
use crate::emulate::{Accuracy, Emulator, Load, Running, Topology};

/// The emulator is not exact enough for an experiment, or was not during one.
const REFUSED: u8 = 75;

/// Arguments of `lab emulate`.
#[derive(Args)]
#[command(
    after_help = "With a COMMAND it runs that, and ends with its status; 75 says that the emulator was too late or \
not exact enough, and that nothing counts. The command finds LAB_HOSTS, and LAB_NS_HOST and LAB_ADDR_HOST for each host \
(in capitals, - as _) in its environment: ip netns exec $LAB_NS_RELAY1 ping $LAB_ADDR_RELAY2"
)]
pub struct Options {
    /// The topology, TOML or JSON (see docs/laboratory.md and lab/examples/).
    file: PathBuf,
    /// Only look whether the file makes sense: needs no root.
    #[arg(long, conflicts_with_all = ["check", "no_check"])]
    validate: bool,
    /// Only measure how exact the emulator is, and print whether that meets the limits.
    #[arg(long, conflicts_with_all = ["no_check", "command"])]
    check: bool,
    /// Do not measure first. Packets that leave late still make the run void.
    #[arg(long)]
    no_check: bool,
    /// Mbit/s of load while it is measured, instead of the file's load_mbit.
    #[arg(long, value_name = "MBIT")]
    load: Option<f64>,
    /// The seed of all random choices, instead of the file's.
    #[arg(long)]
    seed: Option<u64>,
    /// The command runs inside of this host instead of beside all of them.
    #[arg(long = "in", value_name = "HOST", requires = "command")]
    inside: Option<String>,
    /// A line for each packet goes to this file.
    #[arg(long, value_name = "FILE.csv")]
    trace: Option<PathBuf>,
    /// A capture for each host, and one of dropped packets, go to this directory.
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
    /// Exactness, counters and verdict go to this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What to run.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// If the file is no topology, this is not root, or the system does not let us.
pub fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let mut topology = Topology::load(&options.file)?;
    if let Some(seed) = options.seed {
        topology.seed = seed;
    }
    if let Some(mbit) = options.load {
        topology.limits.load_mbit = mbit;
    }
    let emulator = Emulator::new(&topology)?;
    if options.validate {
        println!(
            "{} hosts, {} rules for links",
            topology.hosts.len(),
            topology.links.len()
        );
        return Ok(ExitCode::SUCCESS);
    }
    // Before any thread is made.
    let signals = Signals::block()?;
    let mut lines = match &options.json {
        None => None,
        Some(path) => {
            Some(File::create(path).map_err(|error| format!("{}: {error}", path.display()))?)
        }
    };
    let mut running = emulator.start()?;
    if !options.no_check {
        let accuracy = running.accuracy(Load {
            mbit: topology.limits.load_mbit,
            seconds: topology.limits.seconds,
        })?;
        print!("{accuracy}");
        if let Some(lines) = &mut lines {
            writeln!(lines, "{}", json!({ "accuracy": accuracy }))?;
        }
        if options.check {
            return Ok(check(&accuracy));
        }
        if !accuracy.is_met() {
            println!("REFUSED: the emulator is not exact enough on this machine at present");
            return Ok(ExitCode::from(REFUSED));
        }
    }
    running.record(&Wanted {
        trace: options.trace.clone(),
        captures: options.pcap.clone(),
    })?;
    let mut code = work(options, &running, &signals)?;
    let left_out = running.end_record()?;
    if left_out > 0 {
        println!("{left_out} packets are missing in trace and captures: the disk was too slow");
    }
    let (summary, verdict) = (running.counters()?, running.verdict()?);
    print!("\n{summary}");
    println!("{verdict}");
    if let Some(lines) = &mut lines {
        lines.write_all(summary.json_lines().as_bytes())?;
        writeln!(
            lines,
            "{}",
            json!({ "verdict": verdict, "left_out": left_out })
        )?;
    }
    if verdict.overloaded {
        code = ExitCode::from(REFUSED);
    }
    Ok(code)
}

fn check(accuracy: &Accuracy) -> ExitCode {
    let met = [accuracy.rtt_is_met(), accuracy.rate_is_met()]
        .into_iter()
        .filter(|met| *met)
        .count();
    println!("targets: {met} met, {} missed", 2 - met);
    ExitCode::from(if met == 2 { 0 } else { REFUSED })
}

/// Runs the command, or waits.
fn work(
    options: &Options,
    running: &Running,
    signals: &Signals,
) -> Result<ExitCode, Box<dyn Error>> {
    let Some((program, arguments)) = options.command.split_first() else {
        for name in running.names() {
            let (namespace, address) = (running.namespace(&name)?, running.address(&name)?);
            println!("{name}: {address}   ip netns exec {namespace} COMMAND");
        }
        println!("until Ctrl-C");
        signals.wait(None, None)?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LAB_HOSTS", running.names().join(" "));
    for name in running.names() {
        command.env(
            format!("LAB_NS_{}", variable(&name)),
            running.namespace(&name)?,
        );
        command.env(
            format!("LAB_ADDR_{}", variable(&name)),
            running.address(&name)?.to_string(),
        );
    }
    let started = match &options.inside {
        Some(host) => running.spawn_in(host, command),
        None => running.spawn(command),
    };
    let mut child = started.map_err(|error| format!("{program}: {error}"))?;
    match signals.wait(Some(&mut child), None)? {
        Came::Exit(status) => {
            let code = status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            Ok(ExitCode::from(code as u8))
        }
        Came::End(signal) => {
            signals.end(&mut child)?;
            Ok(ExitCode::from(128 + signal as u8))
        }
        Came::Nothing => unreachable!("it waits for as long as it takes"),
    }
}
