//! What the figures have to reach.

use super::report::Results;
use super::tail::RTTS;
use super::{Point, Tcp};

/// One target with its figure.
#[derive(Clone, Debug)]
pub struct Target {
    /// What is asked for.
    pub name: String,
    /// What was measured, if it was.
    pub figure: Option<f64>,
    /// What it has to be.
    pub bound: Bound,
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Target {
    /// What was not measured is missed.
    pub fn is_met(&self) -> bool {
        match (self.figure, self.bound) {
            (Some(figure), Bound::AtLeast(bound)) => figure >= bound,
            (Some(figure), Bound::AtMost(bound)) => figure <= bound,
            (None, _) => false,
        }
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let figure = match self.figure {
            Some(figure) => format!("{figure:8.3}"),
            None => "    none".to_string(),
        };
        let bound = match self.bound {
            Bound::AtLeast(bound) => format!("at least {bound}"),
            Bound::AtMost(bound) => format!("at most {bound}"),
        };
        let verdict = if self.is_met() { "met" } else { "missed" };
        format!("{:<52} {figure}  {bound:<15} {verdict}", self.name)
    }
}

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
