//! Runs experiments with several seeds each, on all cores, and keeps their figures.

use std::collections::BTreeMap;

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::contestant::{Contestant, Ours};
use crate::figures::median;

/// Figures of one run by name.
pub type Figures = Vec<(&'static str, f64)>;

/// What one run is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// The point of the scenario, such as `100/50/0.1`.
    pub point: String,
    /// Who.
    pub contestant: String,
}

/// An experiment.
pub struct Job {
    /// What it is.
    pub key: Key,
    /// Coordinates of the point, for plots.
    pub at: Vec<(&'static str, f64)>,
    /// How long it takes, in whatever unit all jobs share: the long ones are begun first.
    pub cost: f64,
    /// How many times as many seeds it runs with: cheap experiments in which chance counts take more.
    pub repeats: u64,
    run: Box<dyn Fn(u64) -> Figures + Send + Sync>,
}

impl Job {
    /// An experiment that runs once for each seed.
    pub fn new(
        scenario: &'static str,
        contestant: &str,
        at: &[(&'static str, f64)],
        cost: f64,
        run: impl Fn(u64) -> Figures + Send + Sync + 'static,
    ) -> Job {
        let values: Vec<String> = at.iter().map(|(_, value)| value.to_string()).collect();
        Job {
            key: Key {
                scenario,
                point: values.join("/"),
                contestant: contestant.to_string(),
            },
            at: at.to_vec(),
            cost,
            repeats: 1,
            run: Box::new(run),
        }
    }
}

/// What came of an experiment.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Coordinates of the point.
    pub at: Vec<(&'static str, f64)>,
    /// Each figure, of every seed.
    pub figures: BTreeMap<&'static str, Vec<f64>>,
}

impl Outcome {
    /// The median of a figure over the seeds.
    pub fn median(&self, figure: &str) -> Option<f64> {
        self.figures.get(figure).map(|values| median(values))
    }

    /// A coordinate.
    pub fn coordinate(&self, name: &str) -> f64 {
        let found = self.at.iter().find(|(n, _)| *n == name);
        found.map_or(f64::NAN, |(_, value)| *value)
    }
}

/// All outcomes.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// By what they are of.
    pub outcomes: BTreeMap<Key, Outcome>,
}

impl Results {
    /// The median of a figure.
    pub fn get(
        &self,
        scenario: &'static str,
        contestant: &str,
        point: &str,
        figure: &str,
    ) -> Option<f64> {
        let key = Key {
            scenario,
            point: point.to_string(),
            contestant: contestant.to_string(),
        };
        self.outcomes.get(&key)?.median(figure)
    }

    /// All outcomes of a contestant in a scenario.
    pub fn of<'a>(
        &'a self,
        scenario: &'a str,
        contestant: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Outcome)> {
        self.outcomes
            .iter()
            .filter(move |(k, _)| k.scenario == scenario && k.contestant == contestant)
            .map(|(k, outcome)| (k.point.as_str(), outcome))
    }

    /// Contestants of a scenario, in the order in which they are listed, others after them.
    pub fn contestants(&self, scenario: &str) -> Vec<String> {
        let listed = |name: &str| {
            let found = crate::contestant::ALL.iter().position(|c| c.name == name);
            found.unwrap_or(usize::MAX)
        };
        let mut names: Vec<String> = self
            .outcomes
            .keys()
            .filter(|k| k.scenario == scenario)
            .map(|k| k.contestant.clone())
            .collect();
        names.sort_by_key(|name| (listed(name), name.clone()));
        names.dedup();
        names
    }

    /// As JSON: a list of outcomes, each with all values and the median of each figure.
    pub fn to_json(&self) -> Value {
        let number = |v: f64| {
            serde_json::Number::from_f64((v * 1e6).round() / 1e6).map_or(Value::Null, Value::from)
        };
        let outcomes = self.outcomes.iter().map(|(key, outcome)| {
            let at: Map<String, Value> = outcome
                .at
                .iter()
                .map(|(name, value)| (name.to_string(), number(*value)))
                .collect();
            let figures: Map<String, Value> = outcome
                .figures
                .iter()
                .map(|(name, values)| {
                    let all: Vec<Value> = values.iter().map(|v| number(*v)).collect();
                    let entry = json!({"median": number(median(values)), "values": all});
                    (name.to_string(), entry)
                })
                .collect();
            json!({
                "scenario": key.scenario,
                "point": key.point,
                "contestant": key.contestant,
                "at": at,
                "figures": figures,
            })
        });
        Value::Array(outcomes.collect())
    }
}

/// Runs every job with seeds 1 to `seeds`, or a multiple of that many.
pub fn run(jobs: &[Job], seeds: u64) -> Results {
    let mut runs: Vec<(&Job, u64)> = jobs
        .iter()
        .flat_map(|job| (1..=seeds * job.repeats).map(move |seed| (job, seed)))
        .collect();
    runs.sort_by(|a, b| b.0.cost.total_cmp(&a.0.cost));
    let total: f64 = runs.iter().map(|(job, _)| job.cost).sum();
    let bar = ProgressBar::new(total.ceil() as u64);
    let style = ProgressStyle::with_template("{wide_bar} {percent}% {elapsed} {msg}");
    bar.set_style(style.expect("a template"));
    let figures: Vec<Figures> = runs
        .par_iter()
        .with_max_len(1)
        .map(|(job, seed)| {
            let figures = (job.run)(*seed);
            bar.inc(job.cost.round() as u64);
            bar.set_message(format!("{} {}", job.key.scenario, job.key.point));
            figures
        })
        .collect();
    bar.finish_and_clear();
    let mut results = Results::default();
    for ((job, _), figures) in runs.iter().zip(figures) {
        let outcome = results.outcomes.entry(job.key.clone()).or_default();
        outcome.at = job.at.clone();
        for (name, value) in figures {
            outcome.figures.entry(name).or_default().push(value);
        }
    }
    results
}

/// How much of everything is run.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Fewer points.
    pub quick: bool,
    /// Who takes part in scenarios of single flows.
    pub contestants: Vec<Contestant>,
    /// Who takes part in those of connections.
    pub connections: Vec<Ours>,
}
