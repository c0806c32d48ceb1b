//! Whether figures can be: what no network of this kind gives shows a mistake of the laboratory.

use std::collections::BTreeMap;

use super::experiments::{DELAY_MS, RATE_MBIT, Task, Work, mixed, picture, queues};
use super::programs::Program;

/// Links between a client and the destination that take time; each takes [`DELAY_MS`].
const LINKS: f64 = 3.0;
/// From the server to a client, in milliseconds.
const ONE_WAY_MS: f64 = LINKS * DELAY_MS;
/// There and back.
const ROUND_TRIP_MS: f64 = 2.0 * ONE_WAY_MS;
/// What is measured by different clocks, and in windows that cut through what is under way, may be so much too small.
const LESS: f64 = 0.99;
/// Within a window of seconds more may arrive than links carry: what waited in Tor before.
const MORE: f64 = 1.25;
/// Losses that chance may add, in packets.
const LUCK: f64 = 10.0;

/// The figures, and what is wrong with them.
struct Check<'a> {
    figures: &'a BTreeMap<String, f64>,
    wrong: Vec<String>,
}

impl Check<'_> {
    fn get(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// A figure that is there lies between two.
    fn within(&mut self, name: &str, least: f64, most: f64) {
        if let Some(value) = self.get(name)
            && !(least..=most).contains(&value)
        {
            let bound = if value > most {
                format!("above {most:.4}")
            } else {
                format!("below {least:.4}")
            };
            self.wrong.push(format!("{name} {value:.4} is {bound}"));
        }
    }

    fn at_least(&mut self, name: &str, least: f64) {
        self.within(name, least, f64::MAX);
    }

    /// A figure that is there is not 0, nor less.
    fn positive(&mut self, name: &str, most: f64) {
        self.within(name, f64::MIN_POSITIVE, most);
    }

    /// Mean and median of a delay are no less than the way takes.
    fn delay(&mut self, name: &str, least_ms: f64) {
        for figure in [format!("{name}_ms"), format!("{name}_p50_ms")] {
            self.at_least(&figure, LESS * least_ms);
        }
    }

    /// The delays of echo probes.
    fn probes(&mut self) {
        for name in ["base", "delay", "quiet_base", "quiet"] {
            self.delay(name, ROUND_TRIP_MS);
        }
    }

    /// What holds for figures of a name wherever they are.
    fn everywhere(&mut self) {
        for name in self.figures.keys() {
            // A process may have more than one thread.
            let most = match name.as_str() {
                "jain" => 1.0 + 1e-9,
                name if name.ends_with("cpu_percent") => f64::MAX,
                name if name.ends_with("_percent") => 100.0,
                _ => f64::MAX,
            };
            self.within(name, 0.0, most);
            if let Some(base) = name.strip_suffix("_p50_ms") {
                let quantile = |part: &str| self.get(&format!("{base}_{part}_ms"));
                let all = ["p50", "p90", "p99"].map(quantile);
                if !all.iter().flatten().is_sorted() {
                    self.wrong
                        .push(format!("quantiles of {base} are not in order"));
                }
            }
        }
        for name in [
            "packets",
            "network_mbit",
            "bulk_mbit",
            "circuit_mbit",
            "jain",
        ] {
            self.positive(name, f64::MAX);
        }
        if let Some(network) = self.get("network_mbit") {
            self.within("circuit_mbit", 0.0, network);
        }
    }

    /// The emulator loses what it was told to, in percent of the packets on some of the links.
    fn losses(&mut self, percent: f64) {
        let packets = self.get("packets").unwrap_or(0.0).max(1.0);
        let most = if percent > 0.0 {
            2.0 * percent + LUCK / packets * 100.0
        } else {
            0.0
        };
        // At least one of six packets passes a link that loses some.
        let expected = packets / 6.0 * percent / 100.0;
        let least = if expected > 2.0 * LUCK {
            f64::MIN_POSITIVE
        } else {
            0.0
        };
        self.within("effective_drop_percent", least, most);
    }
}

/// What is wrong with the figures of a task at some coordinates, if anything is.
pub fn implausible(
    task: &Task,
    at: &BTreeMap<String, f64>,
    figures: &BTreeMap<String, f64>,
) -> Option<String> {
    let mut check = Check {
        figures,
        wrong: Vec::new(),
    };
    check.everywhere();
    // A rate of 0 is no limit.
    let carried = |rate: f64| if rate > 0.0 { MORE * rate } else { f64::MAX };
    check.delay("bulk_delay", ONE_WAY_MS);
    match &task.work {
        Work::Basic(rate) => {
            check.probes();
            check.positive("bulk_mbit", carried(*rate));
            check.losses(0.0);
        }
        Work::Shared(loss) => {
            check.probes();
            check.positive("network_mbit", carried(loss.rate));
            check.losses(loss.shared.max(loss.remaining));
        }
        Work::Queues => {
            check.positive("network_mbit", carried(queues::LOSS.rate));
            check.losses(queues::LOSS.shared);
            let queued = check.get("output_queue_mean_octets").unwrap_or(0.0);
            check.positive("output_queue_mean_octets", f64::MAX);
            check.within("unsent_mean_octets", 0.0, queued);
        }
        Work::Picture => {
            check.delay("steady_delay", ONE_WAY_MS);
            check.delay("steady_burst_delay", ONE_WAY_MS);
            // It is asked for, and passes the slow link whole.
            let passes = picture::BURST as f64 * 8.0 / picture::RATE_MBIT / 1e3;
            check.delay("burst", ROUND_TRIP_MS + passes);
            check.losses(picture::LOSS * 100.0);
        }
        Work::Web => {
            // A stream is opened, then the request goes.
            check.delay("first", 2.0 * ROUND_TRIP_MS);
            let octets = at.get("size_octets").copied().unwrap_or(0.0);
            let passes = octets * 8.0 / RATE_MBIT / 1e3;
            check.delay("last", 2.0 * ROUND_TRIP_MS + passes);
            let first = check.get("first_ms").unwrap_or(0.0);
            check.at_least("last_ms", first);
            check.positive("network_mbit", carried(RATE_MBIT));
            check.losses(0.0);
        }
        Work::Volume => {
            check.delay("base", ONE_WAY_MS);
            check.delay("delay", ONE_WAY_MS);
            check.positive("network_mbit", carried(RATE_MBIT));
            check.losses(0.0);
        }
        Work::Mixed(patched) => {
            check.probes();
            // Each place has a link to the clients.
            let places = mixed::PLACES as f64;
            check.positive("network_mbit", carried(places * RATE_MBIT));
            check.losses(mixed::LOSS_PERCENT);
            let (least, most) = match *patched {
                0 => (0.0, 0.0),
                mixed::PLACES => (100.0, 100.0),
                _ => (0.0, 100.0),
            };
            check.within("udp_hops_percent", least, most);
        }
        Work::Relays => {
            check.losses(0.0);
            check.within("relay_memory_octets", 1e6, 1e10);
            let [tcp, udp] = ["relay_tcp_connections", "relay_udp_links"]
                .map(|name| check.get(name).unwrap_or(0.0));
            match task.set.program {
                Program::Vanilla => check.within("relay_udp_links", 0.0, 0.0),
                Program::Patched => check.positive("relay_udp_links", f64::MAX),
            }
            if tcp + udp == 0.0 {
                check.wrong.push("relays have no connections".into());
            }
            // All links by UDP share a socket.
            check.at_least("relay_sockets", tcp + udp.min(1.0));
        }
    }
    (!check.wrong.is_empty()).then(|| check.wrong.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tor::experiments::shared::Loss;
    use crate::tor::network::{Kernel, Set};
    use crate::tor::programs::Release;
    use crate::tor::torrc::Windows;

    fn task(program: Program, work: Work) -> Task {
        Task {
            release: Release::Modern,
            windows: Windows::Vegas,
            set: Set {
                program,
                kernel: Kernel::Cubic,
            },
            work,
        }
    }

    fn doubt(task: &Task, at: &[(&str, f64)], figures: &[(&str, f64)]) -> Option<String> {
        let map = |pairs: &[(&str, f64)]| -> BTreeMap<String, f64> {
            let pairs = pairs.iter().map(|(name, value)| (name.to_string(), *value));
            pairs.collect()
        };
        implausible(task, &map(at), &map(figures))
    }

    /// Figures that are plausible, and changes each of which makes them not so.
    fn changes(task: &Task, at: &[(&str, f64)], good: &[(&str, f64)], changes: &[(&str, f64)]) {
        assert_eq!(doubt(task, at, good), None);
        for (name, value) in changes {
            let mut bad = good.to_vec();
            bad.retain(|(other, _)| other != name);
            assert!(bad.len() < good.len(), "{name} was not there");
            bad.push((name, *value));
            let said = doubt(task, at, &bad);
            let said = said.unwrap_or_else(|| panic!("{name} {value} passes"));
            let base = name.split("_p").next().unwrap();
            assert!(said.contains(base), "{name} {value}: {said}");
        }
    }

    #[test]
    fn the_basic_experiment() {
        let good = [
            ("base_ms", 152.5),
            ("base_p50_ms", 152.1),
            ("base_p90_ms", 152.6),
            ("base_p99_ms", 155.6),
            ("delay_ms", 157.2),
            ("bulk_mbit", 26.1),
            ("bulk_delay_ms", 114.6),
            ("packets", 30_503.0),
            ("effective_drop_percent", 0.0),
            ("queue_drop_percent", 0.0),
            ("processor_wait_ms", 0.04),
        ];
        let bad = [
            ("base_ms", 100.0),
            ("base_p50_ms", 75.0),
            ("base_p90_ms", 151.0),
            ("delay_ms", 0.0),
            ("bulk_mbit", 0.0),
            ("bulk_mbit", -1.0),
            ("bulk_delay_ms", 74.0),
            ("packets", 0.0),
            ("effective_drop_percent", 0.1),
            ("queue_drop_percent", 100.5),
            ("processor_wait_ms", -0.1),
        ];
        changes(&task(Program::Patched, Work::Basic(0.0)), &[], &good, &bad);
        // With a rate there is a most.
        let limited = task(Program::Patched, Work::Basic(10.0));
        assert!(doubt(&limited, &[], &good).is_some());
    }

    #[test]
    fn the_shared_experiment() {
        let loss = Loss {
            shared: 1.0,
            remaining: 0.0,
            rate: 40.0,
        };
        let good = [
            ("network_mbit", 28.92),
            ("circuit_mbit", 3.615),
            ("jain", 0.949),
            ("base_ms", 155.2),
            ("delay_ms", 189.3),
            ("quiet_base_ms", 153.7),
            ("quiet_ms", 166.7),
            ("packets", 26_738.0),
            ("effective_drop_percent", 0.224),
            ("relay_cpu_percent", 112.0),
        ];
        let bad = [
            ("network_mbit", 51.0),
            ("network_mbit", 0.0),
            ("circuit_mbit", 29.0),
            ("jain", 1.01),
            ("jain", 0.0),
            ("quiet_base_ms", 76.0),
            ("quiet_ms", 76.0),
            ("effective_drop_percent", 0.0),
            ("effective_drop_percent", 2.5),
        ];
        let shared = task(Program::Patched, Work::Shared(loss));
        changes(&shared, &[], &good, &bad);
    }

    #[test]
    fn queues_and_the_picture() {
        let good = [
            ("network_mbit", 5.3),
            ("output_queue_mean_octets", 86_951.0),
            ("unsent_mean_octets", 42_692.0),
            ("unwritable_percent", 0.0),
        ];
        let bad = [
            ("network_mbit", 60.0),
            ("output_queue_mean_octets", 0.0),
            ("unsent_mean_octets", 90_000.0),
            ("unwritable_percent", 101.0),
        ];
        changes(&task(Program::Vanilla, Work::Queues), &[], &good, &bad);
        let good = [
            ("steady_delay_ms", 117.1),
            ("steady_burst_delay_ms", 115.2),
            ("burst_ms", 735.0),
        ];
        let bad = [
            ("steady_delay_ms", 74.0),
            ("steady_burst_delay_ms", 50.0),
            ("burst_ms", 500.0),
        ];
        changes(&task(Program::Patched, Work::Picture), &[], &good, &bad);
    }

    #[test]
    fn web_and_volume() {
        let good = [
            ("first_ms", 397.8),
            ("last_ms", 7_187.0),
            ("visits", 1.0),
            ("network_mbit", 29.4),
        ];
        let bad = [
            ("first_ms", 290.0),
            ("first_ms", 8_000.0),
            ("last_ms", 1_200.0),
            ("network_mbit", 60.0),
        ];
        let web = task(Program::Patched, Work::Web);
        let at = [("size_octets", 5e6)];
        // What comes last is named, whichever of both is wrong.
        for (name, value) in bad {
            let changed = good.map(|(other, v)| (other, if other == name { value } else { v }));
            assert!(doubt(&web, &at, &changed).is_some(), "{name} {value}");
        }
        assert_eq!(doubt(&web, &at, &good), None);
        assert_eq!(doubt(&web, &at, &[("visits", 0.0)]), None);
        let good = [("base_ms", 78.7), ("delay_ms", 114.1)];
        let bad = [("base_ms", 70.0), ("delay_ms", 70.0)];
        changes(&task(Program::Vanilla, Work::Volume), &[], &good, &bad);
    }

    #[test]
    fn relays_and_mixed_networks() {
        let good = [
            ("relay_sockets", 15.8),
            ("relay_tcp_connections", 0.0),
            ("relay_udp_links", 5.0),
            ("relay_memory_octets", 16e6),
        ];
        let bad = [
            ("relay_sockets", 0.5),
            ("relay_udp_links", 0.0),
            ("relay_memory_octets", 16.0),
        ];
        changes(&task(Program::Patched, Work::Relays), &[], &good, &bad);
        assert!(doubt(&task(Program::Vanilla, Work::Relays), &[], &good).is_some());
        let good = [("udp_hops_percent", 0.0), ("network_mbit", 46.4)];
        let bad = [("udp_hops_percent", 20.0), ("network_mbit", 201.0)];
        changes(&task(Program::Patched, Work::Mixed(0)), &[], &good, &bad);
    }
}
