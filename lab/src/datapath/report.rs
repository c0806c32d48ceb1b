//! Targets, tables, and the facts about the machine that figures depend on.

use std::fs;
use std::process::Command;

use crate::kernel::bench::targets::{Bound, Target};

/// A figure and what it has to be.
pub fn target(name: &str, figure: Option<f64>, bound: Bound) -> Target {
    Target {
        name: name.to_string(),
        figure,
        bound,
    }
}

/// What the figures depend on.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map_or("unknown", |(_, value)| value.trim())
            .to_string()
    };
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let date = Command::new("date").args(["-u", "+%F"]).output();
    let date = date.map_or(String::new(), |o| String::from_utf8_lossy(&o.stdout).into());
    format!(
        "{} ({cpus} CPUs, family {} model {}), Linux {}, {}, {}, load {}, {}",
        field("model name"),
        field("cpu family"),
        field("model\t"),
        read("/proc/sys/kernel/osrelease").trim(),
        openssl::version::version(),
        env!("UTCP_LAB_RUSTC"),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
        date.trim()
    )
}
