//! The command line of the laboratory: `lab SUBCOMMAND`. Each subcommand is in a file of its own.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod compare;
#[cfg(target_os = "linux")]
pub mod emulate;
#[cfg(target_os = "linux")]
pub mod signals;

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
    Compare(compare::Options),
    /// Hosts and links of a topology file, in real time. As root.
    #[cfg(target_os = "linux")]
    Emulate(emulate::Options),
}

/// Does what the arguments say.
pub fn main(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Command::Compare(options) => compare::run(&options).map(|()| ExitCode::SUCCESS),
        #[cfg(target_os = "linux")]
        Command::Emulate(options) => emulate::run(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("lab: {error}");
        ExitCode::FAILURE
    })
}
