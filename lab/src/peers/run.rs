//! One run: an emulated link, a process on each side of it, and what came of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::clock::{self, MILLI, Micros, SECOND};
use super::figures::{self, Carried};
use super::identity::Identity;
use super::points::{Experiment, Point, Variant};
use super::process::{BEGUN, LISTENING, Report};
use super::traffic::Pattern;
use super::transport::Failure;
use crate::emulate::topology::{HostSettings, Limits};
use crate::emulate::{Emulator, LinkSettings, Running, Topology};
use crate::results::Outcome;

/// A line that a process owes is waited for so long beyond its time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the server listens.
const PORT: u16 = 9_001;

/// How many packets are dropped one by one, and how often.
const DROPS: (u32, Micros) = (5, SECOND);

/// The traffic of an experiment; `smoke`: as short as figures can be had.
pub fn pattern(experiment: Experiment, quick: bool, smoke: bool) -> Pattern {
    let pattern = match experiment {
        Experiment::Load => Pattern::default(),
        Experiment::Drops => Pattern {
            bulk: 0,
            requests: 0,
            quiet_every: 40 * MILLI,
            idle: SECOND,
            warm: 0,
            measure: SECOND / 2 + Micros::from(DROPS.0) * DROPS.1,
            samples: true,
            ..Pattern::default()
        },
    };
    match experiment {
        Experiment::Load if smoke => Pattern {
            idle: 600 * MILLI,
            warm: 500 * MILLI,
            measure: SECOND,
            request_every: SECOND / 2,
            ..pattern
        },
        Experiment::Load if !quick => Pattern {
            idle: 3 * SECOND,
            warm: 4 * SECOND,
            measure: 15 * SECOND,
            ..pattern
        },
        _ => pattern,
    }
}

/// The two hosts and their link.
pub fn topology(point: &Point, seed: u64) -> Topology {
    let host = |name: &str| HostSettings {
        name: name.to_string(),
        ..HostSettings::default()
    };
    Topology {
        seed,
        limits: Limits {
            load_mbit: point.rate,
            ..Limits::default()
        },
        defaults: LinkSettings {
            delay_ms: Some(point.rtt / 2.0),
            loss: Some(point.loss / 100.0),
            rate_mbit: Some(point.rate),
            // One bandwidth-delay product.
            queue_bytes: Some((point.rate * 1e6 / 8.0 * point.rtt / 1e3) as u64),
            ..LinkSettings::default()
        },
        hosts: vec![host("client"), host("server")],
        ..Topology::default()
    }
}

/// A process that tells lines, and is killed with this.
struct Told {
    child: Child,
    lines: Receiver<String>,
}

impl Told {
    fn new(mut child: Child) -> Told {
        let (to, lines) = channel();
        let out = child.stdout.take().expect("it is a pipe");
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if to.send(line).is_err() {
                    break;
                }
            }
        });
        Told { child, lines }
    }

    fn line(&self, patience: Duration) -> Result<String, Failure> {
        let line = self.lines.recv_timeout(patience);
        line.map_err(|_| "a process said nothing more, see above".into())
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, Failure> {
        let name = format!(
            "utcp-lab-peers-{}-{:?}",
            std::process::id(),
            thread::current().id()
        );
        let path = std::env::temp_dir().join(name.replace(['(', ')'], "-"));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where the program is that is started on both sides.
#[derive(Clone, Debug)]
pub struct Program(pub PathBuf);

impl Program {
    /// This one.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn own() -> std::io::Result<Program> {
        std::env::current_exe().map(Program)
    }

    fn start(
        &self,
        running: &Running,
        role: &str,
        variant: Variant,
        pattern: &Pattern,
        folder: &Path,
    ) -> Result<Told, Failure> {
        let address = running.address("server")?;
        let mut command = Command::new(&self.0);
        command
            .args([
                "peer",
                variant.kind.name(),
                "--control",
                variant.control.name(),
                "--role",
                role,
            ])
            .arg("--address")
            .arg(format!("{address}:{PORT}"))
            .arg("--identity")
            .arg(folder)
            .arg("--pattern")
            .arg(serde_json::to_string(pattern)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        Ok(Told::new(running.spawn_in(role, command)?))
    }
}

/// Drops a packet from the server to the client; returns when, and how many it were in the end.
fn drop_one(running: &mut Running) -> Result<(Micros, u64), Failure> {
    let lost = |running: &Running| -> Result<u64, Failure> {
        Ok(running.link_counters("server", "client")?.lost)
    };
    let set = |running: &mut Running, loss: f64| {
        let settings = LinkSettings {
            loss: Some(loss),
            ..LinkSettings::default()
        };
        running.set_link("server", "client", &settings)
    };
    let before = lost(running)?;
    set(running, 1.0)?;
    let give_up = clock::now() + SECOND / 4;
    while lost(running)? == before && clock::now() < give_up {
        thread::sleep(Duration::from_micros(200));
    }
    let time = clock::now();
    set(running, 0.0)?;
    Ok((time, lost(running)? - before))
}

/// Runs a variant on a link. What fails is told as an error; an emulator that was late makes an outcome that is refused.
///
/// # Errors
/// What failed in the emulator or in one of the processes.
pub fn run(
    program: &Program,
    variant: Variant,
    point: &Point,
    pattern: &Pattern,
    seed: u64,
) -> Result<Outcome, Failure> {
    let folder = Folder::new()?;
    Identity::new()?.write(&folder.0)?;
    let mut running = Emulator::new(&topology(point, seed))?.start()?;
    let server = program.start(&running, "server", variant, pattern, &folder.0)?;
    match server.line(PATIENCE)?.as_str() {
        LISTENING => {}
        other => return Err(other.into()),
    }
    let client = program.start(&running, "client", variant, pattern, &folder.0)?;
    let line = client.line(PATIENCE)?;
    let begun: Micros = line
        .strip_prefix(BEGUN)
        .ok_or_else(|| line.clone())?
        .parse()?;
    let mut times = Vec::new();
    if point.experiment == Experiment::Drops {
        let (from, _) = pattern.counts(begun);
        for number in 0..DROPS.0 {
            let due = from + SECOND / 4 + Micros::from(number) * DROPS.1;
            thread::sleep(Duration::from_micros(due.saturating_sub(clock::now())));
            let (time, count) = drop_one(&mut running)?;
            // Two packets may have been two circuits'.
            if count == 1 {
                times.push(time);
            }
        }
    }
    let patience = PATIENCE + Duration::from_micros(pattern.length());
    let report = |told: &Told| -> Result<Report, Failure> {
        Ok(serde_json::from_str(&told.line(patience)?)?)
    };
    let (client, server) = (report(&client)?, report(&server)?);
    let seen = client.seen.clone().ok_or("the client has seen nothing")?;
    let mut link = Carried::default();
    for one in running.counters()?.links {
        link.octets += one.counters.entered_octets;
        link.packets += one.counters.entered;
        link.lost += one.counters.lost;
        link.overflowed += one.counters.overflowed;
    }
    let verdict = running.verdict()?;
    let mut figures: BTreeMap<String, f64> = match point.experiment {
        Experiment::Load => figures::load(pattern, &client, &server, &seen, &link),
        Experiment::Drops => figures::drops(&seen, &times),
    };
    figures.insert("emulator_late_p99_ms".into(), verdict.late_p99_ms);
    figures.insert("emulator_processor_ratio".into(), verdict.processor);
    Ok(Outcome {
        experiment: point.experiment.name().into(),
        variant: variant.name(),
        at: point.at(),
        repetition: 0,
        figures,
        refused: verdict.overloaded.then(|| verdict.to_string()),
    })
}
