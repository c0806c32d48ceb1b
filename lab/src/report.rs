//! Tables and JSON.

use std::io;
use std::path::Path;

use serde_json::json;

use crate::bench::Results;
use crate::scenario::Scenario;
use crate::targets::Verdict;

/// A number with about three digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_string(),
        0.0 => "0".to_string(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Lines up columns; the first one to the left.
fn print(rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = format!("{:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line.push_str(&format!("  {cell:>width$}"));
        }
        println!("{}", line.trim_end());
    }
}

/// A table of medians for each scenario: points down, contestants across.
pub fn tables(scenarios: &[&Scenario], results: &Results) {
    for scenario in scenarios {
        let contestants = results.contestants(scenario.name);
        if contestants.is_empty() {
            continue;
        }
        println!("\n{}: {}", scenario.name, scenario.about);
        let mut points: Vec<(Vec<f64>, &str)> = Vec::new();
        for (key, outcome) in &results.outcomes {
            if key.scenario == scenario.name {
                let order = outcome.at.iter().map(|(_, v)| *v).collect();
                points.push((order, &key.point));
            }
        }
        points.sort_by(|a, b| a.partial_cmp(b).expect("coordinates are numbers"));
        points.dedup();
        let mut rows = vec![vec![String::new()]];
        let mut ended = false;
        for contestant in &contestants {
            for (index, (_, heading)) in scenario.columns.iter().enumerate() {
                let name = if index == 0 { contestant } else { "" };
                rows[0].push(format!("{name} {heading}").trim().to_string());
            }
        }
        for (_, point) in points {
            let mut row = vec![point.to_string()];
            for contestant in &contestants {
                let get = |figure| results.get(scenario.name, contestant, point, figure);
                let mark = if get("ended") > Some(0.0) { "!" } else { "" };
                ended |= !mark.is_empty();
                for (figure, _) in scenario.columns {
                    let text = short(get(figure).unwrap_or(f64::NAN));
                    row.push(format!("{text}{mark}"));
                }
            }
            rows.push(row);
        }
        print(&rows);
        if ended {
            println!("!: it ended the connection by itself, so it stopped there");
        }
    }
}

/// Each target, and how many are met.
pub fn verdicts(verdicts: &[Verdict]) {
    println!("\ntargets (medians over the seeds):");
    let word = |met| if met { "met" } else { "missed" };
    for v in verdicts {
        println!("{:<6}  {}: {}, {}", word(v.met), v.what, v.bound, v.figure);
    }
    let met = verdicts.iter().filter(|v| v.met).count();
    println!("targets: {met} met, {} missed", verdicts.len() - met);
}

/// Stores everything as `results.json` in a folder. `lacks` says what makes it less than the whole.
///
/// # Errors
/// What the file system says.
pub fn write_json(
    folder: &Path,
    results: &Results,
    verdicts: &[Verdict],
    seeds: u64,
    lacks: Option<&str>,
) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let document = json!({
        "units": "Mbit/s, milliseconds, percent, octets; medians over the seeds",
        "seeds": seeds,
        "lacks": lacks,
        "targets": verdicts
            .iter()
            .map(|v| json!({"what": v.what, "bound": v.bound, "figure": v.figure, "met": v.met}))
            .collect::<Vec<_>>(),
        "outcomes": results.to_json(),
    });
    std::fs::write(folder.join("results.json"), format!("{document:#}\n"))
}
