//! The laboratory. `lab --help` says what it does.

use std::process::ExitCode;

use clap::Parser;
use utcp_lab::cli::{self, Arguments};

fn main() -> ExitCode {
    cli::main(Arguments::parse())
}
