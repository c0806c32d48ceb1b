//! Counters of links as a table and as JSON lines.

use std::fmt;

use serde::Serialize;

use super::link::Counters;

/// One link.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkSummary {
    /// Name of the host.
    pub from: String,
    /// Name of the host.
    pub to: String,
    /// What it did.
    #[serde(flatten)]
    pub counters: Counters,
    /// Octets that half of the packets found waiting, at most.
    pub queue_p50: u64,
    /// The same of 99 of 100.
    pub queue_p99: u64,
    /// The same of all.
    pub queue_max: u64,
}

/// All links that packets have entered.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// In the order of the hosts.
    pub links: Vec<LinkSummary>,
    /// Packets to addresses that no host has.
    pub unroutable: u64,
}

impl Summary {
    /// One JSON object a line, a link each.
    pub fn json_lines(&self) -> String {
        let lines = self.links.iter().map(|link| {
            let text = serde_json::to_string(link).expect("numbers and names");
            text + "\n"
        });
        lines.collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |name: fn(&LinkSummary) -> &str| {
            self.links
                .iter()
                .map(|l| name(l).len())
                .max()
                .unwrap_or(0)
                .max(4)
        };
        let (from, to) = (width(|l| &l.from), width(|l| &l.to));
        writeln!(
            f,
            "{:<from$} {:<to$} {:>9} {:>12} {:>9} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>8} {:>8} {:>8}",
            "from",
            "to",
            "packets",
            "octets",
            "arrived",
            "lost",
            "queue",
            "access",
            "late",
            "twice",
            "damage",
            "marked",
            "q p50",
            "q p99",
            "q max",
        )?;
        for link in &self.links {
            let c = &link.counters;
            writeln!(
                f,
                "{:<from$} {:<to$} {:>9} {:>12} {:>9} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>8} {:>8} {:>8}",
                link.from,
                link.to,
                c.entered,
                c.entered_octets,
                c.delivered,
                c.lost,
                c.overflowed,
                c.access,
                c.reordered,
                c.duplicated,
                c.corrupted,
                c.marked,
                link.queue_p50,
                link.queue_p99,
                link.queue_max,
            )?;
        }
        if self.unroutable > 0 {
            writeln!(
                f,
                "{} packets to addresses that no host has",
                self.unroutable
            )?;
        }
        Ok(())
    }
}
