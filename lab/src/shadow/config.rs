//! The files of a simulation: `shadow.yaml`, the network graph, a torrc for each node.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Scale;
use crate::rng::{Rng, mix};
use crate::sim::geography::Position;
use crate::sim::layout::Layout;
use crate::tor::programs::Program;

/// Of the onion port.
pub const OR_PORT: u16 = 5_000;
/// Of our transport.
pub const OR_UDP_PORT: u16 = 5_001;
/// Of the directory.
pub const DIR_PORT: u16 = 7_000;
/// Where a client's Tor takes connections.
pub const SOCKS_PORT: u16 = 9_050;
/// Where the server listens.
pub const SERVER_PORT: u16 = 8_080;

/// Name of the file with the graph.
pub const GRAPH: &str = "graph.gml";
/// Folder whose contents Shadow copies to where nodes run.
pub const TEMPLATE: &str = "shadow.data.template";
/// Folder in which nodes run.
pub const DATA: &str = "shadow.data";

/// Seconds of simulated time until circuits can be built. Until then Shadow limits no rate and loses nothing.
pub const BOOTSTRAP: u64 = 240;

/// What a node of the network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Directory authority and relay.
    Authority,
    /// Relay and exit.
    Relay,
    /// Tor and a program that uses it in a way.
    Client(Use),
    /// What clients connect to.
    Server,
}

/// How a client uses Tor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// One download without end.
    Bulk,
    /// Downloads with pauses.
    Web,
    /// A cell and its echo, again and again.
    Quiet,
}

impl Use {
    /// As on the command line of `lab shadow traffic`.
    pub fn name(self) -> &'static str {
        match self {
            Use::Bulk => "bulk",
            Use::Web => "web",
            Use::Quiet => "quiet",
        }
    }
}

/// A host of the simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its name, which is Tor's nickname too.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Where it is.
    pub position: Position,
    /// Mbit/s up and down.
    pub mbit: u64,
    /// Its address.
    pub address: Ipv4Addr,
}

/// All hosts of a seed: an authority, relays, a server, clients, at places as in `lab sim`.
pub fn hosts(scale: &Scale, seed: u64) -> Vec<Host> {
    let relays = Layout::relays(seed, scale.relays, 20.0, 100.0, 0.0);
    let mut rng = Rng::new(mix(seed), 7);
    let mut hosts: Vec<Host> = Vec::new();
    let mut add = |name: String, role, position, mbit| {
        let number = hosts.len() as u32 + 1;
        let [_, a, b, c] = number.to_be_bytes();
        // 100.64/10 is for networks of their own; Shadow keeps lower ones for itself.
        let address = Ipv4Addr::new(100, 64 + a, b, c);
        hosts.push(Host {
            name,
            role,
            position,
            mbit,
            address,
        });
    };
    add(
        "authority".into(),
        Role::Authority,
        Position::draw(&mut rng),
        100,
    );
    for (n, relay) in relays.nodes.iter().enumerate() {
        let mbit = relay.rate * 8 / 1_000_000;
        add(format!("relay{}", n + 1), Role::Relay, relay.position, mbit);
    }
    add(
        "server".into(),
        Role::Server,
        Position::draw(&mut rng),
        1_000,
    );
    for n in 0..scale.clients {
        let using = match n * 100 / scale.clients {
            0..10 => Use::Bulk,
            10..60 => Use::Web,
            _ => Use::Quiet,
        };
        let position = Position::draw(&mut rng);
        add(
            format!("client{}", n + 1),
            Role::Client(using),
            position,
            50,
        );
    }
    hosts
}

/// The graph: a node for each host, and an edge for each pair, with the time that light takes and the loss.
pub fn graph(hosts: &[Host], loss_percent: f64) -> String {
    let mut text = String::from("graph [\n  directed 0\n");
    for (id, host) in hosts.iter().enumerate() {
        let _ = write!(
            text,
            "  node [\n    id {id}\n    label \"{}\"\n    host_bandwidth_up \"{mbit} Mbit\"\n    host_bandwidth_down \"{mbit} Mbit\"\n  ]\n",
            host.name,
            mbit = host.mbit,
        );
    }
    for (a, one) in hosts.iter().enumerate() {
        for (b, other) in hosts.iter().enumerate().skip(a) {
            // A host reaches itself by its loopback, but the graph has to be complete.
            let (delay, loss) = if a == b {
                (1_000, 0.0)
            } else {
                (one.position.delay(other.position), loss_percent / 100.0)
            };
            let _ = write!(
                text,
                "  edge [\n    source {a}\n    target {b}\n    latency \"{delay} us\"\n    packet_loss {loss:?}\n  ]\n"
            );
        }
    }
    text + "]\n"
}

/// `shadow.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// The simulation.
    pub general: General,
    /// Links.
    pub network: Network,
    /// Hosts by their names.
    pub hosts: BTreeMap<String, Entry>,
}

/// The simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct General {
    /// Simulated time.
    pub stop_time: String,
    /// Until then no rate is limited and nothing is lost.
    pub bootstrap_end_time: String,
    /// Of Shadow's random choices.
    pub seed: u32,
    /// Threads; 0 is a thread for each core.
    pub parallelism: u32,
    /// Where nodes run.
    pub data_directory: String,
    /// What is copied there.
    pub template_directory: String,
    /// Whether it is shown how far the simulation is.
    pub progress: bool,
    /// Programs that ask for the time again and again get it from a clock that moves.
    pub model_unblocked_syscall_latency: bool,
}

/// Links.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// The graph.
    pub graph: Graph,
    /// Each pair has an edge of its own, so paths need not be looked for.
    pub use_shortest_path: bool,
}

/// The graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Its format.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its file.
    pub file: GraphFile,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphFile {
    /// Where.
    pub path: String,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its node of the graph.
    pub network_node_id: usize,
    /// Its address.
    pub ip_addr: Ipv4Addr,
    /// What runs on it.
    pub processes: Vec<Process>,
}

/// A program on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// When it starts.
    pub start_time: String,
    /// What becomes of it: all of them run until the end.
    pub expected_final_state: String,
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Simulation<'a> {
    /// How large, how long.
    pub scale: &'a Scale,
    /// All hosts.
    pub hosts: &'a [Host],
    /// Tor.
    pub tor: &'a str,
    /// The laboratory, which makes the traffic.
    pub lab: &'a str,
    /// Of all random choices.
    pub seed: u64,
}

impl Simulation<'_> {
    /// Its `shadow.yaml`.
    pub fn yaml(&self) -> Shadow {
        let server = self.hosts.iter().find(|h| h.role == Role::Server);
        let server = server.map_or(Ipv4Addr::UNSPECIFIED, |h| h.address);
        let entry = |(id, host): (usize, &Host)| {
            let entry = Entry {
                network_node_id: id,
                ip_addr: host.address,
                processes: self.processes(id, host, server),
            };
            (host.name.clone(), entry)
        };
        Shadow {
            general: General {
                stop_time: format!("{} s", BOOTSTRAP + self.scale.seconds),
                bootstrap_end_time: format!("{BOOTSTRAP} s"),
                seed: self.seed as u32,
                parallelism: 0,
                data_directory: DATA.into(),
                template_directory: TEMPLATE.into(),
                progress: true,
                model_unblocked_syscall_latency: true,
            },
            network: Network {
                graph: Graph {
                    kind: "gml".into(),
                    file: GraphFile { path: GRAPH.into() },
                },
                use_shortest_path: false,
            },
            hosts: self.hosts.iter().enumerate().map(entry).collect(),
        }
    }

    fn processes(&self, id: usize, host: &Host, server: Ipv4Addr) -> Vec<Process> {
        let process = |path: &str, args: &[String], seconds: u64| Process {
            path: path.into(),
            args: args.to_vec(),
            start_time: format!("{seconds} s"),
            expected_final_state: "running".into(),
        };
        let words = |text: String| text.split(' ').map(String::from).collect::<Vec<_>>();
        let tor = |start| {
            let args = words("--defaults-torrc torrc-defaults -f torrc".to_string());
            process(self.tor, &args, start)
        };
        match host.role {
            Role::Authority => vec![tor(1)],
            // The first vote is taken at 50 s, the first consensus is there at 60.
            Role::Relay => vec![tor(5)],
            Role::Server => {
                let args = words(format!("shadow traffic serve --port {SERVER_PORT}"));
                vec![process(self.lab, &args, 1)]
            }
            Role::Client(using) => {
                let args = words(format!(
                    "shadow traffic {} --socks 127.0.0.1:{SOCKS_PORT} --server {server}:{SERVER_PORT} --seed {}",
                    using.name(),
                    self.seed * 1_000 + id as u64,
                ));
                // Not all at the same moment.
                let start = BOOTSTRAP + id as u64 % 5;
                vec![tor(70), process(self.lab, &args, start)]
            }
        }
    }
}

/// The torrc of a host; none of the server. `authority` is its line `DirAuthority`.
pub fn torrc(host: &Host, program: Program, authority: &str) -> Option<String> {
    let mut text = format!(
        "TestingTorNetwork 1\n\
         Nickname {name}\n\
         DataDirectory tor\n\
         Log notice stdout\n\
         SafeLogging 0\n\
         NumCPUs 1\n\
         ShutdownWaitLength 0\n\
         DoSCircuitCreationEnabled 0\n\
         DoSConnectionEnabled 0\n\
         LearnCircuitBuildTimeout 0\n\
         CircuitBuildTimeout 60\n\
         {authority}\n",
        name = host.name,
    );
    if matches!(host.role, Role::Authority | Role::Relay) {
        let _ = write!(
            text,
            "Address {address}\n\
             ORPort {address}:{OR_PORT} IPv4Only\n\
             DirPort {address}:{DIR_PORT}\n\
             SocksPort 0\n\
             AssumeReachable 1\n\
             ExitRelay 1\n\
             ExitPolicy accept *:*\n\
             ServerDNSDetectHijacking 0\n\
             ServerDNSTestAddresses\n\
             ServerDNSAllowBrokenConfig 1\n\
             BandwidthRate {mbit} MBits\n\
             BandwidthBurst {mbit} MBits\n\
             ContactInfo none\n",
            address = host.address,
            mbit = host.mbit,
        );
    }
    match host.role {
        Role::Authority => {
            text += "AuthoritativeDirectory 1\n\
                     V3AuthoritativeDirectory 1\n\
                     TestingV3AuthInitialVotingInterval 60\n\
                     TestingV3AuthInitialVoteDelay 5\n\
                     TestingV3AuthInitialDistDelay 5\n\
                     V3AuthVotingInterval 300\n\
                     V3AuthVoteDelay 5\n\
                     V3AuthDistDelay 5\n\
                     TestingDirAuthVoteExit *\n\
                     TestingDirAuthVoteGuard *\n\
                     TestingDirAuthVoteHSDir *\n\
                     TestingMinExitFlagThreshold 0\n\
                     MinMeasuredBWsForAuthToIgnoreAdvertised 0\n\
                     ConsensusParams cc_alg=2\n";
        }
        Role::Relay => {
            if program == Program::Patched {
                let _ = writeln!(text, "ORUDPPort {OR_UDP_PORT}");
            }
        }
        Role::Client(_) => {
            let _ = write!(
                text,
                "SocksPort 127.0.0.1:{SOCKS_PORT}\n\
                 ConfluxEnabled 0\n\
                 ConnectionPadding 0\n\
                 CircuitPadding 0\n\
                 UseEntryGuards 0\n\
                 MaxCircuitDirtiness 1 day\n\
                 ClientDNSRejectInternalAddresses 0\n\
                 ClientRejectInternalAddresses 0\n"
            );
        }
        Role::Server => return None,
    }
    Some(text)
}
