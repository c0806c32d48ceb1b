//! What a run ran on, and what it ran: for [`crate::results::About`].

// Runs are dated, and last real time.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds of Unix time.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The first line that a command prints; none if it is not there, fails or prints nothing.
fn first_line(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_string())
}

/// What a file of `name: value` lines says of a name.
fn named(text: &str, name: &str) -> Option<String> {
    let line = text
        .lines()
        .find(|l| l.split(':').next().map(str::trim) == Some(name))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

/// The machine, and the versions of what is there. What is not there is left out.
pub fn collect() -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            facts.insert(name.to_string(), value);
        }
    };
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    add("cpu", named(&read("/proc/cpuinfo"), "model name"));
    let cores = std::thread::available_parallelism();
    add("cores", cores.ok().map(|n| n.to_string()));
    add("memory", named(&read("/proc/meminfo"), "MemTotal"));
    let kernel = read("/proc/sys/kernel/osrelease");
    add(
        "kernel",
        Some(kernel.trim().to_string()).filter(|k| !k.is_empty()),
    );
    let control = read("/proc/sys/net/ipv4/tcp_congestion_control");
    let control = control.trim().to_string();
    add(
        "kernel's congestion control",
        Some(control).filter(|c| !c.is_empty()),
    );
    let system = read("/etc/os-release");
    let pretty = system.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    add(
        "system",
        pretty.map(|name| name.trim_matches('"').to_string()),
    );
    add("tor of the system", first_line("tor", &["--version"]));
    add("openssl", first_line("openssl", &["version"]));
    add("rustc", first_line("rustc", &["--version"]));
    add("shadow", first_line("shadow", &["--version"]));
    let commit = first_line("git", &["rev-parse", "HEAD"]);
    let changed = first_line("git", &["status", "--porcelain", "--untracked-files=no"]);
    add(
        "commit",
        commit.map(|c| match changed {
            Some(_) => format!("{c}, with changes"),
            None => c,
        }),
    );
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_whole_name() {
        let text = "model\t\t: 1\nmodel name\t: A: B\n";
        assert_eq!(named(text, "model name").as_deref(), Some("A: B"));
        assert_eq!(named(text, "name"), None);
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        assert_eq!(first_line("utcp-no-such-program", &[]), None);
        assert!(collect().contains_key("cores"));
    }
}
