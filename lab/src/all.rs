//! `lab all`: every part of the laboratory, one after the other, into one run.
//!
//! Each part is a subcommand of its own, run as a process of its own with `--quick`, `--seed` and `--out`: what one
//! leaves behind (namespaces, real-time priority, a crash) does not reach the next. Each writes its own results; they
//! are joined after every part, so that a run that is broken off leaves what it had.

// It measures how long parts take, to say how long the rest will.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::results::run::Writer;
use crate::results::{About, Run};
use crate::target::Target;
use crate::{facts, page};

/// A part of the laboratory.
#[derive(Clone, Copy)]
pub struct Part {
    /// The subcommand.
    pub name: &'static str,
    /// In one line.
    pub about: &'static str,
    /// About how many minutes the short and the whole form take, on two cores.
    pub minutes: [f64; 2],
    /// Whether it can be run here; else why not.
    pub possible: fn() -> Result<(), String>,
    /// What its figures have to reach.
    pub targets: fn(&Run) -> Vec<Target>,
}

/// All parts, in the order in which they are run.
pub const PARTS: &[Part] = &[
    Part {
        name: "tor",
        about: "the paper's experiments on real Tor binaries",
        minutes: [9.5, 240.0],
        possible: always,
        targets: crate::tor::targets::targets,
    },
    Part {
        name: "peers",
        about: "rivals on the same link",
        minutes: [3.5, 180.0],
        possible: always,
        targets: crate::peers::targets::targets,
    },
    Part {
        name: "sim",
        about: "whole networks in virtual time",
        minutes: crate::sim::MINUTES,
        possible: always,
        targets: crate::sim::targets,
    },
    Part {
        name: "shadow",
        about: "whole networks of real Tor binaries in Shadow",
        minutes: crate::shadow::MINUTES,
        possible: crate::shadow::possible,
        targets: crate::shadow::targets,
    },
];

/// A part that is run wherever it is asked for: what stands against it (no root, no TUN) is its failure.
fn always() -> Result<(), String> {
    Ok(())
}

/// The targets of the parts that a run was of, whether they have measured anything or not.
pub fn targets(run: &Run) -> Vec<Target> {
    let took_part = |part: &&Part| {
        let begins = |name: &str| name.split('-').next() == Some(part.name);
        run.about
            .facts
            .contains_key(&format!("minutes of {}", part.name))
            || run.outcomes.iter().any(|o| begins(&o.experiment))
    };
    let parts = PARTS.iter().filter(took_part);
    parts.flat_map(|part| (part.targets)(run)).collect()
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The short form.
    pub quick: bool,
    /// The seed of all parts.
    pub seed: u64,
    /// Where runs are kept.
    pub out: PathBuf,
    /// Only these parts; all if empty.
    pub only: Vec<String>,
    /// Further arguments of a part.
    pub with: BTreeMap<String, Vec<String>>,
}

impl Plan {
    fn takes(&self, part: &Part) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part.name)
    }

    /// The command line of a part, beside the program.
    fn arguments(&self, part: &Part, folder: &Path) -> Vec<String> {
        let mut arguments = vec![part.name.to_string()];
        if self.quick {
            arguments.push("--quick".into());
        }
        arguments.extend(["--seed".into(), self.seed.to_string()]);
        arguments.extend(["--out".into(), folder.display().to_string()]);
        arguments.extend(self.with.get(part.name).into_iter().flatten().cloned());
        arguments
    }
}

/// How long the rest will take, in minutes: what is expected of it, corrected by how the parts before kept to it.
fn remaining(expected: f64, done_expected: f64, done_took: f64) -> f64 {
    let pace = if done_expected > 0.0 {
        (done_took / done_expected).clamp(0.2, 5.0)
    } else {
        1.0
    };
    expected * pace
}

/// Joins what parts have left in their folders into the run's own file. Facts of parts get the part's name if they
/// differ from what is known.
///
/// # Errors
/// What is wrong with a part's file, or what the file system says.
fn join(folder: &Path, about: &About, parts: &[&str]) -> io::Result<()> {
    let mut about = about.clone();
    let mut runs = Vec::new();
    for part in parts {
        let run = Run::read(&folder.join(part))?;
        for (name, value) in &run.about.facts {
            match about.facts.get(name) {
                None => {
                    about.facts.insert(name.clone(), value.clone());
                }
                Some(known) if known == value => {}
                Some(_) => {
                    about
                        .facts
                        .insert(format!("{name} ({part})"), value.clone());
                }
            }
        }
        about
            .facts
            .insert(format!("command of {part}"), run.about.command.join(" "));
        runs.push(run);
    }
    let mut writer = Writer::new(folder, &about)?;
    for run in runs {
        run.outcomes
            .into_iter()
            .try_for_each(|o| writer.outcome(o))?;
        run.series.into_iter().try_for_each(|s| writer.series(s))?;
    }
    Ok(())
}

/// Has `latest` name a run's folder.
fn point_latest(out: &Path, name: &str) -> io::Result<()> {
    let link = out.join("latest");
    match fs::remove_file(&link) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    std::os::unix::fs::symlink(name, link)
}

/// Runs everything, writes the page, prints the targets; gives the names of parts that failed.
///
/// # Errors
/// What the file system or the plotting library says.
pub fn run(plan: &Plan, command: Vec<String>) -> Result<Vec<&'static str>, Box<dyn Error>> {
    for name in plan.only.iter().chain(plan.with.keys()) {
        if !PARTS.iter().any(|part| part.name == name) {
            let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
            return Err(format!("no part {name}; there are {}", names.join(", ")).into());
        }
    }
    let began = facts::now();
    let name = page::words::date(began).replace([' ', ':'], "-");
    let name = format!("{}-{:02}", name.trim_end_matches("-UTC"), began % 60);
    let folder = plan.out.join(&name);
    let mut about = About {
        command,
        began,
        facts: facts::collect(),
        seed: plan.seed,
        quick: plan.quick,
    };
    Writer::new(&folder, &about)?;
    point_latest(&plan.out, &name)?;
    println!("lab: results go to {}", folder.display());

    let mut chosen: Vec<&Part> = Vec::new();
    for part in PARTS.iter().filter(|part| plan.takes(part)) {
        match (part.possible)() {
            Ok(()) => chosen.push(part),
            Err(why) => {
                println!("lab: SKIPPED {}: {why}", part.name);
                about.facts.insert(format!("skipped {}", part.name), why);
            }
        }
    }
    let form = usize::from(!plan.quick);
    let expected = |parts: &[&Part]| parts.iter().map(|p| p.minutes[form]).sum::<f64>();
    let (mut done, mut failed, mut took) = (Vec::new(), Vec::new(), 0.0);
    for (index, part) in chosen.iter().enumerate() {
        let rest = remaining(expected(&chosen[index..]), expected(&chosen[..index]), took);
        println!(
            "lab: [{}/{}] {}: {}; about {rest:.0} min to go",
            index + 1,
            chosen.len(),
            part.name,
            part.about,
        );
        let own = folder.join(part.name);
        let started = Instant::now();
        let mut command = Command::new(std::env::current_exe()?);
        // Parts note their command: as this one was typed, not where the program is.
        command.arg0(std::env::args_os().next().unwrap_or_default());
        let status = command.args(plan.arguments(part, &own)).status()?;
        let minutes = started.elapsed().as_secs_f64() / 60.0;
        took += minutes;
        let fact = format!("{minutes:.1}");
        about
            .facts
            .insert(format!("minutes of {}", part.name), fact);
        if !status.success() {
            println!("lab: {} FAILED: {status}", part.name);
            about
                .facts
                .insert(format!("failed {}", part.name), status.to_string());
            failed.push(part.name);
        }
        if own.join(crate::results::run::FILE).exists() {
            done.push(part.name);
        }
        join(&folder, &about, &done)?;
    }
    join(&folder, &about, &done)?;
    finish(&folder)?;
    Ok(failed)
}

/// Page and targets of a run.
fn finish(folder: &Path) -> Result<(), Box<dyn Error>> {
    let run = Run::read(folder)?;
    let targets = targets(&run);
    let written = page::write(folder, folder.join(page::FILE), &targets)?;
    println!("lab: the report is {}", written.page.display());
    print(&targets);
    Ok(())
}

/// Each target with its figure, and how many are met.
pub fn print(targets: &[Target]) {
    for target in targets {
        println!("{}", target.line());
    }
    println!("{}", summary(targets));
}

fn summary(targets: &[Target]) -> String {
    let met = targets.iter().filter(|t| t.is_met()).count();
    format!("targets: {met} met, {} missed", targets.len() - met)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Outcome;
    use crate::target::Bound;

    fn plan() -> Plan {
        Plan {
            quick: true,
            seed: 7,
            out: "out".into(),
            only: Vec::new(),
            with: [(
                "sim".to_string(),
                vec!["--only".to_string(), "probe".to_string()],
            )]
            .into(),
        }
    }

    #[test]
    fn parts_are_told_the_form_the_seed_and_their_folder() {
        let sim = *PARTS.iter().find(|part| part.name == "sim").unwrap();
        let arguments = plan().arguments(&sim, Path::new("out/x/sim"));
        assert_eq!(
            arguments.join(" "),
            "sim --quick --seed 7 --out out/x/sim --only probe"
        );
        let other = Plan {
            only: vec!["shadow".into()],
            ..plan()
        };
        assert!(!other.takes(&sim));
    }

    #[test]
    fn the_estimate_learns_from_what_is_done() {
        assert_eq!(remaining(10.0, 0.0, 0.0), 10.0);
        assert_eq!(remaining(10.0, 4.0, 8.0), 20.0);
    }

    #[test]
    fn the_last_line_counts_what_was_not_measured_as_missed() {
        let target = |figure| Target {
            name: String::new(),
            figure,
            bound: Bound::AtMost(1.0),
        };
        let all = [target(Some(0.5)), target(None), target(Some(2.0))];
        assert_eq!(summary(&all), "targets: 1 met, 2 missed");
    }

    #[test]
    fn a_part_that_was_run_and_measured_nothing_misses_its_targets() {
        let mut run = Run::default();
        assert!(targets(&run).is_empty());
        run.about
            .facts
            .insert("minutes of tor".into(), "0.1".into());
        let all = targets(&run);
        assert!(!all.is_empty() && all.iter().all(|t| !t.is_met()));
        let measured = Run {
            outcomes: vec![Outcome {
                experiment: "tor-3-basic".into(),
                ..Outcome::default()
            }],
            ..Run::default()
        };
        assert_eq!(targets(&measured).len(), all.len());
    }

    #[test]
    fn parts_are_joined_with_their_facts() {
        let folder = std::env::temp_dir().join(format!("utcp-lab-join-{}", std::process::id()));
        let fact = |v: &str| [("tor".to_string(), v.to_string())].into();
        for (part, version) in [("a", "0.4.9"), ("b", "0.2.0")] {
            let about = About {
                facts: fact(version),
                command: vec![part.into()],
                ..About::default()
            };
            let mut writer = Writer::new(&folder.join(part), &about).unwrap();
            let experiment = part.to_string();
            writer
                .outcome(Outcome {
                    experiment,
                    ..Outcome::default()
                })
                .unwrap();
        }
        join(&folder, &About::default(), &["a", "b"]).unwrap();
        let run = Run::read(&folder).unwrap();
        assert_eq!(run.outcomes.len(), 2);
        assert_eq!(run.about.facts["tor"], "0.4.9");
        assert_eq!(run.about.facts["tor (b)"], "0.2.0");
        assert_eq!(run.about.facts["command of b"], "b");
        point_latest(&folder, "a").unwrap();
        point_latest(&folder, "b").unwrap();
        assert!(Run::read(&folder.join("latest")).unwrap().outcomes[0].experiment == "b");
        fs::remove_dir_all(&folder).unwrap();
    }
}
