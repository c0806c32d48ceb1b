//! Charts as SVG texts: lines over a coordinate, dots by variant, values over time with events.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::palette::{EVENT, INK, MIXED, OURS, PALE, colours, is_ours};
use crate::report::short;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// Width of all charts, in pixels.
pub const WIDTH: u32 = 640;

/// A point with half of its 95 % interval, if it has one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Across.
    pub x: f64,
    /// Up.
    pub y: f64,
    /// How far the truth may be.
    pub half: Option<f64>,
}

/// Points with a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// As in the legend.
    pub name: String,
    /// In order of x.
    pub points: Vec<Point>,
}

/// A row of dots: its name, and a dot (x alone counts) for each colour, where there is one.
pub type Row = (String, Vec<Option<Point>>);

/// What is written beside a chart.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Above.
    pub title: String,
    /// Below.
    pub x: String,
    /// To the left.
    pub y: String,
}

fn text(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// About how wide a text is.
fn width(text: &str) -> i32 {
    (text.chars().count() as f64 * 6.4).ceil() as i32
}

/// Title and legend at the top of `area`; gives the rest.
fn head<'a>(
    area: &Area<'a>,
    title: &str,
    names: &[&str],
    colours: &[RGBColor],
) -> Result<Area<'a>, Box<dyn Error>> {
    area.draw(&Text::new(title.to_string(), (10, 8), text(15)))?;
    let (mut x, mut y) = (12, 32);
    if names.len() > 1 {
        for (name, colour) in names.iter().zip(colours) {
            let wide = width(name) + 30;
            if x + wide > WIDTH as i32 && x > 12 {
                (x, y) = (12, y + 17);
            }
            area.draw(&Rectangle::new(
                [(x, y + 3), (x + 12, y + 9)],
                colour.filled(),
            ))?;
            area.draw(&Text::new(name.to_string(), (x + 17, y), text(12)))?;
            x += wide;
        }
        y += 18;
    }
    Ok(area.split_vertically(y).1)
}

/// How much height a legend takes.
fn legend_height(names: &[&str]) -> u32 {
    if names.len() < 2 {
        return 0;
    }
    let (mut x, mut rows) = (12, 1);
    for name in names {
        let wide = width(name) + 30;
        if x + wide > WIDTH as i32 && x > 12 {
            (x, rows) = (12, rows + 1);
        }
        x += wide;
    }
    rows * 17
}

fn svg(height: u32, draw: impl FnOnce(&Area) -> Drawn) -> Result<String, Box<dyn Error>> {
    let mut out = String::new();
    {
        let area = SVGBackend::with_string(&mut out, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    Ok(out)
}

fn most(values: impl Iterator<Item = f64>) -> f64 {
    values
        .filter(|v| v.is_finite())
        .fold(0.0_f64, f64::max)
        .max(1e-9)
}

/// Half of an interval, if it is to be drawn: that of two repetitions is often wider than the value, and would hide
/// everything else. Tables have it.
fn whisker(half: Option<f64>, value: f64) -> Option<f64> {
    half.filter(|half| *half <= value.abs() / 2.0)
}

/// Lines over a coordinate, with intervals. Positions across are the ranks of the coordinate's values, which are
/// seldom even: 0, 0.1 and 1 % of loss.
///
/// # Errors
/// What the plotting library says.
pub fn lines(frame: &Frame, lines: &[Line]) -> Result<String, Box<dyn Error>> {
    let names: Vec<&str> = lines.iter().map(|l| l.name.as_str()).collect();
    let colours = colours(&names);
    let mut values: Vec<f64> = lines.iter().flat_map(|l| &l.points).map(|p| p.x).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let position = |x: f64| values.iter().position(|v| *v == x).unwrap_or(0) as f64;
    let last = values.len().saturating_sub(1) as f64;
    let points = || lines.iter().flat_map(|l| &l.points);
    let top = most(points().map(|p| p.y + whisker(p.half, p.y).unwrap_or(0.0)));
    svg(330 + legend_height(&names), |area| {
        let area = head(area, &frame.title, &names, &colours)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(38)
            .y_label_area_size(58)
            .build_cartesian_2d(-0.15..last + 0.15, 0.0..top * 1.06)?;
        let at = |x: &f64| {
            let rank = x.round();
            let near = (x - rank).abs() < 0.01;
            let value = values.get(rank as usize).filter(|_| near && rank >= 0.0);
            value.map_or(String::new(), f64::to_string)
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .bold_line_style(PALE)
            .axis_style(PALE)
            .x_labels(values.len() * 2 + 3)
            .x_label_formatter(&at)
            .y_label_formatter(&|y| short(*y))
            .y_labels(6)
            .x_desc(&frame.x)
            .y_desc(&frame.y)
            .label_style(text(12))
            .axis_desc_style(text(12))
            .draw()?;
        for (line, colour) in lines.iter().zip(&colours) {
            let points = || line.points.iter().filter(|p| p.y.is_finite());
            let path = points().map(|p| (position(p.x), p.y));
            chart.draw_series(LineSeries::new(path, colour.stroke_width(2)))?;
            let dots = points().map(|p| Circle::new((position(p.x), p.y), 3, colour.filled()));
            chart.draw_series(dots)?;
            let whiskers = points().filter_map(|p| {
                let half = whisker(p.half, p.y)?;
                let x = position(p.x);
                let ends = [(x, (p.y - half).max(0.0)), (x, (p.y + half).min(top))];
                Some(PathElement::new(ends, colour.mix(0.6).stroke_width(1)))
            });
            chart.draw_series(whiskers)?;
        }
        Ok(())
    })
}

/// Dots on a row for each variant or place, a colour for each of `names` (variants, places or quantiles), joined by a
/// line if `joined`.
///
/// # Errors
/// What the plotting library says.
pub fn dots(
    frame: &Frame,
    names: &[&str],
    rows: &[Row],
    joined: bool,
) -> Result<String, Box<dyn Error>> {
    // Enough for all dots of a row side by side.
    let row_height = if joined {
        26
    } else {
        26.max(8 + 7 * names.len() as i32)
    };
    let palette: Vec<RGBColor> = if names.iter().any(|name| is_ours(name)) {
        colours(names)
    } else {
        (0..names.len()).map(|n| MIXED[n % MIXED.len()]).collect()
    };
    let own: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    let own = colours(&own);
    let longest = rows.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let left = (longest + 14).clamp(80, WIDTH as i32 / 2);
    let all = || rows.iter().flat_map(|(_, points)| points.iter().flatten());
    let top = most(all().map(|p| p.x + whisker(p.half, p.x).unwrap_or(0.0)));
    let height = 84 + legend_height(names) as i32 + row_height * rows.len() as i32;
    svg(height as u32, |area| {
        let area = head(area, &frame.title, names, &palette)?;
        let count = rows.len() as f64;
        let mut chart = ChartBuilder::on(&area)
            .margin(6)
            .margin_right(18)
            .x_label_area_size(38)
            .y_label_area_size(left)
            .build_cartesian_2d(0.0..top * 1.04, (-count + 0.4)..0.6)?;
        let name = |y: &f64| {
            let row = -y;
            let near = (row - row.round()).abs() < 0.01 && row.round() >= 0.0;
            let found = rows.get(row.round().max(0.0) as usize).filter(|_| near);
            found.map_or(String::new(), |(name, _)| name.clone())
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(WHITE)
            .bold_line_style(PALE)
            .axis_style(PALE)
            .x_label_formatter(&|x| short(*x))
            .x_labels(7)
            .y_labels(0)
            .y_label_formatter(&name)
            .x_desc(&frame.x)
            .label_style(text(12))
            .axis_desc_style(text(12))
            .draw()?;
        for (row, (name, points)) in rows.iter().enumerate() {
            let y = -(row as f64);
            let at = chart.backend_coord(&(0.0, y));
            let weight = if is_ours(name) { OURS[0] } else { INK };
            let style = text(12).color(&weight);
            let (_, base) = area.get_base_pixel();
            area.draw(&Text::new(name.clone(), (8, at.1 - base - 6), style))?;
            chart.draw_series([PathElement::new(
                [(0.0, y), (top * 1.04, y)],
                PALE.stroke_width(1),
            )])?;
            let present = || points.iter().flatten().map(|p| p.x);
            if joined && present().count() > 1 {
                let ends = [
                    (present().fold(f64::INFINITY, f64::min), y),
                    (present().fold(0.0, f64::max), y),
                ];
                chart.draw_series([PathElement::new(ends, INK.mix(0.45).stroke_width(2))])?;
            }
            for (n, point) in points.iter().enumerate() {
                let Some(p) = point else { continue };
                let colour = if names.len() > 1 {
                    palette[n]
                } else {
                    own[row]
                };
                // Side by side, so that places that are equal are all seen.
                let spread = if joined { 0.0 } else { 0.75 };
                let y =
                    y + spread * ((names.len() as f64 - 1.0) / 2.0 - n as f64) / names.len() as f64;
                if let Some(half) = whisker(p.half, p.x) {
                    let ends = [((p.x - half).max(0.0), y), ((p.x + half).min(top), y)];
                    let whisker = PathElement::new(ends, colour.mix(0.5).stroke_width(3));
                    chart.draw_series([whisker])?;
                }
                chart.draw_series([Circle::new((p.x, y), 4, colour.filled())])?;
            }
        }
        Ok(())
    })
}

/// What was sent of what is called so, and what was received: the edges of a band.
fn edges(lines: &[Line]) -> Vec<(usize, usize)> {
    let find = |name: String| lines.iter().position(|l| l.name == name);
    let pairs = lines.iter().enumerate().filter_map(|(n, line)| {
        let what = line.name.strip_suffix(" sent")?;
        Some((n, find(format!("{what} received"))?))
    });
    pairs.collect()
}

/// Values over time or another number across, with vertical lines at `events`. What lies between `... sent` and
/// `... received` of the same name is filled: it is under way.
///
/// # Errors
/// What the plotting library says.
pub fn curves(
    frame: &Frame,
    lines: &[Line],
    events: &[f64],
    from_zero: bool,
) -> Result<String, Box<dyn Error>> {
    let names: Vec<&str> = lines.iter().map(|l| l.name.as_str()).collect();
    let mut colours = colours(&names);
    let bands = edges(lines);
    for (sent, received) in &bands {
        colours[*received] = colours[*sent];
    }
    let all = || lines.iter().flat_map(|l| &l.points);
    let first = if from_zero {
        0.0
    } else {
        all().map(|p| p.x).fold(f64::INFINITY, f64::min)
    };
    let first = if first.is_finite() { first } else { 0.0 };
    let last = all().map(|p| p.x).chain(events.iter().copied());
    let last = last.fold(first + 1e-9, f64::max);
    let top = most(all().map(|p| p.y));
    svg(300 + legend_height(&names), |area| {
        let area = head(area, &frame.title, &names, &colours)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(38)
            .y_label_area_size(66)
            .build_cartesian_2d(first..last, 0.0..top * 1.05)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(PALE)
            .axis_style(PALE)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .x_labels(8)
            .y_labels(6)
            .x_desc(&frame.x)
            .y_desc(&frame.y)
            .label_style(text(12))
            .axis_desc_style(text(12))
            .draw()?;
        let marks = events.iter().map(|x| {
            let ends = [(*x, 0.0), (*x, top * 1.05)];
            PathElement::new(ends, EVENT.mix(0.45).stroke_width(1))
        });
        chart.draw_series(marks)?;
        for (sent, received) in &bands {
            let there = lines[*sent].points.iter();
            let back = lines[*received].points.iter().rev();
            let outline: Vec<(f64, f64)> = there.chain(back).map(|p| (p.x, p.y)).collect();
            chart.draw_series([Polygon::new(outline, colours[*sent].mix(0.45))])?;
        }
        for (line, colour) in lines.iter().zip(&colours) {
            let path = line.points.iter().map(|p| (p.x, p.y));
            chart.draw_series(LineSeries::new(path, colour.stroke_width(1)))?;
        }
        Ok(())
    })
}

/// At most `limit` points of a line, keeping the lowest and highest of each part.
pub fn thinned(points: &[(f64, f64)], limit: usize) -> Vec<Point> {
    let point = |&(x, y): &(f64, f64)| Point { x, y, half: None };
    if points.len() <= limit.max(2) {
        return points.iter().map(point).collect();
    }
    let part = points.len().div_ceil(limit.max(2) / 2);
    let both = points.chunks(part).flat_map(|part| {
        let low = part
            .iter()
            .enumerate()
            .min_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let high = part
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let mut both: Vec<(usize, &(f64, f64))> = low.into_iter().chain(high).collect();
        both.sort_by_key(|(n, _)| *n);
        both.dedup_by_key(|(n, _)| *n);
        both.into_iter().map(|(_, p)| point(p))
    });
    both.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_and_received_are_the_edges_of_a_band() {
        let line = |name: &str| Line {
            name: name.into(),
            points: Vec::new(),
        };
        let lines = ["a received", "a sent", "b sent", "unsent"].map(line);
        assert_eq!(edges(&lines), [(1, 0)]);
    }
}
