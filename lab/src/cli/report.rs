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
    /// A folder of its own for the page, as index.html, and its charts; else they go beside the results.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Writes the page.
///
/// # Errors
/// What is wrong with the run's file, or what the file system says.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let targets = all::targets(&Run::read(&options.run)?);
    let page = match &options.out {
        Some(folder) => folder.join(page::INDEX),
        None => options.run.join(page::FILE),
    };
    let written = page::write(&options.run, page, &targets)?;
    println!(
        "{}: with {} charts beside it (SVG and PNG), {} kB in all",
        written.page.display(),
        written.charts,
        written.octets / 1_000
    );
    if written.octets >= page::LIMIT {
        println!("that is more than the {} kB wanted", page::LIMIT / 1_000);
    }
    Ok(())
}
