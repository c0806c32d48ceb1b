//! `lab shadow`: whole networks of Tor in the Shadow simulator.

use std::error::Error;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::facts;
use crate::results::About;
use crate::results::run::Writer;
use crate::shadow::config::Use;
use crate::shadow::{self, FULL, Plan, QUICK, traffic};
use crate::tor::programs::Programs;

/// Whole networks of real Tor in the Shadow simulator, which has to be on PATH.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    inside: Option<Inside>,
    /// A patched Tor of 0.4.9, instead of building one. With neither this nor --plain-tor, demo/run builds both.
    #[arg(long, value_name = "PROGRAM")]
    tor: Option<PathBuf>,
    /// An unpatched one, with tor-gencert beside it or in ../tools.
    #[arg(long, value_name = "PROGRAM")]
    plain_tor: Option<PathBuf>,
    /// The short form, for development: its figures are not for the record.
    #[arg(long)]
    quick: bool,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds: repetitions.
    #[arg(long)]
    seeds: Option<u64>,
    /// Percent of packets lost between any two hosts.
    #[arg(long, value_delimiter = ',')]
    losses: Vec<f64>,
    /// Write the configurations, and run nothing.
    #[arg(long)]
    write_only: bool,
    /// Where results and configurations go.
    #[arg(long, default_value = "build/lab/shadow")]
    out: PathBuf,
}

#[derive(Subcommand, Clone, Debug)]
enum Inside {
    /// What runs inside the simulation.
    #[command(subcommand, hide = true)]
    Traffic(Traffic),
}

#[derive(Args, Clone, Debug)]
struct Client {
    /// Tor's port for applications.
    #[arg(long)]
    socks: SocketAddrV4,
    /// What is connected to.
    #[arg(long)]
    server: SocketAddrV4,
    /// Of sizes and pauses.
    #[arg(long)]
    seed: u64,
}

#[derive(Subcommand, Clone, Debug)]
enum Traffic {
    /// Sends what it is asked for.
    Serve {
        /// Where it listens.
        #[arg(long)]
        port: u16,
    },
    /// One download without end.
    Bulk(Client),
    /// Downloads with pauses.
    Web(Client),
    /// A little, and its echo.
    Quiet(Client),
}

/// Writes, runs and reads simulations.
///
/// # Errors
/// That Shadow is not there, or what stands against it.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    if let Some(Inside::Traffic(traffic)) = &options.inside {
        let (using, client) = match traffic {
            Traffic::Serve { port } => return Ok(traffic::serve(*port)?),
            Traffic::Bulk(client) => (Use::Bulk, client),
            Traffic::Web(client) => (Use::Web, client),
            Traffic::Quiet(client) => (Use::Quiet, client),
        };
        traffic::run(using, client.socks, client.server, client.seed);
    }
    if !options.write_only {
        shadow::possible()?;
    }
    let named = Programs::named(options.plain_tor.as_deref(), options.tor.as_deref())?;
    let programs = match named {
        Some(programs) => programs,
        None => Programs::built(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")))?,
    };
    let losses = match (&options.losses[..], options.quick) {
        ([], true) => vec![0.1],
        ([], false) => vec![0.0, 0.1, 1.0],
        (given, _) => given.to_vec(),
    };
    if let Some(wrong) = losses.iter().find(|l| !(0.0..100.0).contains(*l)) {
        return Err(format!("{wrong} % of packets cannot be lost").into());
    }
    let plan = Plan {
        scale: if options.quick { QUICK } else { FULL },
        seed: options.seed,
        seeds: options.seeds.unwrap_or(if options.quick { 1 } else { 5 }),
        losses,
        write_only: options.write_only,
    };
    let about = About {
        command: std::env::args().collect(),
        began: facts::now(),
        facts: facts::collect(),
        seed: options.seed,
        quick: options.quick,
    };
    let mut writer = Writer::new(&options.out, &about)?;
    shadow::run(&plan, &programs, &options.out, &mut writer)
}
