//! Instructions of a workload, counted by valgrind's callgrind, by the shared object that they are in.
//!
//! Those of the program itself, in which Rust code is linked, are the same on each machine. OpenSSL and the C library
//! choose their code by what the CPU can do, so theirs are kept apart.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::workload::{Outcome, Workload};

/// Instructions for each unit of work.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Of the library, with the few of the harness and the Rust standard library.
    pub own: f64,
    /// Of the C library: copying and allocating.
    pub libc: f64,
    /// Of OpenSSL.
    pub openssl: f64,
    /// The dearest functions of the program, with their instructions.
    pub functions: Vec<(String, f64)>,
}

/// Runs the workload under callgrind: this program again, with `--workload NAME`. What callgrind writes goes to `dir`.
///
/// # Errors
/// If valgrind is not there, or the workload fails.
pub fn count(workload: Workload, dir: &Path) -> Result<Counts, Box<dyn Error>> {
    fs::create_dir_all(dir)?;
    let own = std::env::current_exe()?;
    let out = dir.join(format!("{}.callgrind", workload.name()));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg("--toggle-collect=*datapath*workload*measured*")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(&own)
        .args(["--workload", &workload.name()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    let units: u64 = said
        .lines()
        .find_map(|line| line.strip_prefix("units "))
        .and_then(|units| units.parse().ok())
        .ok_or_else(|| {
            let why = String::from_utf8_lossy(&run.stderr);
            format!("{}: {said}{why}", workload.name())
        })?;
    let costs = parse(&fs::read_to_string(&out)?)?;
    let mut counts = Counts::default();
    for ((object, function), cost) in costs {
        let each = cost as f64 / units as f64;
        if Path::new(&object) == own {
            counts.own += each;
            counts.functions.push((function, each));
        } else if object.contains("libssl") || object.contains("libcrypto") {
            counts.openssl += each;
        } else {
            counts.libc += each;
        }
    }
    if counts.own == 0.0 {
        return Err(format!("{}: callgrind has counted nothing", workload.name()).into());
    }
    counts.functions.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(counts)
}

/// What a program says that was called with `--workload`.
pub fn say(outcome: Outcome) {
    println!("units {}\nnanos {}", outcome.units, outcome.nanos);
}

/// Instructions of each function's own, by object and name: the profile format of callgrind, version 1.
fn parse(profile: &str) -> Result<BTreeMap<(String, String), u64>, String> {
    let mut names: BTreeMap<(bool, u64), String> = BTreeMap::new();
    let mut name = |is_object: bool, text: &str| -> Result<String, String> {
        let Some((id, rest)) = text.strip_prefix('(').and_then(|t| t.split_once(')')) else {
            return Ok(text.to_string());
        };
        let id = id.parse().map_err(|_| format!("not a name: {text}"))?;
        let rest = rest.trim();
        if !rest.is_empty() {
            names.insert((is_object, id), rest.to_string());
        }
        names
            .get(&(is_object, id))
            .cloned()
            .ok_or_else(|| format!("unknown name: {text}"))
    };
    let mut costs = BTreeMap::new();
    let (mut object, mut function) = (String::new(), String::new());
    let mut is_call = false;
    for line in profile.lines() {
        if let Some(text) = line.strip_prefix("ob=") {
            object = name(true, text)?;
        } else if let Some(text) = line.strip_prefix("fn=") {
            function = name(false, text)?;
        } else if let Some(text) = line.strip_prefix("cob=") {
            name(true, text)?;
        } else if let Some(text) = line.strip_prefix("cfn=") {
            name(false, text)?;
        } else if line.starts_with("calls=") {
            // The next line is the cost of what was called.
            is_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c))
            && !std::mem::take(&mut is_call)
        {
            let cost: u64 = line
                .split(' ')
                .nth(1)
                .and_then(|cost| cost.parse().ok())
                .ok_or_else(|| format!("not a cost: {line}"))?;
            *costs.entry((object.clone(), function.clone())).or_default() += cost;
        }
    }
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_each_functions_own() {
        let profile = "version: 1\nevents: Ir\n\nob=(1) /bin/x\nfl=(1) a.rs\nfn=(1) one\n16 5\n+1 7\n\
            cob=(2) libc.so\ncfn=(2) memcpy\ncalls=3 0\n+1 900\n* 2\n\nob=(2)\nfl=(2) ???\nfn=(2)\n0 900\n\
            \nob=(1)\nfn=(1)\n20 1\ntotals: 915\n";
        let costs = parse(profile).expect("a profile");
        let of = |object: &str, function: &str| {
            costs
                .get(&(object.to_string(), function.to_string()))
                .copied()
        };
        assert_eq!(of("/bin/x", "one"), Some(15));
        assert_eq!(of("libc.so", "memcpy"), Some(900));
        assert_eq!(costs.len(), 2);
    }

    #[test]
    fn a_name_that_was_never_told_is_an_error() {
        assert!(parse("ob=(1)\n").is_err());
        assert!(parse("ob=(1) x\nfn=(1) y\n12\n").is_err());
    }
}
