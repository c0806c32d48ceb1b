//! `lab report FOLDER`: a page and charts of a run.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;

use crate::results::Run;
use crate::{all, page};

/// Writes a page with everything that a run has measured, and its charts.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Folder of the run.
    run: PathBuf,
    /// Where page and charts go; the run's folder by default.
    #[arg(long)]
    to: Option<PathBuf>,
}

/// Writes the page.
///
/// # Errors
/// What is wrong with the run's file, or what the file system says.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let targets = all::targets(&Run::read(&options.run)?);
    let to = options.to.as_ref().unwrap_or(&options.run);
    let written = page::write(&options.run, to, &targets)?;
    println!(
        "{}: with {} charts beside it, {} kB in all",
        written.page.display(),
        written.charts,
        written.octets / 1_000
    );
    Ok(())
}
