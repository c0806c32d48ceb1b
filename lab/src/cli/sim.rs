//! `lab sim`: whole networks in virtual time.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;

use crate::facts;
use crate::results::About;
use crate::results::run::{FILE, Writer};
use crate::sim::transport::ALL;
use crate::sim::{self, Plan};

/// Whole networks in virtual time: multiplexed TCP, UDP-OR and utcp with the same inner TCP.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The short form, for development: its figures are not for the record.
    #[arg(long)]
    quick: bool,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds: repetitions.
    #[arg(long)]
    seeds: Option<u64>,
    /// Only experiments whose name contains one of these: network, probe, rtt-leak.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only transports whose name contains this, such as `coupled` or `utcp, bbr`; several times: one of these.
    #[arg(long, value_name = "TEXT")]
    transport: Vec<String>,
    /// Percent of packets lost between any two nodes.
    #[arg(long, value_delimiter = ',')]
    losses: Vec<f64>,
    /// Where results go.
    #[arg(long, default_value = "build/lab/sim")]
    out: PathBuf,
}

/// Runs it.
///
/// # Errors
/// What is asked for and is not there, or what the file system says.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let losses = match (&options.losses[..], options.quick) {
        ([], true) => vec![0.0, 0.5],
        ([], false) => vec![0.0, 0.1, 1.0],
        (given, _) => given.to_vec(),
    };
    if let Some(wrong) = losses.iter().find(|l| !(0.0..100.0).contains(*l)) {
        return Err(format!("{wrong} % of packets cannot be lost").into());
    }
    let unknown = |text: &&String| !ALL.iter().any(|t| t.name.contains(text.as_str()));
    if let Some(text) = options.transport.iter().find(unknown) {
        let names: Vec<&str> = ALL.iter().map(|t| t.name).collect();
        return Err(format!("no transport {text}; there are {}", names.join("; ")).into());
    }
    let plan = Plan {
        quick: options.quick,
        seed: options.seed,
        seeds: options.seeds.unwrap_or(if options.quick { 2 } else { 5 }),
        only: options.only.clone(),
        transports: options.transport.clone(),
        losses,
    };
    let about = About {
        command: std::env::args().collect(),
        began: facts::now(),
        facts: facts::collect(),
        seed: options.seed,
        quick: options.quick,
    };
    let mut writer = Writer::new(&options.out, &about)?;
    sim::run(&plan, &mut writer)?;
    println!("results: {}", options.out.join(FILE).display());
    Ok(())
}
