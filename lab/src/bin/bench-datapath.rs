//! What the data path costs, and whether that reaches the targets. `make bench-datapath` runs it.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::path::PathBuf;
    use std::process::Command;

    use clap::Parser;
    use serde_json::Value;
    use utcp_lab::datapath::report::{machine, target};
    use utcp_lab::datapath::throughput::{self, CHUNK, Progress, Span, Threads};
    use utcp_lab::datapath::workload::{Work, Workload};
    use utcp_lab::datapath::{callgrind, median, pair, stages};
    use utcp_lab::kernel::bench::targets::{Bound, Target};

    const PARTS: [&str; 4] = ["stages", "throughput", "circuits", "memory"];

    /// What the data path costs, beside the paper's figures and other transports, and whether that reaches the targets.
    #[derive(Parser)]
    struct Options {
        /// 3 rounds instead of 9, fewer samples and circuits: for development, not for the record.
        #[arg(long)]
        quick: bool,
        /// Only these parts: stages, throughput, circuits, memory.
        #[arg(long, value_delimiter = ',')]
        part: Vec<String>,
        /// Circuits, or streams, that share the connection whose throughput is measured.
        #[arg(long, default_value_t = 16)]
        circuits: u32,
        /// Only contestants with this in their name, in `throughput`.
        #[arg(long, default_value = "")]
        only: String,
        /// Where callgrind's profiles go.
        #[arg(long, default_value = "build/bench-datapath")]
        out: PathBuf,
        /// Does this workload, and nothing else: what callgrind is let loose on.
        #[arg(long, hide = true)]
        workload: Option<String>,
    }

    const UTCP: usize = 0;
    const BARE: usize = 1;
    const QUINN: usize = 2;
    const TLS: usize = 3;

    const TOKIO: usize = 4;

    const CONTESTANTS: [&str; 6] = [
        "utcp, C API",
        "bare: DTLS, same socket calls, no TCP",
        "quinn-proto, same socket calls",
        "TLS 1.3 over the kernel's TCP",
        "quinn with tokio and quinn-udp",
        "utcp, C API, written cell by cell",
    ];

    /// Gbit/s per CPU second.
    fn contestant(n: usize, circuits: u32, threads: Threads, span: Span) -> f64 {
        let progress = Progress::default();
        let [a, b] = match n {
            UTCP => throughput::utcp::pair(circuits, CHUNK, &progress),
            BARE => throughput::dtls::pair(&progress),
            QUINN => throughput::quinn::pair(circuits, &progress),
            TLS => throughput::tls::pair(&progress),
            TOKIO => return throughput::tokio::run(circuits, threads, span) * 8e-9,
            _ => throughput::utcp::pair(circuits, pair::CELL, &progress),
        };
        throughput::run(a, b, &progress, threads, span) * 8e-9
    }

    fn throughput(options: &Options) -> Vec<Target> {
        let rounds = if options.quick { 3 } else { 9 };
        let span = Span {
            begin: 64 << 20,
            end: 320 << 20,
        };
        let mut targets = Vec::new();
        for threads in [Threads::One, Threads::Two] {
            let mut all = [const { Vec::new() }; CONTESTANTS.len()];
            for _ in 0..rounds {
                for (n, rates) in all.iter_mut().enumerate() {
                    if CONTESTANTS[n].contains(&options.only) {
                        rates.push(contestant(n, options.circuits, threads, span));
                    }
                }
            }
            let words = match threads {
                Threads::One => "one thread",
                Threads::Two => "two threads",
            };
            println!(
                "\nGbit/s of payload per CPU second, {} circuits, {words}: median of {rounds} (least, most)",
                options.circuits
            );
            for (name, rates) in CONTESTANTS.iter().zip(&all) {
                let Some(median) = median(rates) else {
                    continue;
                };
                let least = rates.iter().copied().fold(f64::MAX, f64::min);
                let most = rates.iter().copied().fold(0.0, f64::max);
                println!("  {name:<44}{median:>8.2}  ({least:.2}, {most:.2})");
            }
            for (than, name, bound) in [
                (BARE, "the bare ceiling", 0.8),
                (TOKIO, "quinn", 1.5),
                (QUINN, "quinn-proto on utcp's sockets", 1.5),
                (TLS, "TLS over the kernel's TCP", 0.7),
            ] {
                // Of each round, so that what disturbed it disturbs both.
                let ratios: Vec<f64> = all[UTCP]
                    .iter()
                    .zip(&all[than])
                    .map(|(a, b)| a / b)
                    .collect();
                let name = format!("throughput over {name}, {words}");
                targets.push(target(&name, median(&ratios), Bound::AtLeast(bound)));
            }
        }
        targets
    }

    fn stages(options: &Options) -> Vec<Target> {
        let samples = if options.quick { 5_000 } else { 20_000 };
        let counts: &[u32] = if options.quick {
            &[1, 1_000]
        } else {
            &[1, 1_000, 100_000]
        };
        let mut targets = Vec::new();
        for &circuits in counts {
            println!("\n{}", stages::head(circuits));
            for stage in stages::alone(circuits, samples) {
                println!("{}", stage.line());
            }
            for (batch, bound) in [(1, 5.0), (stages::BATCH, 3.0)] {
                let samples = samples / batch.min(16);
                let all = stages::whole(circuits, batch, samples);
                for stage in &all {
                    println!("{}", stage.line());
                }
                let name = format!("{}, p80, us, {circuits} circuits", all[0].name);
                let figure = Some(all[0].quantile(0.8));
                targets.push(target(&name, figure, Bound::AtMost(bound)));
            }
        }
        targets
    }

    fn circuits(options: &Options) -> Result<Vec<Target>, Box<dyn Error>> {
        let many = if options.quick { 10_000 } else { 100_000 };
        let rounds = if options.quick { 3 } else { 9 };
        let mut targets = Vec::new();
        println!(
            "\n{:<28}{:>12}{:>12}{:>12}{:>12}",
            "per packet, both ends", "utcp instr.", "libc", "openssl", "CPU ns"
        );
        for (work, few) in [(Work::Bulk, 1), (Work::SomeCells, 100)] {
            let mut costs = Vec::new();
            for count in [few, many] {
                let workload = Workload::new(work, count);
                let counts = callgrind::count(workload, &options.out)?;
                let nanos: Vec<f64> = (0..rounds)
                    .map(|_| workload.run())
                    .map(|outcome| outcome.nanos as f64 / outcome.units as f64)
                    .collect();
                let nanos = median(&nanos).unwrap_or(f64::NAN);
                println!(
                    "{:<28}{:>12.0}{:>12.0}{:>12.0}{nanos:>12.0}",
                    format!("{} ({})", workload.name(), workload.unit()),
                    counts.own,
                    counts.libc,
                    counts.openssl
                );
                costs.push((counts.own, nanos));
            }
            let of = match work {
                Work::Bulk => "a full datagram",
                _ => "a cell",
            };
            for (what, figure) in [
                ("instructions", costs[1].0 / costs[0].0),
                ("CPU time", costs[1].1 / costs[0].1),
            ] {
                let name = format!("{of}, {many} circuits open against {few}, {what}");
                targets.push(target(&name, Some(figure), Bound::AtMost(1.3)));
            }
        }
        Ok(targets)
    }

    fn memory(options: &Options) -> Result<Vec<Target>, Box<dyn Error>> {
        let program = std::env::current_exe()?.with_file_name("bench-memory");
        let mut command = Command::new(&program);
        if options.quick {
            command.args(["--circuits", "20000", "--rounds", "3"]);
        }
        let run = command
            .output()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        if !run.status.success() {
            let why = String::from_utf8_lossy(&run.stderr);
            return Err(format!("bench-memory: {why}").into());
        }
        let all: Value = serde_json::from_slice(&run.stdout)?;
        println!("\nmemory, octets on the heap of one endpoint: {all:#}");
        let number = |part: &str, field: &str| all[part][field].as_f64();
        let over_data = number("many", "busy_octets")
            .zip(number("many", "busy_data"))
            .map(|(octets, data)| (octets - data) / 1e6);
        let over_budget = number("budget", "most")
            .zip(number("budget", "budget"))
            .map(|(most, budget)| (most - budget).max(0.0));
        let missing = number("budget", "sent")
            .zip(number("budget", "arrived"))
            .map(|(sent, arrived)| sent - arrived);
        let growth = number("storm", "growth").map(|octets| octets / 1e6);
        Ok(vec![
            target(
                "an idle circuit, octets",
                number("many", "idle_octets"),
                Bound::AtMost(400.0),
            ),
            target(
                "all circuits, 1,000 busy, MB beside data in flight",
                over_data,
                Bound::AtMost(120.0),
            ),
            target(
                "allocations per packet in steady state",
                number("steady", "each"),
                Bound::AtMost(0.0),
            ),
            target(
                "pool of 16 MiB, reader stopped: octets above it",
                over_budget,
                Bound::AtMost(0.0),
            ),
            target(
                "the same: circuits that died",
                number("budget", "broken"),
                Bound::AtMost(0.0),
            ),
            target(
                "the same: octets missing after the reader resumed",
                missing,
                Bound::AtMost(0.0),
            ),
            // What an allocator's own lists make of it, not more.
            target(
                "opened and closed 10 times: MB grown",
                growth,
                Bound::AtMost(0.1),
            ),
        ])
    }

    pub fn main() -> Result<(), Box<dyn Error>> {
        let options = Options::parse();
        if let Some(name) = &options.workload {
            let workload = Workload::parse(name).ok_or("no such workload")?;
            callgrind::say(workload.run());
            return Ok(());
        }
        if let Some(other) = options.part.iter().find(|p| !PARTS.contains(&p.as_str())) {
            return Err(format!("no part {other}: there are {}", PARTS.join(", ")).into());
        }
        println!("{}", machine());
        let mut targets = Vec::new();
        for part in PARTS {
            if !options.part.is_empty() && !options.part.iter().any(|p| p == part) {
                continue;
            }
            targets.extend(match part {
                "stages" => stages(&options),
                "throughput" => throughput(&options),
                "circuits" => circuits(&options)?,
                _ => memory(&options)?,
            });
        }
        println!();
        for target in &targets {
            println!("{}", target.line());
        }
        let met = targets.iter().filter(|target| target.is_met()).count();
        println!("targets: {met} met, {} missed", targets.len() - met);
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    match linux::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-datapath: {error}");
            ExitCode::from(2)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("bench-datapath: Linux only");
    ExitCode::from(2)
}
