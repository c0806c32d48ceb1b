//! What both processes and the link tell, as the figures of one outcome.

use std::collections::BTreeMap;

use super::clock::{MILLI, Micros, SECOND};
use super::process::Report;
use super::traffic::{Pattern, Sample, Seen};

/// What the link carried, both directions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Octets of IP packets that entered.
    pub octets: u64,
    /// Packets that entered.
    pub packets: u64,
    /// Lost at random.
    pub lost: u64,
    /// Lost since the queue was full.
    pub overflowed: u64,
}

/// The value that this share of all does not exceed (nearest rank).
pub fn quantile(values: &[Micros], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let value = sorted.get(rank.max(1) - 1)?;
    Some(*value as f64 / MILLI as f64)
}

fn mean(values: &[Micros]) -> Option<f64> {
    let sum: Micros = values.iter().sum();
    (!values.is_empty()).then(|| sum as f64 / values.len() as f64 / MILLI as f64)
}

/// Jain's index: 1 if all have the same, 1/n if one has everything.
pub fn jain(values: &[u64]) -> Option<f64> {
    let sum: f64 = values.iter().map(|&value| value as f64).sum();
    let squares: f64 = values.iter().map(|&value| (value as f64).powi(2)).sum();
    (squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares))
}

/// Figures of all kinds of circuits together.
pub fn load(
    pattern: &Pattern,
    client: &Report,
    server: &Report,
    seen: &Seen,
    link: &Carried,
) -> BTreeMap<String, f64> {
    let seconds = pattern.measure as f64 / SECOND as f64;
    let bulk: u64 = seen.bulk.iter().sum();
    let idle = quantile(&seen.idle, 0.5);
    let quiet = quantile(&seen.loaded, 0.5);
    let cells = client.cell_octets + server.cell_octets;
    let figures = [
        ("sum_mbit", Some(bulk as f64 * 8.0 / seconds / 1e6)),
        ("jain", jain(&seen.bulk)),
        ("idle_p50_ms", idle),
        ("idle_p99_ms", quantile(&seen.idle, 0.99)),
        ("quiet_p50_ms", quiet),
        ("quiet_p99_ms", quantile(&seen.loaded, 0.99)),
        ("quiet_mean_ms", mean(&seen.loaded)),
        ("quiet_one_way_p50_ms", quantile(&seen.loaded_one_way, 0.5)),
        ("quiet_one_way_p99_ms", quantile(&seen.loaded_one_way, 0.99)),
        (
            "quiet_idle_ratio",
            idle.zip(quiet).map(|(idle, quiet)| quiet / idle),
        ),
        ("quiet_cells", Some(seen.loaded.len() as f64)),
        ("quiet_unanswered", Some(seen.unanswered as f64)),
        ("request_p50_ms", quantile(&seen.requests, 0.5)),
        ("requests", Some(seen.requests.len() as f64)),
        ("sockets", Some(client.sockets.max(server.sockets) as f64)),
        ("client_memory_octets", Some(client.memory_octets as f64)),
        ("server_memory_octets", Some(server.memory_octets as f64)),
        ("processor_s", Some(client.processor_s + server.processor_s)),
        (
            "processor_ns_per_octet",
            (bulk > 0).then(|| (client.processor_s + server.processor_s) * 1e9 / bulk as f64),
        ),
        (
            "wire_ratio",
            (cells > 0).then(|| link.octets as f64 / cells as f64),
        ),
        ("packets", Some(link.packets as f64)),
        ("lost", Some(link.lost as f64)),
        ("overflowed", Some(link.overflowed as f64)),
    ];
    named(figures)
}

fn named<const N: usize>(figures: [(&str, Option<f64>); N]) -> BTreeMap<String, f64> {
    let figures = figures.into_iter();
    figures
        .filter_map(|(name, figure)| Some((name.to_string(), figure?)))
        .collect()
}

/// How long before a drop a cell that it may have concerned was sent, and how long after it still may have suffered.
const CONCERNED: (Micros, Micros) = (100 * MILLI, 900 * MILLI);

/// Figures of single drops at known times.
///
/// The circuit that a drop has delayed most is the one whose cell was in the packet; what the others lose with it is what
/// a transport makes of it.
pub fn drops(seen: &Seen, times: &[Micros]) -> BTreeMap<String, f64> {
    let all: Vec<Micros> = seen.samples.iter().map(|sample| sample.took).collect();
    let usual = quantile(&all, 0.5);
    let each: Vec<[f64; 2]> = times
        .iter()
        .filter_map(|&time| {
            let within = |sample: &&Sample| {
                sample.asked + CONCERNED.0 >= time && sample.asked < time + CONCERNED.1
            };
            let mut worst = BTreeMap::<u32, Micros>::new();
            for sample in seen.samples.iter().filter(within) {
                let took = worst.entry(sample.circuit).or_default();
                *took = sample.took.max(*took);
            }
            let mut worst: Vec<f64> = worst
                .into_values()
                .map(|took| took as f64 / MILLI as f64)
                .collect();
            worst.sort_by(|a, b| b.total_cmp(a));
            let usual = usual?;
            let others = worst.get(1..).filter(|others| !others.is_empty())?;
            let mean = others.iter().sum::<f64>() / others.len() as f64;
            Some([worst[0] - usual, mean - usual])
        })
        .collect();
    let mean = |index: usize| {
        let sum: f64 = each.iter().map(|extra| extra[index]).sum();
        (!each.is_empty()).then(|| sum / each.len() as f64)
    };
    named([
        ("idle_p50_ms", usual),
        ("hit_extra_ms", mean(0)),
        ("others_extra_ms", mean(1)),
        ("drops", Some(each.len() as f64)),
        ("quiet_unanswered", Some(seen.unanswered as f64)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_fairness() {
        let values: Vec<Micros> = (1..=200).map(|n| n * MILLI).rev().collect();
        assert_eq!(quantile(&values, 0.5), Some(100.0));
        assert_eq!(quantile(&values, 0.99), Some(198.0));
        assert_eq!(quantile(&[7 * MILLI], 0.99), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(jain(&[5, 5, 5, 5]), Some(1.0));
        assert_eq!(jain(&[9, 0, 0, 0]), Some(0.25));
        assert_eq!(jain(&[0, 0]), None);
    }

    #[test]
    fn figures_of_a_run() {
        let pattern = Pattern::default();
        let seen = Seen {
            idle: vec![50 * MILLI; 10],
            loaded: vec![75 * MILLI; 10],
            bulk: vec![2_500_000; 8],
            ..Seen::default()
        };
        let side = |cell_octets| Report {
            cell_octets,
            sockets: 2,
            processor_s: 0.5,
            ..Report::default()
        };
        let link = Carried {
            octets: 22_000_000,
            ..Carried::default()
        };
        let figures = load(&pattern, &side(20_000_000), &side(0), &seen, &link);
        assert_eq!(figures["sum_mbit"], 32.0);
        assert_eq!(figures["quiet_idle_ratio"], 1.5);
        assert_eq!(figures["wire_ratio"], 1.1);
        assert_eq!(figures["processor_ns_per_octet"], 50.0);
        assert_eq!(figures["jain"], 1.0);
        assert!(
            !figures.contains_key("request_p50_ms"),
            "nothing was requested"
        );
    }

    #[test]
    fn a_drop_concerns_one_circuit_or_all_of_them() {
        let samples = |of: &dyn Fn(u32, Micros) -> Micros| {
            let all = (0..100)
                .flat_map(|step| (1..=4).map(move |circuit| (circuit, SECOND + step * 40 * MILLI)));
            all.map(|(circuit, asked)| Sample {
                circuit,
                asked,
                took: of(circuit, asked),
            })
            .collect()
        };
        let dropped = 2 * SECOND;
        let late = |asked: Micros| asked.abs_diff(dropped) < 30 * MILLI;
        let alone = samples(&|circuit, asked| {
            if circuit == 2 && late(asked) {
                110 * MILLI
            } else {
                50 * MILLI
            }
        });
        let figures = drops(
            &Seen {
                samples: alone,
                ..Seen::default()
            },
            &[dropped],
        );
        assert_eq!(
            (figures["hit_extra_ms"], figures["others_extra_ms"]),
            (60.0, 0.0)
        );
        let all = samples(&|_, asked| if late(asked) { 110 * MILLI } else { 50 * MILLI });
        let figures = drops(
            &Seen {
                samples: all,
                ..Seen::default()
            },
            &[dropped],
        );
        assert_eq!(
            (figures["hit_extra_ms"], figures["others_extra_ms"]),
            (60.0, 60.0)
        );
    }
}
