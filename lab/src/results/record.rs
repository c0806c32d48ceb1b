//! The lines of a run's file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    /// The first line.
    About(About),
    /// What one repetition of an experiment gave.
    Outcome(Outcome),
    /// What changed over time in one repetition.
    Series(Series),
}

/// What a run was, so that it can be repeated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The command line.
    pub command: Vec<String>,
    /// When it began, in seconds of Unix time.
    pub began: u64,
    /// What it ran on, such as `("cpu", "...")`, `("kernel", "6.18")`, and what it ran, such as `("tor", "0.4.9.11")`.
    pub facts: BTreeMap<String, String>,
    /// The seed of all random choices.
    pub seed: u64,
    /// Whether it was the short form, whose figures are not for the record.
    pub quick: bool,
}

/// What one repetition of an experiment gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Such as `tor-3`.
    pub experiment: String,
    /// Who took part, such as `patched, vegas`.
    pub variant: String,
    /// Where: coordinates such as `("loss_percent", 0.1)`. Repetitions differ in nothing but `repetition`.
    pub at: BTreeMap<String, f64>,
    /// Which repetition, from 1.
    pub repetition: u32,
    /// What was measured. The unit is the end of a name: `_ms`, `_s`, `_mbit` (Mbit/s), `_octets`, `_percent`,
    /// `_ratio`; a plain number has none.
    pub figures: BTreeMap<String, f64>,
    /// Why it does not count, such as an emulator that was late. It is kept, and left out of every mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What changed over time in one repetition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Series {
    /// As in [`Outcome`].
    pub experiment: String,
    /// As in [`Outcome`].
    pub variant: String,
    /// As in [`Outcome`].
    pub at: BTreeMap<String, f64>,
    /// As in [`Outcome`].
    pub repetition: u32,
    /// What the points are, such as `unacknowledged_octets`; the unit is the end, as of figures.
    pub name: String,
    /// Seconds since the beginning, and the value.
    pub points: Vec<(f64, f64)>,
    /// Whether the points are events, such as packets that were dropped, which no line joins.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub events: bool,
}

impl Outcome {
    /// Which outcomes are repetitions of the same: experiment, variant, coordinates.
    pub fn key(&self) -> Key {
        Key {
            experiment: self.experiment.clone(),
            variant: self.variant.clone(),
            at: place(&self.at),
        }
    }
}

/// What repetitions have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Such as `tor-3`.
    pub experiment: String,
    /// Who took part.
    pub variant: String,
    /// Where, such as `loss_percent=0.1`.
    pub at: String,
}

/// Coordinates as a text: `loss_percent=0.1, rate_mbit=40`.
pub fn place(at: &BTreeMap<String, f64>) -> String {
    let all: Vec<String> = at.iter().map(|(name, v)| format!("{name}={v}")).collect();
    all.join(", ")
}
