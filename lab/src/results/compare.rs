//! Two runs side by side: what became better or worse by more than the repetitions scatter.

use super::interval::{Interval, interval};
use super::record::{Key, Outcome};
use super::run::Run;

/// A figure in both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where.
    pub key: Key,
    /// Which.
    pub figure: String,
    /// In the first run, and in the second.
    pub before: Interval,
    /// In the second.
    pub after: Interval,
}

impl Difference {
    /// By how much the second is larger, as a part of the first; none if the first is 0.
    pub fn change(&self) -> Option<f64> {
        (self.before.mean != 0.0).then(|| self.after.mean / self.before.mean - 1.0)
    }

    /// Whether the 95 % intervals do not meet. Single repetitions have none, and show nothing.
    pub fn is_clear(&self) -> bool {
        match (self.before.half, self.after.half) {
            (Some(a), Some(b)) => (self.after.mean - self.before.mean).abs() > a + b,
            _ => false,
        }
    }
}

/// All figures that both runs have.
pub fn compare(before: &Run, after: &Run) -> Vec<Difference> {
    let (old, new) = (before.groups(), after.groups());
    let of = |outcomes: &[&Outcome], figure: &str| {
        let values: Vec<f64> = outcomes
            .iter()
            .filter_map(|o| o.figures.get(figure).copied())
            .collect();
        interval(&values)
    };
    let mut differences = Vec::new();
    for (key, outcomes) in &old {
        let Some(others) = new.get(key) else { continue };
        let mut figures: Vec<&String> = outcomes.iter().flat_map(|o| o.figures.keys()).collect();
        figures.sort();
        figures.dedup();
        for figure in figures {
            if let (Some(before), Some(after)) = (of(outcomes, figure), of(others, figure)) {
                differences.push(Difference {
                    key: key.clone(),
                    figure: figure.clone(),
                    before,
                    after,
                });
            }
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(values: &[f64]) -> Run {
        let outcomes = values.iter().enumerate().map(|(n, v)| Outcome {
            experiment: "e".into(),
            repetition: n as u32 + 1,
            figures: [("delay_ms".to_string(), *v)].into(),
            ..Outcome::default()
        });
        Run {
            outcomes: outcomes.collect(),
            ..Run::default()
        }
    }

    #[test]
    fn a_difference_is_clear_only_beyond_the_scatter() {
        let difference = |a: &[f64], b: &[f64]| compare(&run(a), &run(b)).remove(0);
        let clear = difference(&[10.0, 10.1, 9.9], &[12.0, 12.1, 11.9]);
        assert!(clear.is_clear());
        assert!((clear.change().unwrap() - 0.2).abs() < 1e-9);
        assert!(!difference(&[5.0, 15.0, 10.0], &[12.0, 12.1, 11.9]).is_clear());
        assert!(!difference(&[10.0], &[20.0]).is_clear());
        assert!(compare(&run(&[]), &run(&[1.0])).is_empty());
    }
}
