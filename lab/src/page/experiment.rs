//! Everything that an experiment has: charts of what matters most, and tables of all figures.

use std::error::Error;

use maud::{Markup, PreEscaped, html};

use super::chart::{self, Frame, Line, Point};
use super::table::{Place, View};
use super::words::{coordinate, label, words};
use crate::results::{Run, Series};

/// The most charts of one experiment's figures.
const CHARTS: usize = 4;
/// The most charts over time of one experiment.
const CURVES: usize = 8;

/// A chart that is a file of its own too.
pub struct Chart {
    /// Its file's name without the ending.
    pub name: String,
    /// The picture.
    pub svg: String,
}

/// How much a figure matters: the less, the more.
fn rank(figure: &str) -> u32 {
    // What a figure is to be held against, and what is not about anybody who takes part.
    let aside = [
        "of_chance",
        "emulator",
        "base",
        "idle",
        "_cells",
        "processor",
    ];
    if figure.starts_with("to_") || aside.iter().any(|part| figure.contains(part)) {
        return 1_000;
    }
    let order = [
        "network_mbit",
        "sum_mbit",
        "quiet_ms",
        "quiet_p50",
        "delay_ratio",
        "bulk_mbit",
        "delay_p50",
        "delay",
        "quiet",
        "extra",
        "latency",
        "accuracy",
        "auc",
        "throughput",
        "mbit",
        "jain",
        "first",
        "ttfb",
        "last",
        "ttlb",
        "degradation",
        "learnt",
        "sockets",
        "memory",
        "cpu",
    ];
    let found = order.iter().position(|part| figure.contains(part));
    found.map_or(1_000, |n| n as u32)
}

/// Figures in the order in which they matter.
fn ordered<'a>(view: &View<'a>) -> Vec<&'a str> {
    let mut figures = view.figures.clone();
    figures.sort_by_key(|figure| (rank(figure), *figure));
    figures
}

/// The parts of a name like `delay_p99_ms`: what it is of, and which quantile.
fn quantile(figure: &str) -> Option<(String, f64)> {
    let parts: Vec<&str> = figure.split('_').collect();
    let at = parts.iter().position(|part| {
        part.strip_prefix('p')
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })?;
    let digits = &parts[at][1..];
    // p999 is 99.9 %.
    let value: f64 = digits.parse().ok()?;
    let value = if digits.len() > 2 {
        value / 10f64.powi(digits.len() as i32 - 2)
    } else {
        value
    };
    let mut base = parts.clone();
    base.remove(at);
    Some((base.join("_"), value))
}

/// The coordinates that are not the same everywhere.
fn varying(places: &[Place]) -> Vec<&str> {
    let mut names: Vec<&str> = places
        .iter()
        .flat_map(|p| p.0.keys())
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names.dedup();
    let differs = |name: &&str| {
        places
            .iter()
            .any(|p| p.0.get(*name) != places[0].0.get(*name))
    };
    names.into_iter().filter(differs).collect()
}

/// What the places of a panel have in common, and the places.
type Panel<'a> = (String, Vec<&'a Place>);

/// Places in groups that differ in one coordinate alone: the only one that varies, or the loss. None if there is no
/// such coordinate.
fn panels(places: &[Place]) -> Option<(&str, Vec<Panel<'_>>)> {
    let names = varying(places);
    let across = match names[..] {
        [] => return None,
        [one] => one,
        _ => *names.iter().find(|name| **name == "loss_percent")?,
    };
    if !places.iter().all(|p| p.0.contains_key(across)) {
        return None;
    }
    let mut groups: Vec<Panel> = Vec::new();
    for place in places {
        let others = names.iter().filter(|name| **name != across);
        let others: Vec<String> = others
            .filter_map(|name| Some(coordinate(name, *place.0.get(*name)?)))
            .collect();
        let others = others.join(", ");
        match groups.iter_mut().find(|(name, _)| *name == others) {
            Some((_, group)) => group.push(place),
            None => groups.push((others, vec![place])),
        }
    }
    Some((across, groups))
}

/// A figure's charts, each with the end of its name.
fn figure_charts(view: &View, figure: &str) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let (title, unit) = words(figure);
    let frame = |x: String, place: &str| Frame {
        title: match place {
            "" => format!("{}: {title}", view.name),
            place => format!("{}: {title}, {place}", view.name),
        },
        x,
        y: unit.to_string(),
    };
    if let Some((across, groups)) = panels(&view.places) {
        let mut charts = Vec::new();
        for (place, group) in groups {
            let line = |variant: &&str| {
                let points = group.iter().filter_map(|at| {
                    let i = view.get(variant, at, figure)?;
                    Some(Point {
                        x: at.0[across],
                        y: i.mean,
                        half: i.half,
                    })
                });
                Line {
                    name: variant.to_string(),
                    points: points.collect(),
                }
            };
            let lines: Vec<Line> = view
                .variants
                .iter()
                .map(line)
                .filter(|line| !line.points.is_empty())
                .collect();
            if lines.iter().any(|line| line.points.len() > 1) {
                let svg = chart::lines(&frame(label(across), &place), &lines)?;
                charts.push((format!("{figure} {place}"), svg));
            }
        }
        if !charts.is_empty() {
            return Ok(charts);
        }
    }
    let places: Vec<String> = view
        .places
        .iter()
        .map(|at| at.words(&view.places))
        .collect();
    let dot = |variant: &str, at: &Place| {
        let i = view.get(variant, at, figure)?;
        Some(Point {
            x: i.mean,
            y: 0.0,
            half: i.half,
        })
    };
    let (names, rows): (Vec<&str>, Vec<chart::Row>) = if view.places.len() > 1 {
        // A row for each place, a colour for each variant.
        let rows = view.places.iter().zip(places).map(|(at, name)| {
            let dots = view.variants.iter().map(|variant| dot(variant, at));
            (name, dots.collect())
        });
        (view.variants.clone(), rows.collect())
    } else {
        let rows = view.variants.iter().map(|variant| {
            let dots = view.places.iter().map(|at| dot(variant, at));
            (variant.to_string(), dots.collect())
        });
        (vec![""], rows.collect())
    };
    let rows: Vec<_> = rows
        .into_iter()
        .filter(|(_, dots)| dots.iter().any(Option::is_some))
        .collect();
    if rows.len() > 14 || rows.len() < 2 && names.len() < 2 {
        return Ok(Vec::new());
    }
    let svg = chart::dots(&frame(label(figure), ""), &names, &rows, false)?;
    Ok(vec![(figure.to_string(), svg)])
}

/// A distribution: quantiles of one thing, joined, at the last place (the hardest: coordinates are in order).
fn quantile_charts(view: &View) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut bases: Vec<String> = view
        .figures
        .iter()
        .filter_map(|f| Some(quantile(f)?.0))
        .collect();
    bases.sort_by_key(|base| (rank(base), base.clone()));
    bases.dedup();
    let mut charts = Vec::new();
    for base in bases.into_iter().take(2) {
        let mut figures: Vec<(f64, &str)> = view
            .figures
            .iter()
            .filter_map(|f| quantile(f).filter(|q| q.0 == base).map(|q| (q.1, *f)))
            .collect();
        figures.sort_by(|a, b| a.0.total_cmp(&b.0));
        if figures.len() < 2 {
            continue;
        }
        let names: Vec<String> = figures
            .iter()
            .map(|(q, _)| format!("{q} % are below"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let ends = [view.places.first(), view.places.last()];
        for (n, at) in ends.iter().flatten().enumerate() {
            if n == 1 && view.places.len() == 1 {
                break;
            }
            let rows: Vec<_> = view
                .variants
                .iter()
                .map(|variant| {
                    let points = figures.iter().map(|(_, figure)| {
                        let i = view.get(variant, at, figure)?;
                        Some(Point {
                            x: i.mean,
                            y: 0.0,
                            half: None,
                        })
                    });
                    (variant.to_string(), points.collect::<Vec<_>>())
                })
                .filter(|(_, points)| points.iter().any(Option::is_some))
                .collect();
            if rows.is_empty() {
                continue;
            }
            let (title, _) = words(&base);
            let place = if view.places.len() > 1 {
                format!(", {}", at.words(&view.places))
            } else {
                String::new()
            };
            let frame = Frame {
                title: format!("{}: distribution of {title}{place}", view.name),
                x: label(&base),
                y: String::new(),
            };
            let svg = chart::dots(&frame, &names, &rows, true)?;
            charts.push((format!("distribution-{base}-{n}"), svg));
        }
    }
    Ok(charts)
}

/// Whether a series is a distribution already, as `delay_cdf_percent`.
fn is_distribution(name: &str) -> bool {
    name.contains("cdf") || name.contains("distribution")
}

/// Series of the first repetition of each variant and place: those with the same unit in one chart, with the events
/// beside them marked; distributions of all variants in one chart for each place.
fn series_charts(
    run: &Run,
    name: &str,
    limit: usize,
) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut charts = Vec::new();
    let all: Vec<&Series> = run.series.iter().filter(|s| s.experiment == name).collect();
    let first: Vec<&&Series> = all
        .iter()
        .filter(|s| {
            let same = |o: &&&Series| o.variant == s.variant && o.at == s.at && o.name == s.name;
            all.iter().filter(same).map(|o| o.repetition).min() == Some(s.repetition)
        })
        .collect();
    let mut done: Vec<(String, String)> = Vec::new();
    for series in &first {
        let at = crate::results::record::place(&series.at);
        let unit = words(&series.name).1;
        let distribution = is_distribution(&series.name);
        let group = if distribution {
            (series.name.clone(), at.clone())
        } else {
            (format!("{} {unit}", series.variant), at.clone())
        };
        if series.events || done.contains(&group) || charts.len() >= CURVES {
            continue;
        }
        done.push(group);
        let beside = |o: &&&&Series| {
            o.at == series.at
                && if distribution {
                    o.name == series.name
                } else {
                    o.variant == series.variant && !is_distribution(&o.name)
                }
        };
        let together: Vec<&&&Series> = first.iter().filter(beside).collect();
        let lines: Vec<Line> = together
            .iter()
            .filter(|o| !o.events && words(&o.name).1 == unit)
            .map(|o| Line {
                name: if distribution {
                    o.variant.clone()
                } else {
                    words(&o.name).0
                },
                points: chart::thinned(&o.points, limit),
            })
            .collect();
        let events: Vec<f64> = together
            .iter()
            .filter(|o| o.events)
            .flat_map(|o| o.points.iter().map(|p| p.0))
            .collect();
        let place = Place(series.at.clone()).words(&[]);
        let place = if place.is_empty() {
            place
        } else {
            format!(", {place}")
        };
        let what = if distribution {
            words(&series.name).0
        } else {
            series.variant.clone()
        };
        let dropped = if events.is_empty() {
            ""
        } else {
            "; dropped packets in red"
        };
        let frame = Frame {
            title: format!("{name}: {what}{place}{dropped}"),
            x: if distribution {
                "value".into()
            } else {
                "seconds".into()
            },
            y: unit.to_string(),
        };
        let svg = chart::curves(&frame, &lines, &events, !distribution)?;
        charts.push((format!("series-{}", charts.len() + 1), svg));
    }
    Ok(charts)
}

/// What the experiments that are known by name are, in the order in which they are shown.
const KNOWN: &[(&str, &str)] = &[
    (
        "tor-3-basic",
        "Experiment 3: a bulk download and a quiet stream of two clients over the same three relays; 50 ms there and back on each link.",
    ),
    (
        "tor-1-shared",
        "Experiment 1: eight clients whose circuits have the second and third relay in common; packets are dropped on the link between these two, or on all others.",
    ),
    (
        "tor-figure-1",
        "Figure 1: what waits on one connection between two relays: the output queue, what is unacknowledged, what is unsent. Streams that take no more are unwritable: with utcp circuits, with vanilla Tor the one connection, which 0.4.9's scheduler fills no further than twice the congestion window.",
    ),
    (
        "tor-figure-2",
        "Figure 2: two circuits over the same relays, octets by when they were sent (left edge) and received (right edge): a line swells where data waits. Dropped packets are marked.",
    ),
    (
        "tor-web",
        "Web-like clients beside bulk clients: time to the first and to the last octet of downloads.",
    ),
    (
        "tor-volume",
        "Delay of circuits by how much they carry (the paper's section 6.1).",
    ),
    (
        "tor-mixed",
        "A network in which a part of the relays is patched (the paper's section 3.2).",
    ),
    (
        "tor-relays",
        "What relays hold and use: sockets, memory, processor.",
    ),
    (
        "tor-emulator",
        "How exact the emulator was beside these experiments.",
    ),
    (
        "peers-drops",
        "Packets of one circuit alone are dropped: how much later its own cells come, and those of the others.",
    ),
    (
        "peers",
        "Bulk, quiet and request circuits between two relays, over each transport.",
    ),
    (
        "sim-network",
        "Bulk, web-like and quiet clients. `quiet added` is the delay beyond that of light and server; `web last` the time until a download is complete.",
    ),
    (
        "sim-probe",
        "The reconnaissance probe of section 4.2: an entry relay probes through the second relay to every other one, and takes the one that has become slowest since a bulk transfer began to be the exit. An AUC of 0.5 is chance, 1 is certainty.",
    ),
    (
        "sim-rtt-leak",
        "The leak of section 5.1.1: an entry relay compares the shortest time to an answer with the round-trip times of all relays. `learnt` is how many bits of `to learn` the guess gives; an AUC of 0.5 is chance, 1 is certainty.",
    ),
    (
        "shadow-network",
        "Bulk, web-like and quiet clients; paths as Tor chooses them. The kernel TCP of vanilla Tor is Shadow's own.",
    ),
];

/// What an experiment is.
fn about(name: &str) -> Option<&'static str> {
    let mut found = KNOWN.iter().filter(|(begin, _)| name.starts_with(begin));
    found.next().map(|(_, about)| *about)
}

/// Where an experiment comes in the order of those that are known; the others follow.
pub fn order(name: &str) -> usize {
    let found = KNOWN.iter().position(|(begin, _)| name.starts_with(begin));
    found.unwrap_or(KNOWN.len())
}

/// A file's name out of any text.
pub fn file_name(text: &str) -> String {
    let kept = text.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    });
    let joined: String = kept.collect();
    let parts: Vec<&str> = joined.split('-').filter(|p| !p.is_empty()).collect();
    parts.join("-")
}

/// All of an experiment; charts are appended to `charts`.
///
/// # Errors
/// What the plotting library says.
pub fn block(
    run: &Run,
    name: &str,
    limit: usize,
    charts: &mut Vec<Chart>,
) -> Result<Markup, Box<dyn Error>> {
    let view = View::new(run, name);
    let figures = ordered(&view);
    // What changes over time is what such an experiment is about.
    let mut pictures = series_charts(run, name, limit)?;
    let most = if pictures.is_empty() {
        CHARTS
    } else {
        pictures.len() + 2
    };
    // Quantiles have charts of their own, beside their mean.
    let plain = figures.iter().filter(|f| quantile(f).is_none());
    let medians = figures.iter().filter(|f| {
        quantile(f).is_some_and(|(base, q)| q == 50.0 && !figures.contains(&base.as_str()))
    });
    let mut drawn: Vec<&&str> = plain.chain(medians).collect();
    drawn.sort_by_key(|figure| (rank(figure), **figure));
    for figure in drawn {
        if pictures.len() >= most || rank(figure) == 1_000 && pictures.len() >= 2 {
            break;
        }
        pictures.extend(figure_charts(&view, figure)?);
    }
    pictures.extend(quantile_charts(&view)?);
    let own: Vec<Chart> = pictures
        .into_iter()
        .map(|(file, svg)| Chart {
            name: file_name(&format!("{name}-{file}")),
            svg,
        })
        .collect();
    let markup = html! {
        h3 id=(file_name(name)) { (name) }
        @if let Some(about) = about(name) { p { (about) } }
        p.note {
            (view.repetitions()) " repetitions at most"
            @if view.refused() > 0 { ", " (view.refused()) " refused" }
            "."
        }
        @if !own.is_empty() {
            div.charts { @for chart in &own { figure { (PreEscaped(&chart.svg)) } } }
        }
        (tables(&view, &figures))
    };
    charts.extend(own);
    Ok(markup)
}

fn tables(view: &View, figures: &[&str]) -> Markup {
    let main = figures.iter().filter(|f| rank(f) < 1_000).count();
    let main = if main == 0 { figures.len() } else { main }.min(6);
    let (first, rest) = figures.split_at(main);
    let some = |figures: &[&str]| {
        html! {
            @if view.places.len() == 1 {
                @for part in figures.chunks(7) { (view.figures_at(&view.places[0], part)) }
            } @else {
                div.many { @for figure in figures { (view.across(figure)) } }
            }
        }
    };
    html! {
        (some(first))
        @if !rest.is_empty() {
            details { summary { "all other figures (" (rest.len()) ")" } (some(rest)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_read_from_names() {
        assert_eq!(quantile("delay_p50_ms"), Some(("delay_ms".into(), 50.0)));
        assert_eq!(quantile("delay_p999_ms"), Some(("delay_ms".into(), 99.9)));
        assert_eq!(quantile("patched_ms"), None);
    }

    #[test]
    fn file_names_hold_nothing_else_than_letters_digits_and_dashes() {
        assert_eq!(file_name("tor-1 / shared, 0.1 %"), "tor-1-shared-0-1");
    }
}
