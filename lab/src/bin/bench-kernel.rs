//! utcp's inner TCP beside the kernel's, over emulated links in real time. `make bench-kernel` runs it, as root.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::path::PathBuf;
    use std::{fs, thread, time::Duration};

    use clap::Parser;
    use utcp_lab::emulate::realtime;
    use utcp_lab::kernel::bench::flows::{self, Flow, Health};
    use utcp_lab::kernel::bench::report::{Machine, Results, Run};
    use utcp_lab::kernel::bench::targets::targets;
    use utcp_lab::kernel::bench::{CONTROLS, Contender, Point, Tcp, contenders, grid, tail};

    /// How often a run is tried when the emulator is late.
    const ATTEMPTS: usize = 5;

    /// Flows that run at once: each looks whether it has something to do whenever one of them has.
    const MOST_FLOWS: usize = 30;

    /// utcp's TCP beside the kernel's, over emulated links in real time. As root.
    #[derive(Parser)]
    struct Options {
        /// Round trips of 50 ms only, 8 seconds, 3 seeds: for development, not for the record.
        #[arg(long)]
        quick: bool,
        /// Only points with this in their name, such as 100mbit, 50ms-1% or late; "tail" is tail loss.
        #[arg(long, default_value = "")]
        filter: String,
        /// Only this congestion control.
        #[arg(long)]
        control: Option<String>,
        /// Runs of each point.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        seeds: Option<u64>,
        /// Length of a run.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: Option<u64>,
        /// Mbit/s that all flows that run at once may be expected to carry together.
        #[arg(long, default_value_t = 300)]
        load: u64,
        /// The kernel sends to utcp too.
        #[arg(long)]
        reverse: bool,
        /// Where results.json goes.
        #[arg(long, default_value = "build/bench-kernel")]
        out: PathBuf,
    }

    /// Mbit/s that a flow will about reach; what loss leaves of CUBIC is little (RFC 9438 section 5.2).
    fn expected(point: &Point, contender: &Contender) -> u64 {
        let most = match (contender.congestion, point.loss) {
            ("cubic", loss) if loss >= 1.0 => 10,
            ("cubic", loss) if loss > 0.0 => 50,
            _ => point.rate,
        };
        most.min(point.rate)
    }

    /// Flows that run at once: all contenders with one congestion control at one point and seed stay together.
    fn batches(
        points: &[Point],
        seeds: u64,
        load: u64,
        groups: &[Vec<Contender>],
    ) -> Vec<Vec<Flow>> {
        let mut batches: Vec<(u64, Vec<Flow>)> = Vec::new();
        for group in groups {
            for &point in points {
                for seed in 1..=seeds {
                    let flows = group.iter().map(|&contender| Flow {
                        point,
                        seed,
                        contender,
                    });
                    let rate: u64 = group.iter().map(|c| expected(&point, c)).sum();
                    match batches.last_mut() {
                        Some((sum, batch)) if *sum + rate <= load && batch.len() < MOST_FLOWS => {
                            *sum += rate;
                            batch.extend(flows);
                        }
                        _ => batches.push((rate, flows.collect())),
                    }
                }
            }
        }
        batches.into_iter().map(|(_, flows)| flows).collect()
    }

    fn describe(health: &Health) -> String {
        let millis = |share| health.lateness.quantile(share) as f64 / 1e6;
        format!(
            "late by {:.2} ms (p99), {:.2} ms (p99.9), {:.1} ms at most; {:.0} % of a processor{}{}",
            millis(0.99),
            millis(0.999),
            health.lateness.worst() as f64 / 1e6,
            health.load * 100.0,
            if health.fifo {
                ""
            } else {
                "; not under SCHED_FIFO"
            },
            if health.is_good() { "" } else { ": DISCARDED" },
        )
    }

    fn measure(
        batches: &[Vec<Flow>],
        seconds: u64,
        results: &mut Results,
    ) -> Result<(), Box<dyn Error>> {
        for (number, batch) in batches.iter().enumerate() {
            for _ in 0..ATTEMPTS {
                let (outcomes, health) = flows::run(batch, seconds)?;
                let mut names: Vec<String> = batch
                    .iter()
                    .map(|flow| format!("{} #{}", flow.point.name(), flow.seed))
                    .collect();
                names.dedup();
                let name = match names.as_slice() {
                    [one] => one.clone(),
                    all => format!("{} to {}", all[0], all[all.len() - 1]),
                };
                println!(
                    "[{}/{}] {name}, {} flows: {}",
                    number + 1,
                    batches.len(),
                    batch.len(),
                    describe(&health)
                );
                if health.is_good() {
                    let runs = batch.iter().zip(outcomes).map(|(flow, outcome)| Run {
                        point: flow.point,
                        seed: flow.seed,
                        contender: flow.contender,
                        outcome,
                    });
                    results.runs.extend(runs);
                    break;
                }
                results.discarded += 1;
            }
            // Namespaces are taken down in the background.
            thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    }

    fn measure_tail(all: &[Contender], results: &mut Results) -> Result<(), Box<dyn Error>> {
        let to_linux: Vec<Contender> = all
            .iter()
            .copied()
            .filter(|contender| contender.receiver == Tcp::Linux)
            .collect();
        for _ in 0..ATTEMPTS {
            let (tails, health) = tail::run(&to_linux)?;
            println!("tail loss: {}", describe(&health));
            if health.is_good() {
                results.tails = tails;
                break;
            }
            results.discarded += 1;
        }
        Ok(())
    }

    pub fn run() -> Result<(), Box<dyn Error>> {
        let options = Options::parse();
        if let Some(reason) = utcp_lab::kernel::unavailable() {
            return Err(reason.into());
        }
        let machine = Machine::here();
        println!(
            "Linux {}, congestion controls: {} (its default: {}); the BBR of mainline Linux is version 1",
            machine.release, machine.available, machine.default
        );
        let controls: Vec<&'static str> = CONTROLS
            .into_iter()
            .filter(|control| {
                options
                    .control
                    .as_deref()
                    .is_none_or(|only| only == *control)
            })
            .collect();
        if controls.is_empty() {
            return Err(format!("congestion controls are {}", CONTROLS.join(" and ")).into());
        }
        for control in &controls {
            if !machine.available.split(' ').any(|name| name == *control) {
                return Err(format!("this kernel has no {control}: modprobe tcp_{control}").into());
            }
            if contenders(control).iter().any(|c| !c.exists()) {
                println!("NOT MEASURED: utcp has no {control}");
            }
        }
        let groups: Vec<Vec<Contender>> = controls
            .iter()
            .map(|control| {
                let wanted = |c: &Contender| {
                    c.exists()
                        && (options.reverse || (c.sender, c.receiver) != (Tcp::Linux, Tcp::Utcp))
                };
                contenders(control).into_iter().filter(wanted).collect()
            })
            .collect();
        let all: Vec<Contender> = groups.iter().flatten().copied().collect();

        let seconds = options
            .seconds
            .unwrap_or(if options.quick { 8 } else { 20 });
        let seeds = options.seeds.unwrap_or(if options.quick { 3 } else { 5 });
        let mut results = Results {
            points: grid(options.quick),
            controls,
            tail_wanted: "tail".contains(&options.filter),
            ..Results::default()
        };
        results
            .points
            .retain(|point| point.name().contains(&options.filter));
        if results.points.is_empty() && !results.tail_wanted {
            return Err(format!("nothing is called {}", options.filter).into());
        }
        let batches = batches(&results.points, seeds, options.load, &groups);
        println!(
            "{} points, {seeds} seeds, {} flows of {seconds} s in {} runs: about {} minutes",
            results.points.len(),
            batches.iter().map(Vec::len).sum::<usize>(),
            batches.len(),
            (batches.len() as u64 * (seconds + 1) + u64::from(results.tail_wanted) * 20)
                .div_ceil(60)
        );
        if !realtime::lock_memory() {
            println!("memory cannot be locked: more lateness is to be expected");
        }
        if results.tail_wanted {
            measure_tail(&all, &mut results)?;
        }
        measure(&batches, seconds, &mut results)?;

        println!();
        if !results.points.is_empty() {
            println!("{}", results.table(&all));
        }
        if results.tail_wanted {
            println!("{}", results.tail_table());
        }
        if results.discarded > 0 {
            println!(
                "{} runs were discarded, the emulator was late\n",
                results.discarded
            );
        }
        let targets = targets(&results);
        for target in &targets {
            println!("{}", target.line());
        }
        let met = targets.iter().filter(|target| target.is_met()).count();
        fs::create_dir_all(&options.out)?;
        let file = options.out.join("results.json");
        fs::write(
            &file,
            format!("{:#}\n", results.json(&machine, seconds, &targets)),
        )?;
        println!("all runs: {}", file.display());
        println!("targets: {met} met, {} missed", targets.len() - met);
        Ok(())
    }
}

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    if let Err(error) = linux::run() {
        eprintln!("bench-kernel: {error}");
        return ExitCode::FAILURE;
    }
    #[cfg(not(target_os = "linux"))]
    eprintln!("bench-kernel: this needs Linux");
    ExitCode::SUCCESS
}
