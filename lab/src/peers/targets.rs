//! What utcp has to reach beside its rivals.

use super::points::{Experiment, Variant};
use super::transport::{Control, Kind};
use crate::kernel::bench::targets::{Bound, Target};
use crate::results::record::Outcome;
use crate::results::{Interval, Run, interval};

/// Figures that differ by less are equal: what one run and the next differ by on an emulated link.
pub const EQUAL: f64 = 0.02;

/// Figures of delay that are compared.
const DELAYS: [&str; 2] = ["quiet_p50_ms", "quiet_p99_ms"];

/// The least throughput at which a delay counts, as a part of utcp's best: whoever leaves the link idle has no queue in it.
pub const WORTH: f64 = 0.5;

/// A variant at one place.
struct Place<'a> {
    run: &'a Run,
    rate: f64,
    loss: f64,
}

impl Place<'_> {
    fn figure(&self, variant: Variant, figure: &str) -> Option<f64> {
        let here = |outcome: &&Outcome| {
            outcome.experiment == Experiment::Load.name()
                && outcome.variant == variant.name()
                && outcome.refused.is_none()
                && outcome.at.get("rate_mbit") == Some(&self.rate)
                && outcome.at.get("loss_percent") == Some(&self.loss)
        };
        let outcomes = self.run.outcomes.iter().filter(here);
        let values: Vec<f64> = outcomes
            .filter_map(|outcome| outcome.figures.get(figure).copied())
            .collect();
        interval(&values).map(|Interval { mean, .. }| mean)
    }

    fn name(&self) -> String {
        format!("{} Mbit/s, {} %", self.rate, self.loss)
    }
}

/// Rivals and utcp, by their congestion control: a rival that has neither is compared with both.
fn sides(control: Control) -> (Vec<Variant>, Vec<Variant>) {
    let takes_part =
        |variant: &Variant| variant.control == control || variant.control == Control::Own;
    Variant::all()
        .into_iter()
        .filter(takes_part)
        .partition(|variant| variant.kind.is_utcp())
}

/// utcp's figure over the best rival's; the better of utcp's two ways to share.
fn ratio(
    place: &Place<'_>,
    control: Control,
    figure: &str,
    better: fn(f64, f64) -> f64,
) -> Option<(f64, Kind)> {
    let (ours, rivals) = sides(control);
    let least = ours
        .iter()
        .filter_map(|variant| place.figure(*variant, "sum_mbit"))
        .reduce(f64::max)?
        * WORTH;
    let of = |variant: &Variant| Some((place.figure(*variant, figure)?, variant.kind));
    let worth = |variant: &&Variant| {
        place
            .figure(**variant, "sum_mbit")
            .is_some_and(|sum| sum >= least)
    };
    let pick = |a: (f64, Kind), b: (f64, Kind)| if better(a.0, b.0) == a.0 { a } else { b };
    let ours = ours.iter().filter(worth).filter_map(of).reduce(pick)?;
    let (rival, kind) = rivals.iter().filter(worth).filter_map(of).reduce(pick)?;
    (rival > 0.0).then(|| (ours.0 / rival, kind))
}

/// The targets of every link that was measured.
pub fn targets(run: &Run) -> Vec<Target> {
    let mut places: Vec<(f64, f64)> = run
        .outcomes
        .iter()
        .filter(|outcome| outcome.experiment == Experiment::Load.name())
        .filter_map(|outcome| {
            Some((
                *outcome.at.get("rate_mbit")?,
                *outcome.at.get("loss_percent")?,
            ))
        })
        .collect();
    places.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    places.dedup();
    let mut targets = Vec::new();
    for (rate, loss) in places {
        let place = Place { run, rate, loss };
        for control in [Control::Cubic, Control::Bbr] {
            let (ours, _) = sides(control);
            if !run
                .outcomes
                .iter()
                .any(|outcome| ours.iter().any(|v| v.name() == outcome.variant))
            {
                continue; // nobody asked
            }
            let mut add = |what: &str, found: Option<(f64, Kind)>, bound| {
                let rival = found.map_or("best rival", |(_, kind)| kind.name());
                targets.push(Target {
                    name: format!("{}: {what}, {} / {rival}", place.name(), control.name()),
                    figure: found.map(|(figure, _)| figure),
                    bound,
                });
            };
            for figure in DELAYS {
                add(
                    figure,
                    ratio(&place, control, figure, f64::min),
                    Bound::AtMost(1.0 + EQUAL),
                );
            }
            add(
                "sum_mbit",
                ratio(&place, control, "sum_mbit", f64::max),
                Bound::AtLeast(1.0 - EQUAL),
            );
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(variant: &str, delay: f64, sum: f64) -> Outcome {
        Outcome {
            experiment: "peers".into(),
            variant: variant.into(),
            at: [("rate_mbit", 40.0), ("rtt_ms", 50.0), ("loss_percent", 0.1)]
                .map(|(name, value)| (name.to_string(), value))
                .into(),
            repetition: 1,
            figures: [
                ("quiet_p50_ms", delay),
                ("quiet_p99_ms", 2.0 * delay),
                ("sum_mbit", sum),
            ]
            .map(|(name, value)| (name.to_string(), value))
            .into(),
            refused: None,
        }
    }

    fn bbr(outcomes: Vec<Outcome>) -> Vec<(Option<f64>, bool)> {
        let run = Run {
            outcomes,
            ..Run::default()
        };
        let targets = targets(&run);
        assert_eq!(targets.len(), 3);
        targets
            .iter()
            .map(|target| (target.figure, target.is_met()))
            .collect()
    }

    #[test]
    fn utcp_is_held_against_the_best_of_its_rivals() {
        let rivals = || {
            vec![
                outcome("tls, bbr", 80.0, 36.0),
                outcome("quic-streams, bbr", 60.0, 34.0),
            ]
        };
        let with = |delay, sum| {
            let mut all = rivals();
            all.push(outcome("utcp, bbr", delay, sum));
            all.push(outcome("utcp-coupled, bbr", 2.0 * delay, sum));
            bbr(all)
        };
        assert_eq!(
            with(54.0, 36.0),
            [(Some(0.9), true), (Some(0.9), true), (Some(1.0), true)]
        );
        assert_eq!(
            with(66.0, 18.0),
            [(Some(1.1), false), (Some(1.1), false), (Some(0.5), false)]
        );
    }

    #[test]
    fn a_rival_that_leaves_the_link_idle_does_not_count_for_delay() {
        let all = vec![
            outcome("tls, bbr", 50.0, 2.0),
            outcome("sctp, own", 80.0, 30.0),
            outcome("utcp, bbr", 72.0, 36.0),
        ];
        assert_eq!(bbr(all)[0], (Some(0.9), true));
    }

    #[test]
    fn what_was_not_measured_or_refused_is_missed() {
        let mut refused = outcome("utcp, bbr", 1.0, 99.0);
        refused.refused = Some("late".into());
        assert!(
            bbr(vec![outcome("tls, bbr", 50.0, 20.0), refused])
                .iter()
                .all(|(_, met)| !met)
        );
    }
}
