//! `make bench-tcp`.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use utcp::time::{MILLISECOND, SECOND};
use utcp_lab::bench::{self, Extent, Job};
use utcp_lab::contestant::{self, Contestant, Ours};
use utcp_lab::path::Path;
use utcp_lab::scenario::{self, Scenario};
use utcp_lab::{plot, report, targets, trace};

/// utcp's TCP over emulated links in virtual time, beside others.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// One seed and fewer points: for development, not for the record.
    #[arg(long)]
    quick: bool,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only points that begin so, as "100/50".
    #[arg(long, default_value = "")]
    filter: String,
    /// Only these contestants.
    #[arg(long, value_delimiter = ',')]
    contestants: Vec<String>,
    /// Runs of each experiment.
    #[arg(long)]
    seeds: Option<u64>,
    /// Where results go.
    #[arg(long, default_value = "build/bench-tcp")]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// One flow over time: CSV on standard output.
    Trace(TraceArguments),
}

#[derive(Args)]
struct TraceArguments {
    /// Mbit/s.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Milliseconds.
    #[arg(long, default_value_t = 50.0)]
    rtt: f64,
    /// Percent lost, each way.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Queue in bandwidth-delay products.
    #[arg(long, default_value_t = 1.0)]
    queue: f64,
    /// cubic, newreno, bbr; quinn-cubic, quinn-bbr; with --circuits also cubic-coupled, bbr-coupled.
    #[arg(long, default_value = "cubic")]
    control: String,
    /// So many circuits of one connection instead of the inner TCP alone.
    #[arg(long, default_value_t = 0)]
    circuits: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Milliseconds between lines.
    #[arg(long, default_value_t = 100)]
    every: u64,
}

fn nobody(name: &str) -> String {
    let contestants = contestant::ALL.iter().map(|c| c.name);
    let connections = contestant::CONNECTIONS.iter().map(|c| c.name);
    let mut names: Vec<&str> = contestants.chain(connections).collect();
    names.sort_unstable();
    names.dedup();
    format!("no contestant {name}; there are {}", names.join(", "))
}

/// By its whole name, or ours by that of the control alone.
fn contestant(name: &str) -> Result<Contestant, String> {
    Contestant::named(name)
        .or_else(|| Contestant::named(&format!("utcp-{name}")))
        .ok_or_else(|| nobody(name))
}

/// The same of connections.
fn connection(name: &str) -> Result<Ours, String> {
    let long = format!("utcp-{name}");
    let mut all = contestant::CONNECTIONS.iter();
    let found = all.find(|c| c.name == name || c.name == long).copied();
    found.ok_or_else(|| nobody(name))
}

impl Arguments {
    fn takes_part(&self, name: &str) -> bool {
        let chosen = |c: &String| c == name || name.strip_prefix("utcp-") == Some(c);
        self.contestants.is_empty() || self.contestants.iter().any(chosen)
    }

    /// What makes the run less than the whole.
    fn lacks(&self) -> Option<&'static str> {
        if self.quick {
            Some("QUICK: one seed and fewer points: not for the record")
        } else if !self.only.is_empty() || !self.filter.is_empty() || !self.contestants.is_empty() {
            Some("PARTIAL: not all scenarios, points or contestants: not for the record")
        } else {
            None
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    match arguments.command {
        Some(Command::Trace(t)) => {
            let path = Path {
                rate: t.rate,
                rtt: t.rtt,
                loss: t.loss,
                queue: t.queue,
            };
            let (world, streams) = if t.circuits == 0 {
                (path.world(&[contestant(&t.control)?], t.seed), 1)
            } else {
                (connection(&t.control)?.world(path, t.seed), t.circuits)
            };
            let text = trace::run(world, streams, t.seconds * SECOND, t.every * MILLISECOND);
            print!("{text}");
            Ok(())
        }
        None => bench(arguments),
    }
}

fn bench(arguments: Arguments) -> Result<(), String> {
    let chosen = |scenario: &&Scenario| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == scenario.name)
    };
    let scenarios: Vec<&Scenario> = scenario::ALL.iter().filter(chosen).collect();
    for name in &arguments.only {
        if !scenario::ALL.iter().any(|s| s.name == name) {
            let names: Vec<&str> = scenario::ALL.iter().map(|s| s.name).collect();
            return Err(format!(
                "no scenario {name}; there are {}",
                names.join(", ")
            ));
        }
    }
    let extent = Extent {
        quick: arguments.quick,
        contestants: contestant::ALL
            .iter()
            .filter(|c| arguments.takes_part(c.name))
            .copied()
            .collect(),
        connections: contestant::CONNECTIONS
            .iter()
            .filter(|c| arguments.takes_part(c.name))
            .copied()
            .collect(),
    };
    if extent.contestants.is_empty() && extent.connections.is_empty() {
        return Err(nobody(&arguments.contestants.join(",")));
    }
    let mut jobs: Vec<Job> = scenarios.iter().flat_map(|s| (s.jobs)(&extent)).collect();
    jobs.retain(|job| job.key.point.starts_with(&arguments.filter));
    let seeds = arguments
        .seeds
        .unwrap_or(if arguments.quick { 1 } else { 5 });
    let results = bench::run(&jobs, seeds);
    report::tables(&scenarios, &results);
    let verdicts = targets::judge(&results);
    let failed = |e: &dyn Display| format!("{}: {e}", arguments.out.display());
    report::write_json(
        &arguments.out,
        &results,
        &verdicts,
        seeds,
        arguments.lacks(),
    )
    .map_err(|e| failed(&e))?;
    plot::all(&arguments.out, &results).map_err(|e| failed(&e))?;
    println!(
        "\nresults.json and plots are in {}",
        arguments.out.display()
    );
    if let Some(text) = arguments.lacks() {
        println!("{text}");
    }
    report::verdicts(&verdicts);
    Ok(())
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("bench-tcp: {text}");
            ExitCode::FAILURE
        }
    }
}
