//! Whole networks of real Tor binaries in the Shadow simulator: `lab shadow` writes its configuration, runs it where
//! `shadow` is on PATH, and reads what its clients measured.
//!
//! ```text
//! config    shadow.yaml, the network graph, torrc files
//! traffic   server and clients: this program, inside the simulation
//! read      what they have printed, as figures
//! ```
//!
//! Shadow runs unmodified programs and gives them a network and a clock of its own. Its TCP is its own too (it follows
//! an old Linux with Reno-like control, not the kernel that this machine has): whatever vanilla Tor shows here is vanilla
//! Tor over *that* TCP, and every such variant is called so. Patched relays bring their TCP along.

pub mod config;
pub mod read;
#[cfg(test)]
mod tests;
pub mod traffic;

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::results::run::Writer;
use crate::results::{Outcome, Run};
use crate::target::Target;
use crate::tor::keys::{make_authority, private_directory};
use crate::tor::node::{Node, Role};
use crate::tor::programs::{Program, Programs, Release};
use config::{DATA, DIR_PORT, GRAPH, Host, OR_PORT, Simulation, TEMPLATE};

/// About how many minutes the short and the whole form take, on two cores.
pub const MINUTES: [f64; 2] = [4.0, 240.0];

/// Name of the experiment.
pub const EXPERIMENT: &str = "shadow-network";

/// Shadow's figures are not held to anything by themselves.
pub fn targets(_run: &Run) -> Vec<Target> {
    Vec::new()
}

/// Whether Shadow is on PATH.
///
/// # Errors
/// That it is not, or does not run.
pub fn possible() -> Result<(), String> {
    let ran = Command::new("shadow")
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("`shadow --version` fails: {}", output.status)),
        Err(_) => Err("the simulator `shadow` is not on PATH; nothing was simulated".into()),
    }
}

/// How large a network is, and for how long it is watched.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Relays beside the authority.
    pub relays: usize,
    /// Clients.
    pub clients: usize,
    /// Simulated seconds after the bootstrap.
    pub seconds: u64,
}

/// The whole form.
pub const FULL: Scale = Scale {
    relays: 40,
    clients: 120,
    seconds: 600,
};

/// The short form.
pub const QUICK: Scale = Scale {
    relays: 10,
    clients: 20,
    seconds: 120,
};

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How large, how long.
    pub scale: Scale,
    /// The first seed.
    pub seed: u64,
    /// How many seeds.
    pub seeds: u64,
    /// Percent of packets lost.
    pub losses: Vec<f64>,
    /// Whether configurations are written, and nothing is run.
    pub write_only: bool,
}

/// How a variant is called.
pub fn variant(program: Program) -> &'static str {
    match program {
        Program::Vanilla => "vanilla, vegas, Shadow's own kernel TCP",
        Program::Patched => "patched, vegas",
    }
}

/// Scripts that run Tor's programs at the moment at which Shadow's clock begins: a certificate of today would be from
/// the future there.
fn in_2000(folder: &Path, programs: &Programs) -> Result<Programs, Box<dyn Error>> {
    let ran = Command::new("faketime").arg("--version").output();
    if !ran.is_ok_and(|output| output.status.success()) {
        return Err("keys have to be made in the year 2000, where Shadow's clock begins: install `faketime`".into());
    }
    fs::create_dir_all(folder)?;
    let script = |name: &str, program: &Path| -> Result<PathBuf, Box<dyn Error>> {
        let file = std::path::absolute(folder.join(name))?;
        let program = program.display().to_string().replace('\'', "'\\''");
        let text = format!("#!/bin/sh\nexec faketime '2000-01-01 00:00:00' '{program}' \"$@\"\n");
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        Ok(file)
    };
    Ok(Programs {
        vanilla: Some(script("tor", programs.any())?),
        patched: None,
        gencert: script("tor-gencert", &programs.gencert)?,
    })
}

/// Writes everything that Shadow needs into `folder`.
///
/// # Errors
/// What the file system or Tor's tools say.
pub fn write(
    folder: &Path,
    scale: &Scale,
    programs: &Programs,
    program: Program,
    loss: f64,
    seed: u64,
) -> Result<(), Box<dyn Error>> {
    let hosts = config::hosts(scale, seed);
    let template = folder.join(TEMPLATE).join("hosts");
    let authority = hosts
        .iter()
        .find(|h| h.role == config::Role::Authority)
        .ok_or("a network without an authority")?;
    let mut node = Node {
        name: authority.name.clone(),
        role: Role::Authority,
        program,
        host: authority.name.clone(),
        address: authority.address,
        socks_port: 0,
        directory: std::path::absolute(template.join(&authority.name).join("tor"))?,
        lines: Vec::new(),
        fingerprint: String::new(),
        v3ident: String::new(),
    };
    private_directory(&node.directory)?;
    let then = in_2000(&folder.join("keys-in-2000"), programs)?;
    make_authority(&mut node, &then, Release::Modern)?;
    let line = format!(
        "DirAuthority {} orport={OR_PORT} v3ident={} {}:{DIR_PORT} {}",
        node.name, node.v3ident, node.address, node.fingerprint
    );
    let tor = programs
        .get(program)
        .ok_or_else(|| format!("no {} Tor", program.name()))?;
    let lab = std::env::current_exe()?;
    let simulation = Simulation {
        scale,
        hosts: &hosts,
        tor: &tor.display().to_string(),
        lab: &lab.display().to_string(),
        seed,
    };
    write_files(folder, &simulation, program, &line, loss)
}

/// The files that follow from the simulation alone.
fn write_files(
    folder: &Path,
    simulation: &Simulation,
    program: Program,
    authority: &str,
    loss: f64,
) -> Result<(), Box<dyn Error>> {
    for host in simulation.hosts {
        write_host(folder, host, program, authority)?;
    }
    fs::write(folder.join(GRAPH), config::graph(simulation.hosts, loss))?;
    let yaml = serde_norway::to_string(&simulation.yaml())?;
    fs::write(folder.join("shadow.yaml"), yaml)?;
    Ok(())
}

fn write_host(
    folder: &Path,
    host: &Host,
    program: Program,
    authority: &str,
) -> Result<(), Box<dyn Error>> {
    let own = folder.join(TEMPLATE).join("hosts").join(&host.name);
    fs::create_dir_all(&own)?;
    if let Some(torrc) = config::torrc(host, program, authority) {
        private_directory(&own.join("tor"))?;
        fs::write(own.join("torrc"), torrc)?;
        // Or Tor would look for the system's.
        fs::write(own.join("torrc-defaults"), "")?;
    }
    Ok(())
}

/// Runs Shadow in `folder`; its own log goes to a file there.
fn simulate(folder: &Path) -> Result<(), Box<dyn Error>> {
    let data = folder.join(DATA);
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    let log = folder.join("shadow.log");
    let status = Command::new("shadow")
        .arg("shadow.yaml")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&log)?)
        .status()?;
    if status.success() {
        return Ok(());
    }
    // It also ends so when one of many programs did not end as was expected: what there is, is read.
    eprintln!("lab: shadow: {status}; see {}", log.display());
    Ok(())
}

/// Writes, runs and reads every simulation.
///
/// # Errors
/// What stands against it.
pub fn run(
    plan: &Plan,
    programs: &Programs,
    folder: &Path,
    writer: &mut Writer,
) -> Result<(), Box<dyn Error>> {
    let present = [Program::Vanilla, Program::Patched]
        .into_iter()
        .filter(|p| programs.get(*p).is_some());
    let mut all = Vec::new();
    for program in present {
        for &loss in &plan.losses {
            for number in 0..plan.seeds {
                all.push((program, loss, number));
            }
        }
    }
    for (done, &(program, loss, number)) in all.iter().enumerate() {
        let seed = plan.seed + number;
        let own = folder.join(format!("{}-{loss}-{seed}", program.name()));
        if own.exists() {
            fs::remove_dir_all(&own)?;
        }
        write(&own, &plan.scale, programs, program, loss, seed)?;
        println!(
            "lab: [{}/{}] shadow: {}",
            done + 1,
            all.len(),
            own.display()
        );
        if plan.write_only {
            continue;
        }
        simulate(&own)?;
        let lines = read::read(&own.join(DATA))?;
        let mut outcome = Outcome {
            experiment: EXPERIMENT.into(),
            variant: variant(program).into(),
            at: [
                ("loss_percent".to_string(), loss),
                ("relays".to_string(), plan.scale.relays as f64),
                ("clients".to_string(), plan.scale.clients as f64),
            ]
            .into(),
            repetition: number as u32 + 1,
            ..Outcome::default()
        };
        if lines.spoke * 10 < lines.clients * 9 {
            outcome.refused = Some(format!(
                "only {} of {} clients measured anything",
                lines.spoke, lines.clients
            ));
        }
        let figures = lines.figures().into_iter();
        outcome.figures = figures.map(|(name, v)| (name.to_string(), v)).collect();
        writer.outcome(outcome)?;
    }
    Ok(())
}
