//! Plots as SVG.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::bench::Results;
use crate::linux::measured;
use crate::palette::colours;
use crate::scenario::grid::{LOSSES, RATES, RTTS};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Outcome = Result<(), Box<dyn Error>>;

struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    /// Marks without lines.
    marks: bool,
}

/// Draws all plots of what was run.
///
/// # Errors
/// What the file system or the plotting library says.
pub fn all(folder: &Path, results: &Results) -> Outcome {
    let ran = |scenario| !results.contestants(scenario).is_empty();
    if ran("grid") {
        grid(&folder.join("grid.svg"), results)?;
    }
    let plots = [
        (
            "tail-loss",
            "rtt",
            "extra_ms",
            "ms more when the last packet is lost, by round-trip ms",
            Some(("lost", 1.0)),
        ),
        (
            "window-loss",
            "lost",
            "extra_ms",
            "ms more when packets of one window are lost, by their number",
            None,
        ),
        (
            "cells",
            "loss",
            "p999",
            "p99.9 of a cell's one-way delay in ms, by % lost each way",
            None,
        ),
        (
            "fresh",
            "rtt",
            "ms",
            "ms until 100 kB of a fresh flow have arrived, by round-trip ms",
            Some(("octets", 100_000.0)),
        ),
        (
            "ack-loss",
            "loss",
            "percent",
            "% of 100 Mbit/s, by % of acknowledgements lost",
            Some(("rate", 100.0)),
        ),
    ];
    for (scenario, x, figure, title, only) in plots {
        if !ran(scenario) {
            continue;
        }
        let series = series(results, scenario, x, figure, only);
        let file = folder.join(format!("{scenario}.svg"));
        let area = SVGBackend::new(&file, (800, 480)).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area, title, &series, None, true, &|x| format!("{x}"))?;
        area.present()?;
    }
    Ok(())
}

fn series(
    results: &Results,
    scenario: &str,
    x: &str,
    figure: &str,
    only: Option<(&str, f64)>,
) -> Vec<Series> {
    let contestants = results.contestants(scenario);
    let all = contestants.into_iter().map(|name| {
        let outcomes = results.of(scenario, &name);
        let mut points: Vec<(f64, f64)> = outcomes
            .filter(|(_, o)| only.is_none_or(|(c, v)| o.coordinate(c) == v))
            .filter_map(|(_, o)| Some((o.coordinate(x), o.median(figure)?)))
            .filter(|(_, y)| y.is_finite())
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series {
            name,
            points,
            marks: false,
        }
    });
    all.filter(|s| !s.points.is_empty()).collect()
}

/// Goodput over loss, a panel for each rate and round-trip time, Linux's figures as crosses.
fn grid(file: &Path, results: &Results) -> Outcome {
    let area = SVGBackend::new(file, (1_600, 1_100)).into_drawing_area();
    area.fill(&WHITE)?;
    let position = |loss: f64| LOSSES.iter().position(|l| *l == loss).unwrap_or(0) as f64;
    let panels = area.split_evenly((RATES.len(), RTTS.len()));
    let places = RATES.iter().flat_map(|rate| RTTS.map(|rtt| (*rate, rtt)));
    for (panel, (rate, rtt)) in panels.iter().zip(places) {
        let here = |r: f64, t: f64| r == rate && t == rtt;
        let mut all = Vec::new();
        for name in results.contestants("grid") {
            let outcomes = results.of("grid", &name);
            let mut points: Vec<(f64, f64)> = outcomes
                .filter(|(_, o)| here(o.coordinate("rate"), o.coordinate("rtt")))
                .filter_map(|(_, o)| Some((position(o.coordinate("loss")), o.median("percent")?)))
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            all.push(Series {
                name,
                points,
                marks: false,
            });
        }
        for control in ["cubic", "bbr"] {
            let rows = measured().into_iter();
            let points = rows
                .filter(|m| m.control == control && here(m.rate, m.rtt))
                .map(|m| (position(m.loss), m.goodput / m.rate * 100.0));
            all.push(Series {
                name: format!("linux-{control}"),
                points: points.collect(),
                marks: true,
            });
        }
        let title = format!("{rate} Mbit/s, {rtt} ms: % of the rate by % lost");
        let label = |x: &f64| {
            let loss = LOSSES.get(x.round() as usize);
            loss.map_or(String::new(), f64::to_string)
        };
        let range = (0.0..(LOSSES.len() - 1) as f64, 0.0..100.0);
        draw(panel, &title, &all, Some(range), here(10.0, 20.0), &label)?;
    }
    area.present()?;
    Ok(())
}

type Span = std::ops::Range<f64>;

/// One panel.
fn draw(
    area: &Area,
    title: &str,
    all: &[Series],
    range: Option<(Span, Span)>,
    legend: bool,
    label: &dyn Fn(&f64) -> String,
) -> Outcome {
    let points = || all.iter().flat_map(|s| &s.points);
    let (x, y) = range.unwrap_or_else(|| {
        let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0_f64, f64::max);
        let x = most(&mut points().map(|p| p.0)).max(1e-9);
        let y = most(&mut points().map(|p| p.1)).max(1e-9);
        (0.0..x, 0.0..y * 1.05)
    });
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(40)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_labels(5)
        .x_label_formatter(label)
        .draw()?;
    let names: Vec<&str> = all.iter().map(|series| series.name.as_str()).collect();
    for (series, colour) in all.iter().zip(colours(&names)) {
        let drawn = if series.marks {
            let crosses = series.points.iter();
            chart.draw_series(crosses.map(|p| Cross::new(*p, 4, colour.stroke_width(2))))?
        } else {
            let line = LineSeries::new(series.points.iter().copied(), colour.stroke_width(2));
            chart.draw_series(line.point_size(3))?
        };
        let key = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2));
        drawn.label(&series.name).legend(key);
    }
    if legend {
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
    }
    Ok(())
}
