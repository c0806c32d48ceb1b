//! What the figures have to reach.

use super::report::Results;
use super::tail::RTTS;
use super::{Point, Tcp};
pub use crate::target::{Bound, Target};

fn target(name: String, figure: Option<f64>, bound: Bound) -> Target {
    Target {
        name,
        figure,
        bound,
    }
}

/// utcp's goodput over Linux's, both to a Linux receiver.
fn ratio(results: &Results, point: &Point, congestion: &str) -> Option<f64> {
    let utcp = results.goodput(point, Tcp::Utcp, congestion, Tcp::Linux)?;
    let linux = results.goodput(point, Tcp::Linux, congestion, Tcp::Linux)?;
    (linux > 0.0).then(|| utcp / linux)
}

/// The targets that concern what was asked to be measured.
pub fn targets(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    let plain: Vec<Point> = results
        .points
        .iter()
        .copied()
        .filter(|p| p.late == 0.0)
        .collect();
    let mut product = Some((0.0, 0));
    for point in plain.iter().filter(|_| results.controls.contains(&"cubic")) {
        let figure = ratio(results, point, "cubic");
        let least = if point.loss > 1.0 {
            1.3
        } else {
            product = product
                .zip(figure)
                .map(|((sum, n), ratio)| (sum + ratio.ln(), n + 1));
            0.95
        };
        let name = format!("CUBIC over Linux CUBIC, {}", point.name());
        targets.push(target(name, figure, Bound::AtLeast(least)));
    }
    if results.controls.contains(&"cubic") && plain.iter().any(|point| point.loss <= 1.0) {
        let mean = product.map(|(sum, n): (f64, i32)| (sum / f64::from(n)).exp());
        let name = "CUBIC over Linux CUBIC to 1 %, geometric mean".to_string();
        targets.push(target(name, mean, Bound::AtLeast(1.05)));
    }
    for point in plain.iter().filter(|_| results.controls.contains(&"bbr")) {
        let name = format!("BBR over Linux BBR, {}", point.name());
        let figure = ratio(results, point, "bbr");
        targets.push(target(name, figure, Bound::AtLeast(0.97)));
    }
    for point in results.points.iter().filter(|p| p.late > 0.0) {
        for congestion in &results.controls {
            let name = format!("utcp {congestion}, part of the link, {}", point.name());
            let figure = results
                .goodput(point, Tcp::Utcp, congestion, Tcp::Linux)
                .map(|goodput| goodput / point.rate as f64);
            targets.push(target(name, figure, Bound::AtLeast(0.9)));
        }
    }
    if results.tail_wanted {
        for congestion in &results.controls {
            for rtt in RTTS {
                let tail = results.tails.iter().find(|tail| {
                    tail.rtt == rtt
                        && tail.contender.sender == Tcp::Utcp
                        && tail.contender.congestion == *congestion
                });
                let worst = tail.map(|tail| tail.extra.iter().copied().fold(f64::MIN, f64::max));
                let name = format!("utcp {congestion}, tail loss, extra ms, {rtt} ms");
                let most = 1.5 * rtt as f64 + 15.0;
                targets.push(target(name, worst, Bound::AtMost(most)));
            }
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::super::contenders;
    use super::super::flows::Outcome;
    use super::super::report::Run;
    use super::*;

    const POINTS: [Point; 2] = [
        Point {
            rate: 10,
            rtt: 50,
            loss: 1.0,
            late: 0.0,
        },
        Point {
            rate: 10,
            rtt: 50,
            loss: 3.0,
            late: 0.0,
        },
    ];

    /// Linux reaches 2 Mbit/s, utcp so much at each point.
    fn results(utcp: [f64; 2]) -> Results {
        let mut results = Results {
            points: POINTS.to_vec(),
            controls: vec!["cubic"],
            ..Results::default()
        };
        for (point, utcp) in POINTS.into_iter().zip(utcp) {
            for contender in contenders("cubic") {
                let goodput = if contender.sender == Tcp::Utcp {
                    utcp
                } else {
                    2.0
                };
                results.runs.push(Run {
                    point,
                    seed: 1,
                    contender,
                    outcome: Outcome {
                        goodput,
                        links: Default::default(),
                        repaired: None,
                    },
                });
            }
        }
        results
    }

    fn verdicts(results: &Results) -> Vec<bool> {
        targets(results).iter().map(Target::is_met).collect()
    }

    #[test]
    fn each_loss_has_its_own_bound_and_the_mean_is_of_those_to_one_percent() {
        assert_eq!(verdicts(&results([2.2, 2.7])), [true, true, true]);
        assert_eq!(verdicts(&results([2.2, 2.5])), [true, false, true]);
        assert_eq!(verdicts(&results([2.0, 2.7])), [true, true, false]);
        assert_eq!(verdicts(&results([1.8, 2.7])), [false, true, false]);
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        let mut results = results([2.2, 2.7]);
        results.runs.retain(|run| run.point != POINTS[0]);
        assert_eq!(verdicts(&results), [false, true, false]);
        assert!(targets(&results)[0].line().ends_with("missed"));
    }
}
