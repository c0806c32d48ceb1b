//! The command line of the laboratory: `lab SUBCOMMAND`. Each subcommand is in a file of its own.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(target_os = "linux")]
pub mod all;
pub mod compare;
#[cfg(target_os = "linux")]
pub mod emulate;
#[cfg(target_os = "linux")]
pub mod peers;
#[cfg(target_os = "linux")]
pub mod report;
#[cfg(target_os = "linux")]
pub mod shadow;
#[cfg(target_os = "linux")]
pub mod signals;
#[cfg(target_os = "linux")]
pub mod sim;
#[cfg(target_os = "linux")]
pub mod tor;

/// Experiments with utcp, and everything that a relay could use instead.
#[derive(Parser)]
#[command(name = "lab")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What can be done.
#[derive(Subcommand)]
enum Command {
    #[cfg(target_os = "linux")]
    All(all::Options),
    Compare(compare::Options),
    /// Hosts and links of a topology file, in real time. As root.
    #[cfg(target_os = "linux")]
    Emulate(emulate::Options),
    #[cfg(target_os = "linux")]
    Peers(peers::Options),
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Peer(peers::SideOptions),
    #[cfg(target_os = "linux")]
    Report(report::Options),
    #[cfg(target_os = "linux")]
    Shadow(shadow::Options),
    #[cfg(target_os = "linux")]
    Sim(sim::Options),
    #[cfg(target_os = "linux")]
    Tor(tor::Options),
}

/// Does what the arguments say.
pub fn main(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        #[cfg(target_os = "linux")]
        Command::All(options) => all::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Compare(options) => compare::run(&options).map(|()| ExitCode::SUCCESS),
        #[cfg(target_os = "linux")]
        Command::Emulate(options) => emulate::run(&options),
        #[cfg(target_os = "linux")]
        Command::Peers(options) => peers::run(&options),
        #[cfg(target_os = "linux")]
        Command::Peer(options) => peers::side(&options),
        #[cfg(target_os = "linux")]
        Command::Report(options) => report::run(&options).map(|()| ExitCode::SUCCESS),
        #[cfg(target_os = "linux")]
        Command::Shadow(options) => shadow::run(&options).map(|()| ExitCode::SUCCESS),
        #[cfg(target_os = "linux")]
        Command::Sim(options) => sim::run(&options).map(|()| ExitCode::SUCCESS),
        #[cfg(target_os = "linux")]
        Command::Tor(options) => tor::run(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("lab: {error}");
        ExitCode::FAILURE
    })
}
