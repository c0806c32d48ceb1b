//! A private Tor network over emulated links: an authority, sets of relays, clients, and the destination's host.
//!
//! Each relay is on a host of its own, all clients are on one, the destination on another, the authority on a third. Every
//! set of relays runs one program over one congestion control of the kernel. Sets are beside each other in the same network,
//! so that what they do can be measured in turns, and what changes on the machine meanwhile concerns all alike.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::circuits::Pinning;
use super::control::Control;
use super::keys::{make_authority, private_directory, read_fingerprint};
use super::node::{Node, Role};
use super::process::Usage;
use super::programs::{Program, Programs, Release};
use super::torrc::{OR_PORT, Voting, Windows, torrc};
use crate::emulate::topology::{HostSettings, LinkRule, Names};
use crate::emulate::{Emulator, LinkSettings, Running, Topology};

/// Host of all clients.
pub const CLIENTS: &str = "clients";
/// Host of what is downloaded from.
pub const DESTINATION: &str = "destination";
const AUTHORITY: &str = "authority";

/// Where clients listen, the first of them.
const SOCKS_PORT: u16 = 9050;
/// Each step of the start, such as that all nodes have a consensus.
const PATIENCE: Duration = Duration::from_secs(120);
/// A circuit.
const BUILD_PATIENCE: Duration = Duration::from_secs(20);
/// Between two attempts to have a node ask for a consensus again.
const NUDGE: Duration = Duration::from_secs(3);

/// Congestion control of the kernel's TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// What most systems use.
    Cubic,
    /// What some use.
    Bbr,
}

impl Kernel {
    /// As the kernel calls it.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Cubic => "cubic",
            Kernel::Bbr => "bbr",
        }
    }
}

/// Relays that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Set {
    /// What they run.
    pub program: Program,
    /// What their kernel does. Of patched relays: for links to clients and to the destination.
    pub kernel: Kernel,
}

impl Set {
    /// The name of its relay of this number, from 1.
    pub fn relay(self, number: usize) -> String {
        format!("{}{}{number}", self.program.name(), self.kernel.name())
    }
}

/// What a network consists of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// All nodes are of one release.
    pub release: Release,
    /// How circuits are controlled from end to end.
    pub windows: Windows,
    /// The sets, each with so many relays.
    pub sets: Vec<Set>,
    /// Relays of each set.
    pub relays: usize,
    /// How many clients.
    pub clients: usize,
    /// Lines for the torrc of patched relays.
    pub patched_lines: Vec<String>,
    /// Between relays, and between them and clients.
    pub link: LinkSettings,
    /// Of all random choices.
    pub seed: u64,
}

/// A network at work. Its processes are killed when this is dropped.
pub struct Net {
    /// What it consists of.
    pub spec: Spec,
    /// The links.
    pub emulator: Running,
    nodes: Vec<Node>,
    children: BTreeMap<String, Child>,
    controls: BTreeMap<String, Control>,
    clients: Vec<Pinning>,
    directory: PathBuf,
    /// How long the start took.
    pub bootstrap: Duration,
}

/// What a network tells of its start: what it waits for now.
pub type Tell<'a> = &'a dyn Fn(&str);

/// The kernel's own settings of this machine: the emulator's hosts would have larger buffers than relays have.
fn buffers() -> BTreeMap<String, String> {
    let names = ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"];
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/")));
    let found = names
        .into_iter()
        .filter_map(|name| Some((name.to_string(), read(name).ok()?.trim().to_string())));
    found.collect()
}

fn topology(spec: &Spec) -> Topology {
    let host = |name: &str, kernel: Kernel| HostSettings {
        name: name.to_string(),
        congestion: Some(kernel.name().to_string()),
        sysctl: buffers(),
        ..HostSettings::default()
    };
    let mut hosts: Vec<HostSettings> = [AUTHORITY, CLIENTS, DESTINATION]
        .iter()
        .map(|name| host(name, Kernel::Cubic))
        .collect();
    let mut relays = Vec::new();
    for set in &spec.sets {
        for number in 1..=spec.relays {
            relays.push(set.relay(number));
            hosts.push(host(&set.relay(number), set.kernel));
        }
    }
    let rule = |to: Names, both| LinkRule {
        from: Names::Some(relays.clone()),
        to,
        both,
        settings: spec.link.clone(),
    };
    Topology {
        seed: spec.seed,
        links: vec![
            rule(Names::Some(relays.clone()), false),
            rule(Names::One(CLIENTS.into()), true),
        ],
        hosts,
        ..Topology::default()
    }
}

impl Net {
    /// Starts everything, and waits until clients can use every relay.
    ///
    /// # Errors
    /// What stands against it; logs stay then, and the error says where.
    pub fn start(spec: Spec, programs: &Programs, tell: Tell<'_>) -> Result<Net, Box<dyn Error>> {
        let began = Instant::now();
        let emulator = Emulator::new(&topology(&spec))?.start()?;
        // Not below the project: paths of sockets have to be short.
        let unique = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let directory =
            std::env::temp_dir().join(format!("utcp-lab-{}-{unique}", std::process::id()));
        private_directory(&directory)?;
        let nodes = nodes(&spec, &emulator, &directory)?;
        let mut net = Net {
            spec,
            emulator,
            nodes,
            children: BTreeMap::new(),
            controls: BTreeMap::new(),
            clients: Vec::new(),
            directory,
            bootstrap: Duration::ZERO,
        };
        let started = net.bring_up(programs, tell);
        if let Err(error) = started {
            let kept = net.keep();
            return Err(format!("{error}\nLogs: {}/NODE/tor.log", kept.display()).into());
        }
        net.bootstrap = began.elapsed();
        Ok(net)
    }

    /// Leaves the directory with logs where it is.
    pub fn keep(&mut self) -> PathBuf {
        std::mem::take(&mut self.directory)
    }

    fn bring_up(&mut self, programs: &Programs, tell: Tell<'_>) -> Result<(), Box<dyn Error>> {
        for node in &self.nodes {
            private_directory(&node.directory)?;
        }
        tell("keys of the authority");
        let release = self.spec.release;
        let authority = self
            .nodes
            .iter_mut()
            .find(|node| node.role == Role::Authority);
        make_authority(authority.expect("there is one"), programs, release)?;
        let authorities: Vec<&Node> = self
            .nodes
            .iter()
            .filter(|node| node.role == Role::Authority)
            .collect();
        for node in &self.nodes {
            let text = torrc(node, &authorities, release, self.spec.windows);
            fs::write(node.directory.join("torrc"), text)?;
        }
        // Nodes make their keys when they start, all at once.
        let needed = 3.0 + 0.12 * self.nodes.len() as f64;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let wait = Voting::of(release).wait(wall, needed.min(6.0));
        tell("the moment for a first vote");
        thread::sleep(Duration::from_secs_f64(wait));
        for node in self.nodes.clone() {
            let program = programs
                .get(node.program)
                .unwrap_or(programs.any())
                .to_path_buf();
            self.launch(&node, &program)?;
        }
        tell("control connections");
        for index in 0..self.nodes.len() {
            self.connect(index)?;
        }
        self.wait_until_ready(tell)
    }

    fn launch(&mut self, node: &Node, program: &Path) -> io::Result<()> {
        let log = fs::File::create(node.directory.join("output.log"))?;
        let mut command = Command::new(program);
        command.arg("-f").arg(node.directory.join("torrc"));
        if self.spec.release == Release::Modern {
            command.arg("--hush");
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // The home directory would be looked into.
        command.env("HOME", &node.directory);
        let child = self.emulator.spawn_in(&node.host, command)?;
        self.children.insert(node.name.clone(), child);
        Ok(())
    }

    /// The end of what a node has logged.
    fn log(&self, node: &Node) -> String {
        let lines = |name: &str| {
            let text = fs::read(node.directory.join(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(8)..].join("\n")
        };
        format!("{}\n{}", lines("tor.log"), lines("output.log"))
    }

    /// Whether all nodes are there.
    ///
    /// # Errors
    /// Which one is not, with the end of its log.
    pub fn check_alive(&mut self) -> Result<(), Box<dyn Error>> {
        for node in &self.nodes {
            if let Some(child) = self.children.get_mut(&node.name)
                && let Some(status) = child.try_wait()?
            {
                return Err(format!("{} ended: {status}\n{}", node.name, self.log(node)).into());
            }
        }
        Ok(())
    }

    fn connect(&mut self, index: usize) -> Result<(), Box<dyn Error>> {
        let node = self.nodes[index].clone();
        let deadline = Instant::now() + PATIENCE;
        let control = loop {
            self.check_alive()?;
            let connected = if node.role == Role::Client {
                Pinning::connect(&node.name, &node.control_socket(), self.spec.release).map(
                    |client| {
                        self.clients.push(client.clone());
                        client.control
                    },
                )
            } else {
                Control::connect(&node.name, &node.control_socket(), |_, _| {})
            };
            match connected {
                Ok(control) => break control,
                Err(error) if Instant::now() > deadline => {
                    return Err(format!(
                        "{} cannot be controlled: {error}\n{}",
                        node.name,
                        self.log(&node)
                    )
                    .into());
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        };
        self.controls.insert(node.name.clone(), control);
        if node.is_listed() {
            // It is written before the node listens.
            self.nodes[index].fingerprint = read_fingerprint(&node.directory)?;
        }
        Ok(())
    }

    fn wait_until_ready(&mut self, tell: Tell<'_>) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        let mut nudged = Instant::now();
        loop {
            self.check_alive()?;
            let missing = self.missing();
            let Some(first) = missing.first() else {
                return Ok(());
            };
            if Instant::now() > deadline {
                let shown: Vec<String> = missing
                    .iter()
                    .take(5)
                    .map(|(name, what)| format!("{name}: {what}"))
                    .collect();
                return Err(format!(
                    "not ready after {} s: {}",
                    PATIENCE.as_secs(),
                    shown.join("; ")
                )
                .into());
            }
            tell(&format!("{}: {}", first.0, first.1));
            // Nodes that asked before there was a consensus wait longer and longer until they ask again. Reloading makes
            // them forget that.
            if nudged.elapsed() > NUDGE {
                nudged = Instant::now();
                let consensus = self
                    .nodes
                    .iter()
                    .any(|n| n.role == Role::Authority && self.lacks_consensus(n).is_none());
                for (name, _) in missing.iter().filter(|_| consensus) {
                    let _ = self.controls[name].command("SIGNAL RELOAD");
                }
            }
            thread::sleep(Duration::from_millis(250));
        }
    }

    /// What nodes do not know yet, by name.
    fn missing(&self) -> Vec<(String, String)> {
        let mut missing = Vec::new();
        for node in &self.nodes {
            let lack = self
                .lacks_consensus(node)
                .or_else(|| self.lacks_descriptors(node));
            if let Some(lack) = lack {
                missing.push((node.name.clone(), lack));
                if node.role == Role::Authority {
                    // Without it nobody gets any further.
                    break;
                }
            }
        }
        missing
    }

    fn lacks_consensus(&self, node: &Node) -> Option<String> {
        let known = self.controls[&node.name].info("ns/all").unwrap_or_default();
        let mut running = Vec::new();
        let mut name = "";
        for line in known.lines() {
            if let Some(rest) = line.strip_prefix("r ") {
                name = rest.split(' ').next().unwrap_or_default();
            } else if line.starts_with("s ") && line.split(' ').any(|flag| flag == "Running") {
                running.push(name);
            }
        }
        let mut listed = self.nodes.iter().filter(|other| other.is_listed());
        let absent = listed.find(|other| !running.contains(&other.name.as_str()))?;
        Some(format!("a consensus with {}", absent.name))
    }

    fn lacks_descriptors(&self, node: &Node) -> Option<String> {
        let control = &self.controls[&node.name];
        let relays = || {
            self.nodes
                .iter()
                .filter(|other| other.role == Role::Relay && other.name != node.name)
        };
        if node.role == Role::Client && self.spec.release == Release::Modern {
            if control
                .info("status/enough-dir-info")
                .is_ok_and(|answer| answer != "1")
            {
                return Some("enough directory information".into());
            }
            let absent = relays().find(|other| {
                let known = control.info(&format!("md/id/{}", other.fingerprint));
                !known.is_ok_and(|text| !text.is_empty())
            })?;
            return Some(format!("descriptor of {}", absent.name));
        }
        let old_client = node.role == Role::Client;
        if !old_client && !node.is_patched_relay() {
            return None;
        }
        let known = control.info("desc/all-recent").unwrap_or_default();
        let mut with_port = Vec::new();
        let mut name = "";
        for line in known.lines() {
            if let Some(rest) = line.strip_prefix("router ") {
                name = rest.split(' ').next().unwrap_or_default();
                if old_client {
                    with_port.push(name);
                }
            } else if line.starts_with("or-udp-port ") || line.starts_with("opt or-udp-port ") {
                with_port.push(name);
            }
        }
        let absent = relays()
            .filter(|other| old_client || other.is_patched_relay())
            .find(|other| !with_port.contains(&other.name.as_str()))?;
        Some(format!("descriptor of {}", absent.name))
    }

    /// A node.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn node(&self, name: &str) -> &Node {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.unwrap_or_else(|| panic!("no node {name}"))
    }

    /// A node's control connection.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn control(&self, name: &str) -> &Control {
        &self.controls[name]
    }

    /// A client, from 0.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn client(&self, index: usize) -> &Pinning {
        &self.clients[index]
    }

    /// Where a client listens for applications, on the loopback of [`CLIENTS`].
    pub fn socks_port(&self, client: usize) -> u16 {
        SOCKS_PORT + client as u16
    }

    /// Builds a circuit of a client over relays; gives its number.
    ///
    /// # Errors
    /// If it is not built, twice.
    pub fn circuit(&self, client: usize, path: &[String]) -> io::Result<String> {
        let hops: Vec<&str> = path
            .iter()
            .map(|name| self.node(name).fingerprint.as_str())
            .collect();
        let client = &self.clients[client];
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.join(" - ")))
        };
        // The first attempt may race with the connection that another one is just making.
        client
            .open(&hops, BUILD_PATIENCE)
            .or_else(|_| client.open(&hops, BUILD_PATIENCE))
            .map_err(named)
    }

    /// Changes the link between two hosts, in both directions.
    ///
    /// # Errors
    /// If there are no such hosts, or the settings make no sense.
    pub fn set_link(&mut self, a: &str, b: &str, settings: &LinkSettings) -> io::Result<()> {
        self.emulator.set_link(a, b, settings)?;
        self.emulator.set_link(b, a, settings)
    }

    /// What a node has used so far.
    ///
    /// # Errors
    /// If it has ended.
    pub fn usage(&self, name: &str) -> io::Result<Usage> {
        Usage::of(self.children[name].id())
    }

    /// The process of a node.
    pub fn pid(&self, name: &str) -> u32 {
        self.children[name].id()
    }

    /// Connections between two relays that carry data, as the kernel and a patched relay tell: sockets of TCP, links of
    /// our transport.
    ///
    /// # Errors
    /// If they cannot be asked.
    pub fn transports(&self, a: &str, b: &str) -> io::Result<(usize, usize)> {
        let other = self.node(b).address;
        let tcp =
            super::sockets::connections(self.emulator.host(&self.node(a).host)?, other, OR_PORT)?
                .len();
        if !self.node(a).is_patched_relay() {
            return Ok((tcp, 0));
        }
        let links = self.control(a).info("utcp/links")?;
        let wanted = format!("{other}:");
        let ours = links.lines().filter(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            words
                .get(1)
                .is_some_and(|address| address.starts_with(&wanted))
                && words.get(2) == Some(&"utcp")
        });
        Ok((tcp, ours.count()))
    }
}

fn nodes(spec: &Spec, emulator: &Running, directory: &Path) -> io::Result<Vec<Node>> {
    let node = |name: String, role, program, host: &str| -> io::Result<Node> {
        Ok(Node {
            role,
            program,
            host: host.to_string(),
            address: emulator.address(host)?,
            socks_port: 0,
            directory: directory.join(&name),
            lines: Vec::new(),
            fingerprint: String::new(),
            v3ident: String::new(),
            name,
        })
    };
    let mut nodes = vec![node(
        AUTHORITY.into(),
        Role::Authority,
        Program::Vanilla,
        AUTHORITY,
    )?];
    for set in &spec.sets {
        for number in 1..=spec.relays {
            let name = set.relay(number);
            let mut relay = node(name.clone(), Role::Relay, set.program, &name)?;
            if set.program == Program::Patched {
                relay.lines.clone_from(&spec.patched_lines);
            }
            nodes.push(relay);
        }
    }
    for index in 0..spec.clients {
        let mut client = node(
            format!("client{}", index + 1),
            Role::Client,
            Program::Vanilla,
            CLIENTS,
        )?;
        client.socks_port = SOCKS_PORT + index as u16;
        nodes.push(client);
    }
    Ok(nodes)
}

impl Drop for Net {
    fn drop(&mut self) {
        for control in self.controls.values() {
            control.close();
        }
        for child in self.children.values_mut() {
            if matches!(child.try_wait(), Ok(None)) {
                let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
            }
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        for child in self.children.values_mut() {
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    let _ = child.kill();
                    let _ = child.wait();
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        if self.directory.components().count() > 1 {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}
