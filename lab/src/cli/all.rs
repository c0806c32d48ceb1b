//! `lab all`: every part, one run, one report.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;

use crate::all::{self, Plan};

/// Runs all parts one after the other, writes the report, prints the targets.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The short form, for development: its figures are not for the record.
    #[arg(long)]
    quick: bool,
    /// Seed of all parts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where runs are kept, each in a folder of its own; `latest` is the last one.
    #[arg(long, default_value = "build/lab")]
    out: PathBuf,
    /// Only these parts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// More arguments of a part, as in `--with sim="--only network"`.
    #[arg(long, value_parser = with)]
    with: Vec<(String, Vec<String>)>,
}

fn with(text: &str) -> Result<(String, Vec<String>), String> {
    let (part, arguments) = text.split_once('=').ok_or("PART=ARGUMENTS")?;
    let arguments = arguments.split_whitespace().map(String::from);
    Ok((part.to_string(), arguments.collect()))
}

/// Runs them.
///
/// # Errors
/// What the file system says, or which parts failed.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let plan = Plan {
        quick: options.quick,
        seed: options.seed,
        out: options.out.clone(),
        only: options.only.clone(),
        with: options.with.iter().cloned().collect(),
    };
    let failed = all::run(&plan, std::env::args().collect())?;
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")).into())
    }
}
