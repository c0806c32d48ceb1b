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
}

fn main() -> ExitCode {
    let done = match &Options::parse().what {
        What::Compare(options) => cli::compare::run(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}
