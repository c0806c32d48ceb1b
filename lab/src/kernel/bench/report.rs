//! Results as tables and as JSON.

use std::fs;

use serde_json::{Value, json};

use super::flows::Outcome;
use super::tail::Tail;
use super::targets::{Bound, Target};
use super::{Contender, Point, Tcp, median};

/// One flow's outcome in a run that counts.
#[derive(Clone, Debug)]
pub struct Run {
    /// Where.
    pub point: Point,
    /// Of the losses.
    pub seed: u64,
    /// Who.
    pub contender: Contender,
    /// What.
    pub outcome: Outcome,
}

/// Everything measured.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// What was asked for.
    pub points: Vec<Point>,
    /// Congestion controls that were asked for.
    pub controls: Vec<&'static str>,
    /// All runs that count.
    pub runs: Vec<Run>,
    /// Whether tail loss was asked for.
    pub tail_wanted: bool,
    /// Tail loss.
    pub tails: Vec<Tail>,
    /// Runs that were thrown away since the emulator was late.
    pub discarded: u64,
}

impl Results {
    fn goodputs(&self, point: &Point, contender: &Contender) -> Vec<f64> {
        self.runs
            .iter()
            .filter(|run| run.point == *point && run.contender == *contender)
            .map(|run| run.outcome.goodput)
            .collect()
    }

    /// The median goodput in Mbit/s, if there was a run that counts.
    pub fn goodput(
        &self,
        point: &Point,
        sender: Tcp,
        congestion: &str,
        receiver: Tcp,
    ) -> Option<f64> {
        let contender = super::CONTROLS
            .iter()
            .flat_map(|control| super::contenders(control))
            .find(|c| c.sender == sender && c.congestion == congestion && c.receiver == receiver)?;
        median(&self.goodputs(point, &contender))
    }

    /// The table of goodputs.
    pub fn table(&self, contenders: &[Contender]) -> String {
        let mut table = format!("{:<24}", "median Mbit/s");
        for contender in contenders {
            table += &format!("{:>20}", contender.name());
        }
        table += "   runs\n";
        for point in &self.points {
            table += &format!("{:<24}", point.name());
            let mut least = usize::MAX;
            for contender in contenders {
                let goodputs = self.goodputs(point, contender);
                least = least.min(goodputs.len());
                table += &match median(&goodputs) {
                    Some(median) => format!("{median:>20.2}"),
                    None => format!("{:>20}", "-"),
                };
            }
            table += &format!("{least:>7}\n");
        }
        table
    }

    /// The table of tail loss.
    pub fn tail_table(&self) -> String {
        let mut table = format!(
            "{:<24}{:>8}{:>10}{:>12}{:>10}{:>10}\n",
            "tail loss, median ms", "RTT", "clean", "1 lost: +", "2: +", "3: +"
        );
        for tail in &self.tails {
            table += &format!(
                "{:<24}{:>8}{:>10.1}{:>12.1}{:>10.1}{:>10.1}\n",
                tail.contender.name(),
                tail.rtt,
                tail.clean,
                tail.extra[0],
                tail.extra[1],
                tail.extra[2]
            );
        }
        table
    }

    /// All of it.
    pub fn json(&self, machine: &Machine, seconds: u64, targets: &[Target]) -> Value {
        let runs: Vec<Value> = self
            .runs
            .iter()
            .map(|run| {
                let links = run.outcome.links.map(|link| {
                    json!({
                        "packets": link.entered,
                        "lost": link.lost,
                        "overflowed": link.overflowed,
                        "late": link.reordered,
                    })
                });
                json!({
                    "point": run.point.name(),
                    "rate_mbit": run.point.rate,
                    "rtt_ms": run.point.rtt,
                    "loss_percent": run.point.loss,
                    "late_percent": run.point.late,
                    "seed": run.seed,
                    "contender": run.contender.name(),
                    "goodput_mbit": run.outcome.goodput,
                    "retransmitted": run.outcome.repaired.map(|r| r.0),
                    "timeouts": run.outcome.repaired.map(|r| r.1),
                    "links": links,
                })
            })
            .collect();
        let tails: Vec<Value> = self
            .tails
            .iter()
            .map(|tail| {
                json!({
                    "contender": tail.contender.name(),
                    "rtt_ms": tail.rtt,
                    "clean_ms": tail.clean,
                    "extra_ms": tail.extra,
                })
            })
            .collect();
        let targets: Vec<Value> = targets
            .iter()
            .map(|target| {
                let (kind, bound) = match target.bound {
                    Bound::AtLeast(bound) => ("at least", bound),
                    Bound::AtMost(bound) => ("at most", bound),
                };
                json!({
                    "name": target.name,
                    "figure": target.figure,
                    kind: bound,
                    "met": target.is_met(),
                })
            })
            .collect();
        json!({
            "kernel": machine.release,
            "congestion_controls": machine.available,
            "default_congestion_control": machine.default,
            "seconds": seconds,
            "discarded": self.discarded,
            "runs": runs,
            "tail_loss": tails,
            "targets": targets,
        })
    }
}

/// What the figures depend on besides.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Version of the kernel.
    pub release: String,
    /// Congestion controls that it has.
    pub available: String,
    /// The one that sockets get unless they choose.
    pub default: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        let read = |path: &str| {
            fs::read_to_string(path)
                .map(|text| text.trim().to_string())
                .unwrap_or_default()
        };
        Machine {
            release: read("/proc/sys/kernel/osrelease"),
            available: read("/proc/sys/net/ipv4/tcp_available_congestion_control"),
            default: read("/proc/sys/net/ipv4/tcp_congestion_control"),
        }
    }
}
