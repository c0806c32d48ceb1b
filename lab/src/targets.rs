//! What the figures have to reach.

use utcp::tcp::congestion::Algorithm;

use crate::bench::Results;
use crate::contestant::{ALL, CONNECTIONS};
use crate::endpoint::Mode;
use crate::figures::geometric_mean;
use crate::linux::{Measured, measured};
use crate::report::short;

/// The connection that is judged where circuits are coupled.
const COUPLED: &str = "utcp-cubic-coupled";

/// A target and what was reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What is measured.
    pub what: String,
    /// What it has to reach.
    pub bound: &'static str,
    /// The figure, and where it comes from.
    pub figure: String,
    /// Whether it is reached.
    pub met: bool,
}

/// A figure that a target looks at.
struct Sample {
    value: f64,
    at: String,
}

impl Sample {
    fn new(value: f64, at: impl Into<String>) -> Sample {
        Sample {
            value,
            at: at.into(),
        }
    }

    fn show(&self) -> String {
        if self.at.is_empty() {
            short(self.value)
        } else {
            format!("{} ({})", short(self.value), self.at)
        }
    }
}

fn smallest(samples: Vec<Sample>) -> Option<Sample> {
    samples
        .into_iter()
        .min_by(|a, b| a.value.total_cmp(&b.value))
}

fn largest(samples: Vec<Sample>) -> Option<Sample> {
    samples
        .into_iter()
        .max_by(|a, b| a.value.total_cmp(&b.value))
}

/// All targets that are measured in virtual time; those of scenarios that were not run are left out.
pub fn judge(results: &Results) -> Vec<Verdict> {
    let mut judge = Judge {
        results,
        verdicts: Vec::new(),
    };
    judge.linux();
    judge.full_link();
    judge.tail();
    judge.cells();
    judge.reordering();
    judge.beside_bulk();
    judge.siblings();
    judge.foreign();
    judge.verdicts
}

struct Judge<'a> {
    results: &'a Results,
    verdicts: Vec<Verdict>,
}

impl Judge<'_> {
    fn ran(&self, scenario: &str) -> bool {
        self.results.outcomes.keys().any(|k| k.scenario == scenario)
    }

    fn add(
        &mut self,
        what: &str,
        bound: &'static str,
        sample: Option<Sample>,
        reached: impl Fn(f64) -> bool,
    ) {
        self.verdicts.push(Verdict {
            what: what.to_string(),
            bound,
            met: sample.as_ref().is_some_and(|s| reached(s.value)),
            figure: sample.map_or("nothing was measured".to_string(), |s| s.show()),
        });
    }

    /// Our goodput relative to Linux's, for runs of the same length.
    fn ratios(&self, control: &str, chosen: impl Fn(&Measured) -> bool) -> Vec<Sample> {
        let ours = format!("utcp-{control}");
        let rows = measured().into_iter();
        rows.filter(|m| m.control == control && chosen(m))
            .filter_map(|m| {
                let figure = if m.seconds == 20 {
                    "goodput_20s"
                } else {
                    "goodput"
                };
                let value = self.results.get("grid", &ours, &m.point(), figure)?;
                let at = format!("{}, {} s", m.point(), m.seconds);
                Some(Sample::new(value / m.goodput, at))
            })
            .collect()
    }

    fn linux(&mut self) {
        if !self.ran("grid") {
            return;
        }
        let low = self.ratios("cubic", |m| m.loss <= 1.0);
        let values: Vec<f64> = low.iter().map(|s| s.value).collect();
        let count = format!("{} figures", values.len());
        self.add(
            "CUBIC goodput to Linux CUBIC, worst point to 1 % loss",
            ">= 0.95",
            smallest(low),
            |v| v >= 0.95,
        );
        let mean = (!values.is_empty()).then(|| Sample::new(geometric_mean(&values), count));
        self.add(
            "CUBIC goodput to Linux CUBIC, geometric mean to 1 % loss",
            ">= 1.05",
            mean,
            |v| v >= 1.05,
        );
        self.add(
            "CUBIC goodput to Linux CUBIC, worst point at 3 % loss",
            ">= 1.3",
            smallest(self.ratios("cubic", |m| m.loss == 3.0)),
            |v| v >= 1.3,
        );
        self.add(
            "BBR goodput to Linux BBR, worst point",
            ">= 0.97",
            smallest(self.ratios("bbr", |_| true)),
            |v| v >= 0.97,
        );
    }

    fn full_link(&mut self) {
        if !self.ran("grid") {
            return;
        }
        for contestant in ALL.iter().filter(|c| c.is_ours()) {
            let points = self.results.of("grid", contestant.name);
            let samples = points
                .filter(|(_, outcome)| outcome.coordinate("loss") == 0.0)
                .filter_map(|(point, outcome)| {
                    Some(Sample::new(outcome.median("of_payload_warm")?, point))
                });
            let sample = smallest(samples.collect());
            self.add(
                &format!(
                    "{}, no loss: % of what headers leave, worst rate and round trip, after a third of the run",
                    contestant.name
                ),
                ">= 98 %",
                sample,
                |v| v >= 98.0,
            );
        }
    }

    fn tail(&mut self) {
        if !self.ran("tail-loss") {
            return;
        }
        let points = self.results.of("tail-loss", "utcp-cubic");
        let samples = points.filter_map(|(point, outcome)| {
            let extra = outcome.median("extra_ms")?;
            let bound = 1.5 * outcome.coordinate("rtt") + 15.0;
            let at = format!("{} of {} ms at {point}", short(extra), short(bound));
            Some(Sample::new(extra / bound, at))
        });
        let sample = largest(samples.collect());
        self.add(
            "tail loss: extra time to 1.5 r + 15 ms, worst point",
            "<= 1",
            sample,
            |v| v <= 1.0,
        );
    }

    fn cells(&mut self) {
        if !self.ran("cells") {
            return;
        }
        for (point, bound, text) in [("1", 110.0, "<= 110 ms"), ("3", 200.0, "<= 200 ms")] {
            let value = self.results.get("cells", "utcp-cubic", point, "p999");
            self.add(
                &format!("cells each 50 ms, RTT 50, p99.9 one way at {point} % loss"),
                text,
                value.map(|v| Sample::new(v, "")),
                |v| v <= bound,
            );
        }
    }

    fn reordering(&mut self) {
        if !self.ran("reordering") {
            return;
        }
        let point = "100/50/5";
        let get = |figure| {
            let value = self
                .results
                .get("reordering", "utcp-cubic", point, figure)?;
            Some(Sample::new(value, point))
        };
        let (goodput, spurious) = (get("percent"), get("spurious_percent"));
        self.add(
            "1 % of packets 5 ms late: % of the link",
            ">= 90 %",
            goodput,
            |v| v >= 90.0,
        );
        self.add(
            "spurious retransmissions under reordering alone",
            "< 0.1 %",
            spurious,
            |v| v < 0.1,
        );
    }

    /// Names of connections that are coupled or use BBR.
    fn candidates() -> impl Iterator<Item = &'static str> {
        let connections = CONNECTIONS.iter();
        connections
            .filter(|c| c.mode == Mode::Coupled || c.algorithm == Algorithm::Bbr)
            .map(|c| c.name)
    }

    fn beside_bulk(&mut self) {
        let scenario = "cells-beside-bulk";
        if !self.ran(scenario) {
            return;
        }
        let point = "10/50";
        let get = |name: &str, figure| {
            let value = self.results.get(scenario, name, point, figure);
            value.unwrap_or(f64::NAN)
        };
        let beside = |figure| {
            let value = short(get("utcp-cubic", figure));
            format!("independent CUBIC {value}")
        };
        let best = Self::candidates().min_by(|a, b| {
            let miss =
                |name: &str| (get(name, "p50_ratio") / 1.1).max(get(name, "p99_ratio") / 1.5);
            miss(a).total_cmp(&miss(b))
        });
        for (figure, bound, text) in [("p50_ratio", 1.1, "<= 1.1"), ("p99_ratio", 1.5, "<= 1.5")] {
            let quantile = &figure[..3];
            let sample = best
                .map(|name| Sample::new(get(name, figure), format!("{name}; {}", beside(figure))));
            self.add(
                &format!("bulk beside cells, {point}, 1 BDP queue: {quantile} of delay to idle"),
                text,
                sample,
                |v| v <= bound,
            );
        }
    }

    fn siblings(&mut self) {
        let scenario = "siblings";
        if !self.ran(scenario) {
            return;
        }
        let results = self.results;
        let sample = |figure| {
            let get = |name| results.get(scenario, name, "1000", figure);
            let beside = |name| short(get(name).unwrap_or(f64::NAN));
            let at = format!(
                "coupled CUBIC; coupled BBR {}, independent CUBIC {}",
                beside("utcp-bbr-coupled"),
                beside("utcp-cubic"),
            );
            Some(Sample::new(get(COUPLED)?, at))
        };
        let (fair, starved) = (sample("jain"), sample("starved_s"));
        self.add("1,000 siblings: Jain's index", ">= 0.95", fair, |v| {
            v >= 0.95
        });
        self.add(
            "1,000 siblings: seconds that a circuit got nothing, at most",
            "< 2 s",
            starved,
            |v| v < 2.0,
        );
    }

    fn foreign(&mut self) {
        let scenario = "beside-foreign";
        if !self.ran(scenario) {
            return;
        }
        let mut samples = Vec::new();
        for foreign in ["quinn-cubic", "utcp-cubic"] {
            let name = format!("{COUPLED} : {foreign}");
            for (point, outcome) in self.results.of(scenario, &name) {
                if let Some(share) = outcome.median("share") {
                    let independent = format!("utcp-cubic : {foreign}");
                    let independent = self.results.get(scenario, &independent, point, "share");
                    let independent = short(independent.unwrap_or(f64::NAN));
                    let at = format!("{point}, {foreign}; independent CUBIC {independent}");
                    samples.push(Sample::new(share, at));
                }
            }
        }
        // The one that is furthest from 1.
        let worst = samples
            .into_iter()
            .max_by(|a, b| a.value.ln().abs().total_cmp(&b.value.ln().abs()));
        self.add(
            "coupled connection of 8 beside 1 foreign CUBIC flow: of one fair share, worst point",
            "0.8 to 1.25",
            worst,
            |v| (0.8..=1.25).contains(&v),
        );
    }
}
