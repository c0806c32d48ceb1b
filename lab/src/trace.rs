//! One flow, or the circuits of one connection, over time, for those who want to see why.

use std::fmt::Write;

use utcp::time::{MILLISECOND, Micros};

use crate::end::Info;
use crate::world::{ENDLESS, Load, START, World};

/// Columns of the trace.
pub const COLUMNS: &str = "ms,cwnd,ssthresh,in_flight,send_window,srtt_ms,pacing_mbit,sent,resent,timeouts,probes,undone,dropped,delivered,mbit";

/// Runs bulk data in all streams of `world` for `duration`, and gives a CSV with a line every `every`. Windows, rates and
/// times are those of the first stream, counters are sums.
pub fn run(mut world: World, streams: usize, duration: Micros, every: Micros) -> String {
    for _ in 0..streams {
        world.add(0, 0, Load::Bulk(ENDLESS));
    }
    let mut text = format!("{COLUMNS}\n");
    let (mut at, mut before) = (START, 0);
    while at < START + duration {
        at = at + every;
        world.run_until(at);
        let all: Vec<Info> = (0..streams).map(|app| world.info(app)).collect();
        let sum = |of: fn(&Info) -> u64| all.iter().map(of).sum::<u64>();
        let delivered = world.apps.iter().map(|app| app.delivered).sum::<u64>();
        let info = all.first().copied().unwrap_or_default();
        let ssthresh = match info.ssthresh {
            u64::MAX => String::new(),
            octets => octets.to_string(),
        };
        let _ = writeln!(
            text,
            "{},{},{ssthresh},{},{},{:.3},{:.3},{},{},{},{},{},{},{delivered},{:.3}",
            at.since(START) as f64 / MILLISECOND as f64,
            info.cwnd,
            sum(|i| i.in_flight),
            info.send_window,
            info.srtt as f64 / MILLISECOND as f64,
            info.pacing_rate as f64 * 8e-6,
            sum(|i| i.sent),
            sum(|i| i.resent),
            sum(|i| i.timeouts),
            sum(|i| i.probes),
            sum(|i| i.undone),
            world.counters()[0].dropped,
            (delivered - before) as f64 * 8.0 / every as f64,
        );
        before = delivered;
    }
    text
}
