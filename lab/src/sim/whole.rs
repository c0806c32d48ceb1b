//! A whole network under load: bulk, web-like and quiet clients on relays of different rates.

use utcp::time::SECOND;

use super::client::SIZES;
use super::layout::{Layout, Load};
use super::net::{Net, START};
use super::transport::Transport;
use crate::bench::Figures;
use crate::figures::{jain, quantile};

/// How large a network is, and for how long it is watched.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Relays.
    pub relays: usize,
    /// Circuits, each with a client of its own.
    pub circuits: usize,
    /// Mbit/s of the slowest and the fastest relay.
    pub rates: (f64, f64),
    /// Seconds before anything counts.
    pub warm: usize,
    /// Seconds at the end of it.
    pub seconds: usize,
}

/// The whole form.
pub const FULL: Size = Size {
    relays: 40,
    circuits: 2_000,
    rates: (10.0, 100.0),
    warm: 8,
    seconds: 30,
};

/// The short form.
pub const QUICK: Size = Size {
    relays: 16,
    circuits: 300,
    rates: (6.0, 30.0),
    warm: 5,
    seconds: 20,
};

/// The network of a seed.
pub fn layout(size: Size, loss: f64, seed: u64) -> Layout {
    let mut layout = Layout::relays(seed, size.relays, size.rates.0, size.rates.1, loss);
    // Of a hundred clients, three download without end, thirty browse, the rest say little: relays are used to about
    // two thirds.
    layout.populate(size.circuits, 3, 30, 15 * SECOND);
    layout
}

/// Runs it.
pub fn run(size: Size, transport: Transport, loss: f64, seed: u64) -> Figures {
    let layout = layout(size, loss, seed);
    let mut net = Net::new(&layout, transport);
    net.run_until(START + size.seconds as u64 * SECOND);
    figures(&net, &layout, size)
}

fn figures(net: &Net, layout: &Layout, size: Size) -> Figures {
    let of = |wanted: fn(&Load) -> bool| {
        let all = layout.circuits.iter().zip(&net.clients);
        all.filter(move |(circuit, _)| wanted(&circuit.load))
    };
    let bulk: Vec<f64> = of(|l| *l == Load::Bulk)
        .map(|(_, client)| client.mbit(size.warm, size.seconds))
        .collect();
    let warm = size.warm as u64 * SECOND;
    let (mut delays, mut added) = (Vec::new(), Vec::new());
    for (circuit, client) in of(|l| matches!(l, Load::Quiet(_))) {
        let base = (layout.base(circuit) + circuit.server) as f64 / 1e3;
        for (_, took) in client.delays.iter().filter(|(at, _)| *at >= warm) {
            delays.push(*took as f64 / 1e3);
            added.push(*took as f64 / 1e3 - base);
        }
    }
    let downloads: Vec<_> = of(|l| matches!(l, Load::Web(_)))
        .flat_map(|(_, client)| client.downloads.iter().filter(|d| d.began >= warm))
        .collect();
    let firsts: Vec<f64> = downloads
        .iter()
        .filter_map(|d| Some(d.first? as f64 / 1e3))
        .collect();
    let lasts = |size: u64| -> Vec<f64> {
        let those = downloads.iter().filter(|d| d.size == size);
        those.filter_map(|d| Some(d.last? as f64 / 1e6)).collect()
    };
    let all: f64 = net
        .clients
        .iter()
        .map(|c| c.mbit(size.warm, size.seconds))
        .sum();
    let (small, middle, large) = (lasts(SIZES[0]), lasts(SIZES[1]), lasts(SIZES[2]));
    let mut figures = vec![
        ("throughput_all_mbit", all),
        ("throughput_bulk_mbit", bulk.iter().sum()),
        ("bulk_median_mbit", quantile(&bulk, 0.5)),
        ("bulk_slowest_mbit", quantile(&bulk, 0.0)),
        ("bulk_jain_ratio", jain(&bulk)),
        ("quiet_delay_p50_ms", quantile(&delays, 0.5)),
        ("quiet_delay_p90_ms", quantile(&delays, 0.9)),
        ("quiet_delay_p99_ms", quantile(&delays, 0.99)),
        ("quiet_added_p50_ms", quantile(&added, 0.5)),
        ("quiet_added_p90_ms", quantile(&added, 0.9)),
        ("quiet_added_p99_ms", quantile(&added, 0.99)),
        ("web_first_p50_ms", quantile(&firsts, 0.5)),
        ("web_first_p90_ms", quantile(&firsts, 0.9)),
        ("web_last_50kB_p50_s", quantile(&small, 0.5)),
        ("web_last_50kB_p90_s", quantile(&small, 0.9)),
        ("web_last_1MB_p50_s", quantile(&middle, 0.5)),
        ("web_last_5MB_p50_s", quantile(&large, 0.5)),
        (
            "downloads",
            (small.len() + middle.len() + large.len()) as f64,
        ),
        ("packets", net.fabric.entered as f64),
    ];
    let packets = net.fabric.entered.max(1) as f64;
    figures.push(("lost_percent", net.fabric.lost as f64 / packets * 100.0));
    figures.push((
        "queue_full_percent",
        net.fabric.dropped as f64 / packets * 100.0,
    ));
    // A few may have nothing to say: no download of 5 MB may have ended.
    figures.retain(|(_, value)| value.is_finite());
    figures
}
