//! What utcp has to reach beside its rivals: first or equal in delay of quiet circuits on every link, whoever the rival is;
//! throughput of the best rival that has the same congestion control.

use super::points::{Experiment, Variant};
use super::transport::{Control, Kind};
use crate::kernel::bench::targets::{Bound, Target};
use crate::results::record::Outcome;
use crate::results::{Run, interval};

/// Figures that differ by less are equal: what one run and the next differ by on an emulated link.
pub const EQUAL: f64 = 0.02;

/// Figures of delay that are compared.
const DELAYS: [&str; 2] = ["quiet_p50_ms", "quiet_p99_ms"];

/// The least throughput at which a delay counts, as a part of utcp's best: whoever leaves the link idle has no queue in it.
pub const WORTH: f64 = 0.5;

/// A link that was measured.
struct Place<'a> {
    run: &'a Run,
    rate: f64,
    loss: f64,
}

/// A figure, and whose it is.
type Found = (f64, Variant);

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
        interval(&values).map(|interval| interval.mean)
    }

    fn name(&self) -> String {
        format!("{} Mbit/s, {} %", self.rate, self.loss)
    }

    /// The best of these.
    fn best(&self, of: &[Variant], figure: &str, better: fn(&f64, &f64) -> bool) -> Option<Found> {
        let found = of
            .iter()
            .filter_map(|&variant| Some((self.figure(variant, figure)?, variant)));
        found.reduce(|a, b| if better(&b.0, &a.0) { b } else { a })
    }

    /// utcp's best figure and the rivals'.
    fn pair(
        &self,
        of: &[Variant],
        figure: &str,
        better: fn(&f64, &f64) -> bool,
    ) -> Option<(Found, Found)> {
        let (ours, rivals): (Vec<Variant>, Vec<Variant>) =
            of.iter().partition(|variant| variant.kind.is_utcp());
        Some((
            self.best(&ours, figure, better)?,
            self.best(&rivals, figure, better)?,
        ))
    }

    /// Those whose throughput is worth a comparison of delays.
    fn worthy(&self, all: &[Variant]) -> Vec<Variant> {
        let sum = |variant: &Variant| self.figure(*variant, "sum_mbit");
        let ours = all.iter().filter(|variant| variant.kind.is_utcp());
        let Some(best) = ours.filter_map(sum).reduce(f64::max) else {
            return Vec::new();
        };
        all.iter()
            .copied()
            .filter(|variant| sum(variant).is_some_and(|sum| sum >= WORTH * best))
            .collect()
    }

    fn target(&self, what: &str, found: Option<(Found, Found)>, bound: Bound) -> Target {
        let who = match found {
            Some(((_, ours), (_, rival))) => format!("{} / {}", ours.name(), rival.name()),
            None => "utcp / best rival".into(),
        };
        Target {
            name: format!("{}: {what}, {who}", self.name()),
            figure: found
                .map(|((ours, _), (rival, _))| ours / rival)
                .filter(|ratio| ratio.is_finite()),
            bound,
        }
    }
}

/// Those that have this congestion control, or one of their own, which is compared with both.
fn with(control: Control) -> Vec<Variant> {
    let has = |variant: &Variant| variant.control == control || variant.control == Control::Own;
    Variant::all().into_iter().filter(has).collect()
}

/// The targets of every link that was measured.
pub fn targets(run: &Run) -> Vec<Target> {
    let load: Vec<&Outcome> = run
        .outcomes
        .iter()
        .filter(|o| o.experiment == Experiment::Load.name())
        .collect();
    let place = |outcome: &&Outcome| {
        Some((
            *outcome.at.get("rate_mbit")?,
            *outcome.at.get("loss_percent")?,
        ))
    };
    let mut places: Vec<(f64, f64)> = load.iter().filter_map(place).collect();
    places.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    places.dedup();
    let asked = |control: Control| {
        let of = |kind| Variant { kind, control }.name();
        let names = [of(Kind::Utcp), of(Kind::UtcpCoupled)];
        load.iter().any(|outcome| names.contains(&outcome.variant))
    };
    let controls: Vec<Control> = [Control::Cubic, Control::Bbr]
        .into_iter()
        .filter(|c| asked(*c))
        .collect();
    let mut targets = Vec::new();
    for (rate, loss) in places {
        let place = Place { run, rate, loss };
        if !controls.is_empty() {
            let worthy = place.worthy(&Variant::all());
            for figure in DELAYS {
                let found = place.pair(&worthy, figure, f64::lt);
                targets.push(place.target(figure, found, Bound::AtMost(1.0 + EQUAL)));
            }
        }
        for &control in &controls {
            let found = place.pair(&with(control), "sum_mbit", f64::gt);
            targets.push(place.target("sum_mbit", found, Bound::AtLeast(1.0 - EQUAL)));
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
