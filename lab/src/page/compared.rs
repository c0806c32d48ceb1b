//! Tables laid out like the paper's, with the paper's own figures beside ours.
//!
//! Figures are found by any of several names, so that an experiment that is not there, or lacks one, leaves a dash.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::paper::{self, Drops, EXPERIMENT_3, Transport};
use super::table::cell;
use crate::palette::is_ours;
use crate::report::short;
use crate::results::{Interval, Outcome, Run, interval};

const NETWORK: &[&str] = &[
    "sum_mbit",
    "network_mbit",
    "throughput_mbit",
    "bulk_sum_mbit",
];
const CIRCUIT: &[&str] = &["circuit_mbit", "mean_mbit", "circuit_mean_mbit"];
const LATENCY: &[&str] = &[
    "latency_ms",
    "latency_mean_ms",
    "probe_ms",
    "probe_mean_ms",
    "delay_mean_ms",
    "delay_ms",
];
const EFFECTIVE: &[&str] = &[
    "effective_drop_percent",
    "effective_loss_percent",
    "effective_percent",
    "dropped_percent",
];
const BULK: &[&str] = &["bulk_mbit", "throughput_mbit", "sum_mbit"];
const DURING: &[&str] = &[
    "during_ms",
    "delay_during_ms",
    "during_mean_ms",
    "delay_ms",
    "delay_mean_ms",
    "circuit_delay_ms",
];
const BASE: &[&str] = &["base_ms", "base_delay_ms", "base_mean_ms", "delay_base_ms"];

/// The tables; none if the run has neither of the paper's experiments.
pub fn tables(run: &Run) -> Option<Markup> {
    let first = rows(run, "tor-1");
    let third = rows(run, "tor-3");
    if first.is_empty() && third.is_empty() {
        return None;
    }
    Some(html! {
        p.note {
            "The paper's figures (grey) are those of Tor 0.2.0 on a laptop of 2009, whose links were not limited in rate: "
            "compare ratios, not sizes. One Mbit/s is 125 KB/s."
        }
        @if !third.is_empty() { (table_4(&third)) }
        @if !first.is_empty() { (throughput(&first)) (latency(&first)) }
    })
}

/// Repetitions of a variant with the same drops.
struct Row<'a> {
    variant: &'a str,
    drop: Drops,
    percent: f64,
    /// Coordinates beside those of drops, such as a rate limit.
    others: String,
    outcomes: Vec<&'a Outcome>,
}

impl Row<'_> {
    fn get(&self, names: &[&str]) -> Option<Interval> {
        names.iter().find_map(|name| {
            let values = self.outcomes.iter().filter_map(|o| o.figures.get(*name));
            interval(&values.copied().collect::<Vec<f64>>())
        })
    }

    fn transport(&self) -> Transport {
        if is_ours(self.variant) {
            Transport::TcpOverDtls
        } else {
            Transport::Tcp
        }
    }

    /// The paper has rows of 0 and 0.1 %, without any limit.
    fn is_the_papers(&self) -> bool {
        self.drop == Drops::None || self.percent == 0.1
    }

    /// The configuration in words.
    fn words(&self) -> String {
        let drop = self.drop.words(self.percent);
        if self.others.is_empty() {
            drop
        } else {
            format!("{drop}; {}", self.others)
        }
    }
}

/// Where an outcome had packets dropped, and how many percent of them: from a coordinate that names the place, as
/// `shared_percent`, or from `loss_percent` with a coordinate or variant that names it.
fn dropped(outcome: &Outcome) -> (Drops, f64) {
    let named = |word: &str| {
        let found = outcome
            .at
            .iter()
            .find(|(name, v)| name.contains(word) && **v > 0.0);
        found.map(|(name, v)| (name.ends_with("_percent"), *v))
    };
    let plain = outcome
        .at
        .get("loss_percent")
        .or(outcome.at.get("drop_percent"));
    for (word, drop) in [("shared", Drops::Shared), ("remaining", Drops::Remaining)] {
        match (named(word), plain) {
            (Some((true, percent)), _) => return (drop, percent),
            (Some((false, _)), Some(&percent)) if percent > 0.0 => return (drop, percent),
            (None, Some(&percent)) if percent > 0.0 && outcome.variant.contains(word) => {
                return (drop, percent);
            }
            _ => {}
        }
    }
    match plain {
        Some(&percent) if percent > 0.0 => (Drops::Shared, percent),
        _ => (Drops::None, 0.0),
    }
}

fn rows<'a>(run: &'a Run, experiment: &str) -> Vec<Row<'a>> {
    let mut rows: Vec<Row> = Vec::new();
    let begins = |o: &&Outcome| o.experiment.starts_with(experiment);
    let all: Vec<&Outcome> = run.outcomes.iter().filter(begins).collect();
    let differs = |name: &str, v: f64| all.iter().any(|o| o.at.get(name) != Some(&v));
    for outcome in all.iter().filter(|o| o.refused.is_none()) {
        let (drop, percent) = dropped(outcome);
        let others: BTreeMap<String, f64> = outcome
            .at
            .iter()
            .filter(|(name, v)| {
                let drops = ["loss", "drop", "shared", "remaining"];
                !drops.iter().any(|word| name.contains(word)) && differs(name, **v)
            })
            .map(|(name, v)| (name.clone(), *v))
            .collect();
        let others: Vec<String> = others
            .iter()
            .map(|(name, v)| super::words::coordinate(name, *v))
            .collect();
        let others = others.join(", ");
        let same = |row: &&mut Row| {
            row.variant == outcome.variant
                && (row.drop, row.percent) == (drop, percent)
                && row.others == others
        };
        match rows.iter_mut().find(same) {
            Some(row) => row.outcomes.push(outcome),
            None => rows.push(Row {
                variant: &outcome.variant,
                drop,
                percent,
                others,
                outcomes: vec![outcome],
            }),
        }
    }
    let order: Vec<&str> = rows.iter().map(|r| r.variant).collect();
    let order = |variant: &str| order.iter().position(|v| *v == variant);
    rows.sort_by(|a, b| {
        let key = |r: &Row| (!is_ours(r.variant), order(r.variant), r.others.clone());
        key(a)
            .cmp(&key(b))
            .then(a.percent.total_cmp(&b.percent))
            .then((a.drop as u8).cmp(&(b.drop as u8)))
    });
    rows
}

fn papers((mean, half): (f64, f64)) -> String {
    // As printed.
    format!("{mean} \u{b1} {half}")
}

/// By how many percent `value` differs from that without drops.
fn change(rows: &[Row], row: &Row, names: &[&str]) -> Option<f64> {
    let base = rows
        .iter()
        .find(|r| r.variant == row.variant && r.others == row.others && r.drop == Drops::None);
    let base = base?.get(names)?.mean;
    (base > 0.0).then(|| (row.get(names).map_or(f64::NAN, |v| v.mean) / base - 1.0) * 100.0)
}

fn percent(value: Option<f64>) -> String {
    value
        .filter(|v| v.is_finite())
        .map_or("\u{2013}".into(), |v| format!("{v:.1} %"))
}

fn table_4(rows: &[Row]) -> Markup {
    html! {
        h3 id="table-4" { "Table 4: throughput and delay (Experiment 3)" }
        div.wide { table {
            caption { "A bulk transfer and a quiet stream over the same three relays" }
            thead { tr {
                th { "" } th { "bulk, Mbit/s" } th { "delay during bulk, ms" } th { "base delay, ms" }
                th { "during / base" }
                th.paper { "paper: KB/s" } th.paper { "delay, ms" } th.paper { "base, ms" } th.paper { "during / base" }
            } }
            tbody { @for row in rows {
                @let paper = EXPERIMENT_3.iter().find(|p| p.transport == row.transport());
                @let (during, base) = (row.get(DURING), row.get(BASE));
                @let clean = row.drop == Drops::None;
                tr.ours[is_ours(row.variant)] {
                    td { (row.variant) @if !clean || !row.others.is_empty() { ", " (row.words()) } }
                    td { (cell(row.get(BULK))) }
                    td { (cell(during)) }
                    td { (cell(base)) }
                    td { (during.zip(base).map_or("\u{2013}".into(), |(d, b)| format!("{:.2}", d.mean / b.mean))) }
                    @match paper {
                        Some(p) if clean => {
                            td.paper { (papers(p.throughput)) }
                            td.paper { (papers(p.delay)) }
                            td.paper { (papers(p.base)) }
                            td.paper { (format!("{:.2}", p.delay.0 / p.base.0)) }
                        }
                        _ => { td.paper {} td.paper {} td.paper {} td.paper {} }
                    }
                }
            } }
        } }
    }
}

fn throughput(rows: &[Row]) -> Markup {
    html! {
        h3 id="table-5" { "Tables 1 and 5: throughput for different dropping configurations (Experiment 1)" }
        div.wide { table {
            caption { "Eight clients, the second and third relay shared" }
            thead { tr {
                th { "version" } th.t { "configuration" } th { "network, Mbit/s" } th { "circuit, Mbit/s" }
                th { "degradation" } th { "effective drop rate" }
                th.paper { "paper: network, KB/s" } th.paper { "circuit, KB/s" } th.paper { "degradation" }
                th.paper { "drop rate" }
            } }
            tbody { @for row in rows {
                @let p = paper::experiment_1(row.transport(), row.drop);
                tr.ours[is_ours(row.variant)] {
                    td { (row.variant) } td.t { (row.words()) }
                    td { (cell(row.get(NETWORK))) }
                    td { (cell(row.get(CIRCUIT))) }
                    td { (percent(change(rows, row, NETWORK).map(|v| 0.0 - v))) }
                    td { (row.get(EFFECTIVE).map_or("\u{2013}".into(), |v| format!("{} %", short(v.mean)))) }
                    @if row.is_the_papers() {
                        td.paper { (papers(p.network)) } td.paper { (papers(p.circuit)) }
                        td.paper { (p.degradation) " %" } td.paper { (p.effective) " %" }
                    } @else { td.paper {} td.paper {} td.paper {} td.paper {} }
                }
            } }
        } }
    }
}

fn latency(rows: &[Row]) -> Markup {
    html! {
        h3 id="table-6" { "Tables 2 and 6: latency for different dropping configurations (Experiment 1)" }
        div.wide { table {
            thead { tr {
                th { "version" } th.t { "configuration" } th { "average latency, ms" } th { "increase" }
                th { "effective drop rate" }
                th.paper { "paper: latency, ms" } th.paper { "increase" } th.paper { "drop rate" }
            } }
            tbody { @for row in rows {
                @let p = paper::experiment_1(row.transport(), row.drop);
                tr.ours[is_ours(row.variant)] {
                    td { (row.variant) } td.t { (row.words()) }
                    td { (cell(row.get(LATENCY))) }
                    td { (percent(change(rows, row, LATENCY))) }
                    td { (row.get(EFFECTIVE).map_or("\u{2013}".into(), |v| format!("{} %", short(v.mean)))) }
                    @if row.is_the_papers() {
                        td.paper { (papers(p.latency)) } td.paper { (p.increase) " %" } td.paper { (p.effective) " %" }
                    } @else { td.paper {} td.paper {} td.paper {} }
                }
            } }
        } }
    }
}
