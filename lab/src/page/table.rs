//! Tables of one experiment: variants down, coordinates or figures across.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::words::{coordinate, label, measured};
use crate::palette::is_ours;
use crate::results::record::place;
use crate::results::{Interval, Run, interval};

/// Where something was measured: coordinates in the order of their names.
#[derive(Clone, Debug, PartialEq)]
pub struct Place(pub BTreeMap<String, f64>);

impl Place {
    /// The coordinates that are not the same everywhere, in words; all of them if there is only one place.
    pub fn words(&self, all: &[Place]) -> String {
        let differs = |name: &str, v: f64| {
            all.len() < 2 || all.iter().any(|other| other.0.get(name) != Some(&v))
        };
        let each = self.0.iter().filter(|(name, v)| differs(name, **v));
        let each: Vec<String> = each.map(|(name, v)| coordinate(name, *v)).collect();
        each.join(", ")
    }
}

/// What an experiment has, ready to be looked up.
pub struct View<'a> {
    run: &'a Run,
    /// Its name.
    pub name: &'a str,
    /// In the order in which they took part.
    pub variants: Vec<&'a str>,
    /// In the order of their coordinates.
    pub places: Vec<Place>,
    /// Names of all figures.
    pub figures: Vec<&'a str>,
    values: BTreeMap<(&'a str, String, &'a str), Vec<f64>>,
}

impl<'a> View<'a> {
    /// Of the repetitions that count.
    pub fn new(run: &'a Run, name: &'a str) -> View<'a> {
        let mut view = View {
            run,
            name,
            variants: Vec::new(),
            places: Vec::new(),
            figures: Vec::new(),
            values: BTreeMap::new(),
        };
        let outcomes = run.outcomes.iter().filter(|o| o.experiment == name);
        for outcome in outcomes.filter(|o| o.refused.is_none()) {
            if !view.variants.contains(&outcome.variant.as_str()) {
                view.variants.push(&outcome.variant);
            }
            if !view.places.iter().any(|p| p.0 == outcome.at) {
                view.places.push(Place(outcome.at.clone()));
            }
            for (figure, value) in &outcome.figures {
                let key = (
                    outcome.variant.as_str(),
                    place(&outcome.at),
                    figure.as_str(),
                );
                view.values.entry(key).or_default().push(*value);
            }
        }
        view.places.sort_by(|a, b| {
            let values = |p: &Place| p.0.values().copied().collect::<Vec<f64>>();
            values(a)
                .partial_cmp(&values(b))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let mut figures: Vec<&str> = view.values.keys().map(|k| k.2).collect();
        figures.sort_unstable();
        figures.dedup();
        view.figures = figures;
        view
    }

    /// All experiments of a run, in the order in which they were made.
    pub fn names(run: &Run) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let outcomes = run.outcomes.iter().map(|o| o.experiment.as_str());
        for name in outcomes.chain(run.series.iter().map(|s| s.experiment.as_str())) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// A figure's mean at a place.
    pub fn get(&self, variant: &str, at: &Place, figure: &str) -> Option<Interval> {
        let found = self
            .values
            .iter()
            .find(|(key, _)| key.0 == variant && key.2 == figure && key.1 == place(&at.0));
        interval(found?.1)
    }

    /// The most repetitions that count of anything here.
    pub fn repetitions(&self) -> usize {
        self.values.values().map(Vec::len).max().unwrap_or(0)
    }

    /// How many were refused.
    pub fn refused(&self) -> usize {
        let all = self.run.outcomes.iter();
        all.filter(|o| o.experiment == self.name && o.refused.is_some())
            .count()
    }

    /// Whether any variant has the figure anywhere.
    fn has(&self, variant: &str, figure: &str) -> bool {
        self.values
            .keys()
            .any(|key| key.0 == variant && key.2 == figure)
    }

    /// A figure: variants down, places across.
    pub fn across(&self, figure: &str) -> Markup {
        let places: Vec<&Place> = self
            .places
            .iter()
            .filter(|at| {
                self.variants
                    .iter()
                    .any(|v| self.get(v, at, figure).is_some())
            })
            .collect();
        html! {
            div.wide { table {
                caption { (label(figure)) }
                thead { tr {
                    th { "" }
                    @for at in &places { th { (at.words(&self.places)) } }
                } }
                tbody {
                    @for variant in self.variants.iter().filter(|v| self.has(v, figure)) {
                        tr.ours[is_ours(variant)] {
                            td { (variant) }
                            @for at in &places { td { (cell(self.get(variant, at, figure))) } }
                        }
                    }
                }
            } }
        }
    }

    /// Several figures at a place: variants down, figures across.
    pub fn figures_at(&self, at: &Place, figures: &[&str]) -> Markup {
        html! {
            div.wide { table {
                @let words = at.words(&self.places);
                @if !words.is_empty() { caption { (words) } }
                thead { tr {
                    th { "" }
                    @for figure in figures { th { (label(figure)) } }
                } }
                tbody {
                    @for variant in &self.variants {
                        tr.ours[is_ours(variant)] {
                            td { (variant) }
                            @for figure in figures { td { (cell(self.get(variant, at, figure))) } }
                        }
                    }
                }
            } }
        }
    }
}

/// A mean with its interval in small, or a dash.
pub fn cell(value: Option<Interval>) -> Markup {
    let Some(value) = value else {
        return html! { "\u{2013}" };
    };
    let text = measured(&value);
    match text.split_once(" \u{b1} ") {
        Some((mean, half)) => html! { (mean) span.half { " \u{b1} " (half) } },
        None => html! { (text) },
    }
}
