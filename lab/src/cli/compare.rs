//! `lab compare A B`: what differs between two runs.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;

use crate::report::short;
use crate::results::compare::compare;
use crate::results::{Interval, Run};

/// What differs between two runs of the same experiments.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Folder of the first run.
    before: PathBuf,
    /// Folder of the second.
    after: PathBuf,
    /// All figures, also those whose 95 % intervals meet.
    #[arg(long)]
    all: bool,
}

fn show(interval: &Interval) -> String {
    match interval.half {
        Some(half) => format!("{} +- {}", short(interval.mean), short(half)),
        None => short(interval.mean),
    }
}

/// Prints a line for each figure that both runs have.
///
/// # Errors
/// What is wrong with a run's file.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let differences = compare(&Run::read(&options.before)?, &Run::read(&options.after)?);
    let mut clear = 0;
    for difference in &differences {
        clear += usize::from(difference.is_clear());
        if !difference.is_clear() && !options.all {
            continue;
        }
        let change = difference
            .change()
            .map_or(String::new(), |c| format!(" ({:+.1} %)", c * 100.0));
        println!(
            "{} | {} | {}: {} {} -> {}{change}",
            difference.key.experiment,
            difference.key.variant,
            difference.key.at,
            difference.figure,
            show(&difference.before),
            show(&difference.after),
        );
    }
    println!(
        "{} figures in both, {clear} clearly different",
        differences.len()
    );
    Ok(())
}
