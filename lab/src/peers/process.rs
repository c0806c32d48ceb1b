//! One side as a process: a rival, its part of the traffic, and what the process took.

use std::fs;
use std::io::Write;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use super::clock::{self, MILLI, Micros, SECOND};
use super::traffic::{Client, Part, Pattern, Seen, Server};
use super::transport::{Failure, Transport};

/// A connection that is not there after so long will not come.
const PATIENCE: Micros = 20 * SECOND;

/// A process looks around at least so often.
const LOOK: Micros = 10 * MILLI;

/// What a process tells at its end, as a line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Octets of cells that it has received.
    pub cell_octets: u64,
    /// Its processor time while everything counted.
    pub processor_s: f64,
    /// Its largest resident set.
    pub memory_octets: u64,
    /// Sockets that it has open at the end.
    pub sockets: u64,
    /// Of the client.
    pub seen: Option<Seen>,
}

/// What a process tells when it begins: the client's time is the run's.
pub const BEGUN: &str = "begun ";
/// What the server tells when it listens.
pub const LISTENING: &str = "listening";

fn processor_time() -> f64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return 0.0;
    };
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// `VmHWM` of `/proc/self/status`.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}

fn sockets() -> u64 {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return 0;
    };
    let targets = entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count() as u64
}

/// How long the server stays when the client should be gone.
const LINGER: Micros = 200 * MILLI;

/// A process at work.
struct Course<'a> {
    pattern: &'a Pattern,
    started: Micros,
    begun: Option<Micros>,
    linger: Micros,
    /// Processor time at the two ends of what counts.
    spent: [Option<f64>; 2],
}

impl<'a> Course<'a> {
    fn new(pattern: &'a Pattern, linger: Micros) -> Course<'a> {
        Course {
            pattern,
            started: clock::now(),
            begun: None,
            linger,
            spent: [None; 2],
        }
    }

    /// Until when nothing has to be looked at; `None`: it is over.
    fn look(&mut self, now: Micros) -> Result<Option<Micros>, Failure> {
        let mut until = now + LOOK;
        let Some(begun) = self.begun else {
            if now > self.started + PATIENCE {
                return Err("no connection".into());
            }
            return Ok(Some(until));
        };
        let (from, to) = self.pattern.counts(begun);
        for (spent, edge) in self.spent.iter_mut().zip([from, to]) {
            if now >= edge {
                spent.get_or_insert_with(processor_time);
            } else {
                until = until.min(edge);
            }
        }
        let over = now >= begun + self.pattern.length() + self.linger;
        Ok((!over).then_some(until))
    }

    /// Whether the other side may be gone.
    fn is_late(&self) -> bool {
        self.begun
            .is_some_and(|begun| clock::now() + LOOK >= begun + self.pattern.length())
    }

    fn run(
        &mut self,
        part: &mut dyn Part,
        transport: &mut dyn Transport,
        told: &mut dyn FnMut(Micros),
    ) -> Result<(), Failure> {
        loop {
            let now = clock::now();
            let due = part.act(now, transport)?;
            if self.begun.is_none() {
                self.begun = part.begun();
                self.begun.into_iter().for_each(&mut *told);
            }
            let Some(until) = self.look(now)? else {
                return Ok(());
            };
            transport.turn(due.min(until))?;
        }
    }

    fn report(&self, octets: u64) -> Report {
        let [from, to] = self.spent.map(|spent| spent.unwrap_or(0.0));
        Report {
            cell_octets: octets,
            processor_s: to - from,
            memory_octets: memory(),
            sockets: sockets(),
            seen: None,
        }
    }
}

/// Runs the client's side to its end; `told` hears when the run begins.
///
/// # Errors
/// What broke the connection.
pub fn client(
    pattern: &Pattern,
    transport: &mut dyn Transport,
    told: &mut dyn FnMut(Micros),
) -> Result<Report, Failure> {
    let mut client = Client::new(pattern.clone());
    let mut course = Course::new(pattern, 0);
    course.run(&mut client, transport, told)?;
    let report = course.report(client.octets());
    Ok(Report {
        seen: Some(client.finish(clock::now())),
        ..report
    })
}

/// Runs the server's side to its end.
///
/// # Errors
/// What broke the connection before the client could be gone.
pub fn server(pattern: &Pattern, transport: &mut dyn Transport) -> Result<Report, Failure> {
    let mut server = Server::default();
    let mut course = Course::new(pattern, LINGER);
    match course.run(&mut server, transport, &mut |_| {}) {
        Err(error) if !course.is_late() => Err(error),
        _ => Ok(course.report(server.octets())),
    }
}

/// A line for whoever started this.
///
/// # Errors
/// If nobody listens any more.
pub fn tell(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
    use std::thread;

    use super::*;
    use crate::peers::identity::Identity;
    use crate::peers::transport::{Control, Kind, Side, open};

    /// A port that nobody has on loopback, neither of TCP nor of UDP.
    fn address() -> SocketAddr {
        loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            if UdpSocket::bind(address).is_ok() {
                return address;
            }
        }
    }

    fn run(kind: Kind, control: Control, pattern: &Pattern) -> [Report; 2] {
        let address = address();
        let identity = Identity::new().unwrap();
        let server = {
            let (identity, pattern) = (identity.clone(), pattern.clone());
            thread::spawn(move || {
                let side = Side::Server(address);
                let mut transport =
                    open(kind, control, &side, &identity).map_err(|e| e.to_string())?;
                server(&pattern, &mut *transport).map_err(|e| e.to_string())
            })
        };
        // The server of TCP has to be there first.
        thread::sleep(std::time::Duration::from_millis(100));
        let mut transport = open(kind, control, &Side::Client(address), &identity).unwrap();
        let report = client(pattern, &mut *transport, &mut |_| {}).unwrap();
        [report, server.join().unwrap().unwrap()]
    }

    fn carries(kind: Kind) {
        let pattern = Pattern {
            bulk: 3,
            quiet: 2,
            requests: 1,
            quiet_every: 20 * MILLI,
            request_every: 200 * MILLI,
            settle: 0,
            idle: 200 * MILLI,
            warm: 200 * MILLI,
            measure: 600 * MILLI,
            drain: 300 * MILLI,
            ..Pattern::default()
        };
        for &control in kind.controls() {
            let [client, server] = run(kind, control, &pattern);
            let seen = client.seen.unwrap();
            let name = format!("{} {}", kind.name(), control.name());
            assert_eq!(seen.bulk.len(), 3, "{name}");
            assert!(
                seen.bulk.iter().all(|&octets| octets > 0),
                "{name}: {:?}",
                seen.bulk
            );
            assert_eq!(seen.idle.len(), 2 * 10, "{name}");
            assert_eq!(seen.loaded.len(), 2 * 30, "{name}");
            assert_eq!(seen.unanswered, 0, "{name}");
            assert!(!seen.requests.is_empty(), "{name}");
            assert!(
                client.cell_octets > server.cell_octets && server.cell_octets > 0,
                "{name}"
            );
            // Whatever other tests have open is counted too.
            assert!(client.sockets > 0, "{name}");
        }
    }

    #[test]
    fn tls_carries_all_kinds_of_circuits() {
        carries(Kind::Tls);
    }

    #[test]
    fn tls_per_circuit_carries_all_kinds_of_circuits() {
        carries(Kind::TlsPerCircuit);
    }

    #[test]
    fn quic_streams_carry_all_kinds_of_circuits() {
        carries(Kind::QuicStreams);
    }

    #[test]
    fn quic_datagrams_carry_all_kinds_of_circuits() {
        carries(Kind::QuicDatagrams);
    }

    #[test]
    fn udp_or_carries_all_kinds_of_circuits() {
        carries(Kind::UdpOr);
    }

    #[test]
    fn utcp_carries_all_kinds_of_circuits() {
        carries(Kind::Utcp);
        carries(Kind::UtcpCoupled);
    }
}
