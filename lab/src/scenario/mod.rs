//! What is measured. Each scenario gives its experiments as jobs.

pub mod grid;

use crate::bench::{Extent, Job};

/// A scenario: its name, what it is, and its jobs.
pub struct Scenario {
    /// As it is called in results and with `--only`.
    pub name: &'static str,
    /// In one line.
    pub about: &'static str,
    /// The experiments.
    pub jobs: fn(&Extent) -> Vec<Job>,
    /// The figures that tables show, with their headings.
    pub columns: &'static [(&'static str, &'static str)],
}

/// All of them.
pub const ALL: &[Scenario] = &[grid::SCENARIO];
