//! `lab report`: one page with everything that a run has measured, and its charts as files.
//!
//! ```text
//! words        names and numbers as people read them
//! chart        SVG by plotters; png: the same as PNG
//! plain        no paths of the machine
//! paper        the paper's own figures
//! compared     tables laid out like the paper's, both figures side by side
//! table        an experiment's tables: variants down, coordinates or figures across
//! experiment   an experiment's charts and tables, whatever it measures
//! ```
//!
//! The page refers to nothing outside of itself and needs no script. What is known by name comes first, in the
//! paper's layout; everything that was measured follows, experiment by experiment, so that nothing is hidden.

pub mod chart;
mod compared;
mod experiment;
pub mod paper;
pub mod plain;
pub mod png;
mod table;
#[cfg(test)]
mod tests;
pub mod words;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use maud::{DOCTYPE, Markup, PreEscaped, html};
use rayon::prelude::*;

use crate::report::short;
use crate::results::Run;
use crate::target::{Bound, Target};
use experiment::{Chart, block, file_name};
use png::Painter;
use table::View;

/// All files together are smaller, if they can be.
pub const LIMIT: usize = 5_000_000;

/// The page's name in a run's folder.
pub const FILE: &str = "report.html";

/// The page's name in a folder of its own.
pub const INDEX: &str = "index.html";

/// The most points of what changes over time, and pixels of an image for each of its SVG's: the next if files are larger
/// than [`LIMIT`] together. Nothing that was measured is left out for it.
const STEPS: [(usize, f32); 6] = [
    (1_200, 2.0),
    (600, 2.0),
    (300, 1.5),
    (300, 1.0),
    (100, 1.0),
    (40, 1.0),
];

/// Folder of the charts, beside the page.
pub const CHARTS: &str = "charts";

/// Parts of the page: heading, beginnings of the names of their experiments, what they are.
const PARTS: &[(&str, &[&str], &str)] = &[
    (
        "Experiments on Tor",
        &["tor", "figure", "web", "low", "mixed", "socket", "relay"],
        "Real Tor binaries in network namespaces over emulated links, in real time: the paper's Experiments 1 and 3, its Figures 1 and 2, and what lies beyond them.",
    ),
    (
        "Rivals on the same link",
        &["peer", "rival"],
        "What a relay could use instead of utcp: one process on each side, the same traffic, the same emulated link, in real time.",
    ),
    (
        "Whole networks in virtual time",
        &["sim"],
        "Our simulator: relays and clients spread over the Earth, circuits of three hops. All transports have the same inner TCP; they differ only in how circuits share it.",
    ),
    (
        "Whole networks in Shadow",
        &["shadow"],
        "Real Tor binaries in the Shadow simulator. Every figure of vanilla Tor here is that of Shadow's own kernel TCP, not of Linux's.",
    ),
    (
        "Accuracy of the link emulator",
        &["emulat", "link", "accuracy"],
        "What the emulated links did beside what they were told to do.",
    ),
];

/// Where an experiment belongs.
fn part(name: &str) -> usize {
    let found = PARTS
        .iter()
        .position(|(_, begin, _)| begin.iter().any(|b| name.starts_with(b)));
    found.unwrap_or(PARTS.len())
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The page.
    pub page: PathBuf,
    /// How many charts are beside it, each as SVG and as PNG.
    pub charts: usize,
    /// Octets of all.
    pub octets: usize,
}

/// Reads the run in `folder`, writes its page to `page`, and its charts beside it.
///
/// # Errors
/// What is wrong with the run's file, or what the file system or the libraries that draw say.
pub fn write(folder: &Path, page: PathBuf, targets: &[Target]) -> Result<Written, Box<dyn Error>> {
    let run = plain::run(Run::read(folder)?);
    let painter = Painter::default();
    let mut steps = STEPS.into_iter().peekable();
    let (text, charts, images, octets) = loop {
        let (points, scale) = steps.next().expect("the last step ends it");
        let (text, charts) = render(&run, targets, points)?;
        let paint = |chart: &Chart| painter.png(&chart.svg, scale).map_err(|e| e.to_string());
        let images: Vec<Vec<u8>> = charts.par_iter().map(paint).collect::<Result<_, _>>()?;
        let pictures = charts
            .iter()
            .zip(&images)
            .map(|(c, i)| c.svg.len() + i.len());
        let octets = text.len() + pictures.sum::<usize>();
        if octets < LIMIT || steps.peek().is_none() {
            break (text, charts, images, octets);
        }
    };
    let beside = page.with_file_name(CHARTS);
    // Charts of an earlier page may have other names.
    if beside.exists() {
        fs::remove_dir_all(&beside)?;
    }
    fs::create_dir_all(&beside)?;
    for (chart, image) in charts.iter().zip(images) {
        fs::write(beside.join(format!("{}.svg", chart.name)), &chart.svg)?;
        fs::write(beside.join(format!("{}.png", chart.name)), image)?;
    }
    fs::write(&page, &text)?;
    Ok(Written {
        page,
        charts: charts.len(),
        octets,
    })
}

/// The page and its charts; values over time get at most so many points.
fn render(
    run: &Run,
    targets: &[Target],
    points: usize,
) -> Result<(String, Vec<Chart>), Box<dyn Error>> {
    let mut charts = Vec::new();
    let compared = compared::tables(run);
    let mut names = View::names(run);
    names.sort_by_key(|name| experiment::order(name));
    let mut parts: Vec<Vec<(&str, Markup)>> = Vec::new();
    parts.resize_with(PARTS.len() + 1, Vec::new);
    for name in names {
        let markup = block(run, name, points, &mut charts)?;
        parts[part(name)].push((name, markup));
    }
    let heading = |n: usize| PARTS.get(n).map_or("Other experiments", |p| p.0);
    let refused: Vec<_> = run
        .outcomes
        .iter()
        .filter(|o| o.refused.is_some())
        .collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { "utcp: report of the laboratory" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body { div.frame {
                nav {
                    a href="#top" { b { "utcp laboratory" } }
                    a href="#targets" { "Targets" }
                    @if compared.is_some() { a href="#paper" { "Beside the paper" } }
                    @for (n, blocks) in parts.iter().enumerate().filter(|(_, b)| !b.is_empty()) {
                        a href={ "#" (file_name(heading(n))) } { (heading(n)) }
                        @for (name, _) in blocks { a.in href={ "#" (file_name(name)) } { (name) } }
                    }
                    a href="#refused" { "Refused" }
                    a href="#run" { "The run" }
                }
                main id="top" {
                    (head(run, targets))
                    (target_table(targets))
                    @if let Some(tables) = &compared {
                        h2 id="paper" { "Beside the paper" }
                        (tables)
                    }
                    @for (n, blocks) in parts.iter().enumerate().filter(|(_, b)| !b.is_empty()) {
                        h2 id=(file_name(heading(n))) { (heading(n)) }
                        @if let Some((_, _, about)) = PARTS.get(n) { p { (about) } }
                        @for (_, markup) in blocks { (markup) }
                    }
                    h2 id="refused" { "Refused" }
                    @if refused.is_empty() {
                        p { "Nothing: every repetition counts." }
                    } @else {
                        p { (refused.len()) " of " (run.outcomes.len()) " repetitions do not count, and are in no mean." }
                        div.wide { table {
                            thead { tr {
                                th { "experiment" } th.t { "variant" } th.t { "where" } th { "repetition" } th.t { "why" }
                            } }
                            tbody { @for o in &refused { tr {
                                td { (o.experiment) } td.t { (o.variant) } td.t { (o.key().at) } td { (o.repetition) }
                                td.t { (o.refused.as_deref().unwrap_or_default()) }
                            } } }
                        } }
                    }
                    (about(run))
                }
            } }
        }
    };
    Ok((page.into_string(), charts))
}

fn head(run: &Run, targets: &[Target]) -> Markup {
    let met = targets.iter().filter(|t| t.is_met()).count();
    let counted = run.outcomes.iter().filter(|o| o.refused.is_none()).count();
    html! {
        h1 { "utcp: report of the laboratory" }
        p.soft {
            (words::date(run.about.began)) " \u{b7} seed " (run.about.seed)
            @if run.about.quick {
                " " span.pill.quick { "quick: the short form, not for the record" }
            }
        }
        div.chips {
            div.chip { b { (met) " of " (targets.len()) } "targets met" }
            div.chip { b { (View::names(run).len()) } "experiments" }
            div.chip { b { (counted) } "repetitions that count" }
            div.chip { b { (run.outcomes.len() - counted) } "refused" }
        }
        p.note {
            "Figures are means over repetitions with 95 % intervals of Student's t, as in the paper; one repetition has "
            "no interval, and charts leave out those that are wider than the value. Rows and dots in blue and green are utcp."
        }
    }
}

fn target_table(targets: &[Target]) -> Markup {
    html! {
        h2 id="targets" { "Targets" }
        @if targets.is_empty() {
            p { "The run has no targets." }
        } @else {
            div.wide { table {
                thead { tr { th { "target" } th { "figure" } th { "to reach" } th { "" } } }
                tbody { @for target in targets { tr {
                    td.t { (target.name) }
                    td { (target.figure.map_or("not measured".to_string(), short)) }
                    td { @match target.bound {
                        Bound::AtLeast(v) => { "at least " (v) }
                        Bound::AtMost(v) => { "at most " (v) }
                    } }
                    td { @if target.is_met() { span.pill.met { "met" } } @else { span.pill.missed { "missed" } } }
                } } }
            } }
        }
    }
}

fn about(run: &Run) -> Markup {
    let about = &run.about;
    html! {
        h2 id="run" { "The run" }
        div.wide { table { tbody {
            tr { td { "command" } td.t { code { (about.command.join(" ")) } } }
            tr { td { "began" } td.t { (words::date(about.began)) } }
            tr { td { "seed" } td.t { (about.seed) } }
            @for (name, value) in &about.facts { tr { td { (name) } td.t { (value) } } }
        } } }
        p.note {
            "The lines behind this page are the run's results.jsonl; `lab compare A B` says what differs between two runs."
        }
    }
}
