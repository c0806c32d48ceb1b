//! The laboratory: experiments with real relays, rivals and whole networks, and what came of them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use utcp_lab::cli;

/// Experiments with utcp, and everything that a relay could use instead.
#[derive(Parser)]
#[command(name = "lab")]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Compare(cli::compare::Options),
    /// Hosts and links of a topology file, in real time. As root.
    #[cfg(target_os = "linux")]
    Emulate(cli::emulate::Options),
    #[cfg(target_os = "linux")]
    Peers(cli::peers::Options),
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Peer(cli::peers::SideOptions),
}

fn main() -> ExitCode {
    let done = match Options::parse().what {
        What::Compare(options) => cli::compare::run(&options).map(|()| ExitCode::SUCCESS),
        #[cfg(target_os = "linux")]
        What::Emulate(options) => cli::emulate::run(&options).map_err(Into::into),
        #[cfg(target_os = "linux")]
        What::Peers(options) => cli::peers::run(&options),
        #[cfg(target_os = "linux")]
        What::Peer(options) => cli::peers::side(&options),
    };
    done.unwrap_or_else(|error| {
        eprintln!("lab: {error}");
        ExitCode::FAILURE
    })
}
