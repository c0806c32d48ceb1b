//! What patched Tor has to reach.

use super::experiments::variant;
use super::network::Kernel;
use super::programs::{Program, Release};
use super::torrc::Windows;
use crate::results::Run;
use crate::target::{Bound, Target};

/// Losses on the shared link at which patched Tor is held against the kernel's BBR, in percent.
const AGAINST_BBR: [f64; 3] = [0.0, 0.1, 1.0];

struct Figures<'a>(&'a Run);

impl Figures<'_> {
    fn mean(
        &self,
        experiment: &str,
        variant: &str,
        at: &[(&str, f64)],
        figure: &str,
    ) -> Option<f64> {
        self.0
            .mean(experiment, variant, at, figure)
            .map(|mean| mean.mean)
    }

    /// Of Experiment 1 with this loss on the shared link and none on the others.
    fn shared(&self, variant: &str, loss: f64, figure: &str) -> Option<f64> {
        let at = [
            ("loss_shared_percent", loss),
            ("loss_remaining_percent", 0.0),
            ("rate_mbit", super::experiments::RATE_MBIT),
        ];
        self.mean("tor-1-shared", variant, &at, figure)
    }
}

fn over(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.zip(b).filter(|(_, b)| *b > 0.0).map(|(a, b)| a / b)
}

/// All that concern Tor. What was not measured is missed.
pub fn targets(run: &Run) -> Vec<Target> {
    let figures = Figures(run);
    let of = |program, kernel| variant(Release::Modern, program, Windows::Vegas, kernel);
    let patched = of(Program::Patched, Kernel::Cubic);
    let vanilla = of(Program::Vanilla, Kernel::Cubic);
    let bbr = of(Program::Vanilla, Kernel::Bbr);
    let mut targets = Vec::new();
    let mut add = |name: &str, figure: Option<f64>, bound: Bound| {
        targets.push(Target {
            name: name.to_string(),
            figure,
            bound,
        });
    };
    let basic = |variant: &str, figure: &str| figures.mean("tor-3-basic", variant, &[], figure);
    add(
        "Tor: delay beside bulk over base delay",
        over(basic(&patched, "delay_ms"), basic(&patched, "base_ms")),
        Bound::AtMost(1.05),
    );
    add(
        "Tor: bulk throughput, patched over vanilla, no loss",
        over(basic(&patched, "bulk_mbit"), basic(&vanilla, "bulk_mbit")),
        Bound::AtLeast(1.0),
    );
    let change = |figure: &str| {
        let before = figures.shared(&patched, 0.0, figure);
        over(figures.shared(&patched, 0.1, figure), before).map(|ratio| (ratio - 1.0) * 100.0)
    };
    add(
        "Tor: % less throughput at 0.1 % shared loss",
        change("network_mbit").map(|percent| -percent),
        Bound::AtMost(2.0),
    );
    for loss in AGAINST_BBR {
        add(
            &format!("Tor: throughput over vanilla's with BBR, {loss} % loss"),
            over(
                figures.shared(&patched, loss, "network_mbit"),
                figures.shared(&bbr, loss, "network_mbit"),
            ),
            Bound::AtLeast(1.0),
        );
    }
    add(
        "Tor: quiet streams beside 8 bulk over idle, 40 Mbit/s",
        over(
            figures.shared(&patched, 0.0, "delay_ms"),
            figures.shared(&patched, 0.0, "base_ms"),
        ),
        Bound::AtMost(1.1),
    );
    add(
        "Tor: % more latency at 0.1 % shared loss",
        change("delay_ms"),
        Bound::AtMost(3.0),
    );
    let errors = run
        .outcomes
        .iter()
        .filter(|outcome| outcome.experiment == "tor-emulator");
    let errors = errors.filter_map(|outcome| outcome.figures.get("rtt_error_p99_ms").copied());
    add(
        "Tor: emulated RTT error, p99 ms",
        errors.reduce(f64::max),
        Bound::AtMost(2.0),
    );
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Outcome;

    fn outcome(experiment: &str, variant: &str, loss: f64, figures: &[(&str, f64)]) -> Outcome {
        let at = [
            ("loss_shared_percent", loss),
            ("loss_remaining_percent", 0.0),
            ("rate_mbit", 40.0),
        ];
        Outcome {
            experiment: experiment.into(),
            variant: variant.into(),
            at: at
                .into_iter()
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
            repetition: 1,
            figures: figures
                .iter()
                .map(|(name, value)| (name.to_string(), *value))
                .collect(),
            refused: None,
        }
    }

    #[test]
    fn each_target_looks_at_its_figure() {
        let (ours, theirs, bbr) = (
            "patched, vegas, cubic",
            "vanilla, vegas, cubic",
            "vanilla, vegas, bbr",
        );
        let basic = |variant, delay, bulk| {
            outcome(
                "tor-3-basic",
                variant,
                0.0,
                &[("base_ms", 100.0), ("delay_ms", delay), ("bulk_mbit", bulk)],
            )
        };
        let shared = |variant, loss, mbit, delay| {
            outcome(
                "tor-1-shared",
                variant,
                loss,
                &[
                    ("network_mbit", mbit),
                    ("base_ms", 100.0),
                    ("delay_ms", delay),
                ],
            )
        };
        let mut run = Run {
            outcomes: vec![
                basic(ours, 104.0, 20.0),
                basic(theirs, 300.0, 25.0),
                shared(ours, 0.0, 40.0, 109.0),
                shared(ours, 0.1, 39.0, 114.0),
                shared(ours, 1.0, 10.0, 120.0),
                shared(bbr, 0.0, 40.0, 200.0),
                shared(bbr, 0.1, 30.0, 200.0),
                shared(bbr, 1.0, 30.0, 200.0),
                outcome("tor-emulator", "network", 0.0, &[("rtt_error_p99_ms", 0.5)]),
            ],
            ..Run::default()
        };
        let verdicts =
            |run: &Run| -> Vec<bool> { targets(run).iter().map(Target::is_met).collect() };
        assert_eq!(
            verdicts(&run),
            [true, false, false, true, true, false, true, false, true]
        );
        assert!((targets(&run)[2].figure.unwrap() - 2.5).abs() < 1e-9);
        run.outcomes.clear();
        assert!(verdicts(&run).iter().all(|met| !met));
    }
}
