//! What a simulation has left: the lines of its clients, as figures.

use std::fs;
use std::io;
use std::path::Path;

use super::config::BOOTSTRAP;
use super::traffic::Measured;
use crate::figures::{jain, quantile};
use crate::sim::client::SIZES;

/// Where Shadow's clock begins: 2000-01-01 00:00 UTC.
const BEGIN: f64 = 946_684_800.0;

/// Seconds after the bootstrap in which nothing counts: slow start, circuits that are still built.
const WARM: f64 = 20.0;

/// What clients have printed.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// Mbit/s of each bulk client.
    bulk: Vec<f64>,
    /// Milliseconds of all echoes.
    echoes: Vec<f64>,
    /// Milliseconds until the first octet of all downloads.
    firsts: Vec<f64>,
    /// Seconds until the last, by size.
    lasts: [Vec<f64>; 3],
    /// Clients that have printed anything.
    pub spoke: usize,
    /// All clients.
    pub clients: usize,
}

/// Reads the output of all clients in `data`, Shadow's data directory: files `hosts/client*/*.stdout`.
///
/// # Errors
/// What the file system says; a line that is none of ours is skipped: Tor logs to standard output too.
pub fn read(data: &Path) -> io::Result<Lines> {
    let mut all = Lines::default();
    let mut hosts: Vec<_> = fs::read_dir(data.join("hosts"))?.collect::<Result<_, _>>()?;
    hosts.sort_by_key(|entry| entry.file_name());
    for host in hosts {
        if !host.file_name().to_string_lossy().starts_with("client") {
            continue;
        }
        all.clients += 1;
        let (mut spoke, mut octets, mut seconds) = (false, 0, 0.0);
        for file in fs::read_dir(host.path())? {
            let path = file?.path();
            if path.extension().is_none_or(|e| e != "stdout") {
                continue;
            }
            for line in String::from_utf8_lossy(&fs::read(&path)?).lines() {
                let Ok(measured) = serde_json::from_str::<Measured>(line) else {
                    continue;
                };
                spoke = true;
                let late = |at: f64| at - BEGIN >= BOOTSTRAP as f64 + WARM;
                match measured {
                    Measured::Bulk {
                        at,
                        octets: more,
                        seconds: span,
                    } if late(at) => {
                        octets += more;
                        seconds += span;
                    }
                    Measured::Echo { at, took } if late(at) => all.echoes.push(took * 1e3),
                    Measured::Download {
                        size,
                        at,
                        first,
                        last,
                    } if late(at) => {
                        all.firsts.push(first * 1e3);
                        if let Some(n) = SIZES.iter().position(|s| *s == size) {
                            all.lasts[n].push(last);
                        }
                    }
                    _ => {}
                }
            }
        }
        all.spoke += usize::from(spoke);
        if seconds > 0.0 {
            all.bulk.push(octets as f64 * 8.0 / 1e6 / seconds);
        }
    }
    Ok(all)
}

impl Lines {
    /// As figures; what was not measured is left out.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let [small, middle, large] = &self.lasts;
        let mut figures = vec![
            ("quiet_delay_p50_ms", quantile(&self.echoes, 0.5)),
            ("quiet_delay_p90_ms", quantile(&self.echoes, 0.9)),
            ("quiet_delay_p99_ms", quantile(&self.echoes, 0.99)),
            ("web_first_p50_ms", quantile(&self.firsts, 0.5)),
            ("web_first_p90_ms", quantile(&self.firsts, 0.9)),
            ("web_last_50kB_p50_s", quantile(small, 0.5)),
            ("web_last_1MB_p50_s", quantile(middle, 0.5)),
            ("web_last_5MB_p50_s", quantile(large, 0.5)),
            ("downloads", self.firsts.len() as f64),
        ];
        if !self.bulk.is_empty() {
            figures.push(("throughput_bulk_mbit", self.bulk.iter().sum()));
            figures.push(("bulk_median_mbit", quantile(&self.bulk, 0.5)));
            figures.push(("bulk_jain_ratio", jain(&self.bulk)));
        }
        figures.retain(|(_, value)| value.is_finite());
        figures
    }
}
