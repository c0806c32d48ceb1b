//! Instructions of fixed workloads against a stored baseline: shows in two minutes whether a change costs anything.
//! `make bench-quick` runs it.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod linux {
    use std::error::Error;
    use std::fs;
    use std::path::{Path, PathBuf};

    use clap::Parser;
    use serde_json::{Value, json};
    use utcp_lab::datapath::callgrind::{self, Counts};
    use utcp_lab::datapath::workload::{QUICK, Workload};

    /// Instructions of fixed workloads against a stored baseline.
    #[derive(Parser)]
    struct Options {
        /// Makes what is measured the baseline.
        #[arg(long)]
        update: bool,
        /// Percent by which a figure may exceed the baseline.
        #[arg(long, default_value_t = 3.0)]
        tolerance: f64,
        /// Only workloads with this in their name.
        #[arg(long, default_value = "")]
        filter: String,
        /// Also the functions with the most instructions, so many of each workload.
        #[arg(long, default_value_t = 0)]
        functions: usize,
        /// The baseline.
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/bench-quick.json"))]
        baseline: PathBuf,
        /// Where callgrind's profiles go: `callgrind_annotate` reads them.
        #[arg(long, default_value = "build/bench-quick")]
        out: PathBuf,
        /// Does this workload, and nothing else: what callgrind is let loose on.
        #[arg(long, hide = true)]
        workload: Option<String>,
    }

    fn stored(path: &Path) -> Result<Value, Box<dyn Error>> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(serde_json::from_str(&text)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(json!({})),
            Err(error) => Err(error.into()),
        }
    }

    /// Prints a workload's figures; whether they are no worse than before.
    fn judge(workload: Workload, counts: &Counts, before: Option<f64>, tolerance: f64) -> bool {
        let change = before.map(|before| (counts.own / before - 1.0) * 100.0);
        let verdict = match change {
            None => "new: not in the baseline",
            Some(change) if change > tolerance => "REGRESSED",
            Some(change) if change < -tolerance => "improved (make bench-quick BENCH=--update)",
            Some(_) => "as before",
        };
        let per = format!("{} ({})", workload.name(), workload.unit());
        let before = before.map_or("-".to_string(), |before| format!("{before:.0}"));
        let change = change.map_or("-".to_string(), |change| format!("{change:+.1} %"));
        println!(
            "{per:<28}{:>10.0}{before:>10}{change:>10}{:>10.0}{:>10.0}   {verdict}",
            counts.own, counts.libc, counts.openssl
        );
        verdict != "REGRESSED"
    }

    pub fn main() -> Result<bool, Box<dyn Error>> {
        let options = Options::parse();
        if let Some(name) = &options.workload {
            let workload = Workload::parse(name).ok_or("no such workload")?;
            callgrind::say(workload.run());
            return Ok(true);
        }
        let mut baseline = stored(&options.baseline)?;
        let compiler = env!("UTCP_LAB_RUSTC");
        if let Some(other) = baseline["compiler"].as_str().filter(|c| *c != compiler) {
            println!("note: the baseline was made with {other}, this is {compiler}");
        }
        println!(
            "{:<28}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "instructions per unit", "utcp", "baseline", "change", "libc", "openssl"
        );
        let mut good = true;
        let mut figures = baseline["instructions"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        for workload in QUICK {
            let name = workload.name();
            if !name.contains(&options.filter) {
                continue;
            }
            let counts = callgrind::count(workload, &options.out)?;
            let before = figures.get(&name).and_then(Value::as_f64);
            good &= judge(workload, &counts, before, options.tolerance);
            for (function, each) in counts.functions.iter().take(options.functions) {
                println!("    {each:>8.0}  {function}");
            }
            figures.insert(name, json!(counts.own.round()));
        }
        if options.update {
            baseline["compiler"] = json!(compiler);
            baseline["instructions"] = Value::Object(figures);
            let text = serde_json::to_string_pretty(&baseline)? + "\n";
            fs::write(&options.baseline, text)?;
            println!("the baseline is now this: {}", options.baseline.display());
            return Ok(true);
        }
        Ok(good)
    }
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    match linux::main() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-quick: {error}");
            ExitCode::from(2)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("bench-quick: Linux only");
    ExitCode::from(2)
}
