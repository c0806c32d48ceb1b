//! One flow over time, for those who want to see why.

use std::fmt::Write;

use utcp::time::{MILLISECOND, Micros};

use crate::contestant::Contestant;
use crate::path::Path;
use crate::world::{ENDLESS, Load, START};

/// Columns of the trace.
pub const COLUMNS: &str = "ms,cwnd,ssthresh,in_flight,send_window,srtt_ms,pacing_mbit,sent,resent,timeouts,probes,undone,delivered,mbit";

/// Runs bulk data for `duration`, and gives a CSV with a line every `every`.
pub fn run(
    contestant: Contestant,
    path: Path,
    seed: u64,
    duration: Micros,
    every: Micros,
) -> String {
    let mut world = path.world(&[contestant], seed);
    let app = world.add(0, 0, Load::Bulk(ENDLESS));
    let mut text = format!("{COLUMNS}\n");
    let (mut at, mut before) = (START, 0);
    while at < START + duration {
        at = at + every;
        world.run_until(at);
        let info = world.info(app);
        let delivered = world.apps[app].delivered;
        let ssthresh = match info.ssthresh {
            u64::MAX => String::new(),
            octets => octets.to_string(),
        };
        let _ = writeln!(
            text,
            "{},{},{ssthresh},{},{},{:.3},{:.3},{},{},{},{},{},{delivered},{:.3}",
            at.since(START) as f64 / MILLISECOND as f64,
            info.cwnd,
            info.in_flight,
            info.send_window,
            info.srtt as f64 / MILLISECOND as f64,
            info.pacing_rate as f64 * 8e-6,
            info.sent,
            info.resent,
            info.timeouts,
            info.probes,
            info.undone,
            (delivered - before) as f64 * 8.0 / every as f64,
        );
        before = delivered;
    }
    text
}
