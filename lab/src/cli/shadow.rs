//! x
#[derive(clap::Args)]
pub struct Options {}
pub fn run(_: &Options) -> Result<(), Box<dyn std::error::Error>> {
    Ok(())
}
