//! Both sides of every rival as processes over loopback, and the shortest form of `lab peers`.
#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use utcp_lab::peers::clock::MILLI;
use utcp_lab::peers::identity::Identity;
use utcp_lab::peers::points::{KINDS, Variant};
use utcp_lab::peers::process::{BEGUN, LISTENING, Report};
use utcp_lab::peers::traffic::Pattern;
use utcp_lab::peers::transport::{Kind, unavailable};
use utcp_lab::results::Run;

const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// A port that nobody has on loopback, neither of TCP nor of UDP.
fn address() -> SocketAddr {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = format!("utcp-lab-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn side(
    variant: Variant,
    role: &str,
    address: SocketAddr,
    folder: &Folder,
    pattern: &Pattern,
) -> Child {
    Command::new(LAB)
        .args([
            "peer",
            variant.kind.name(),
            "--control",
            variant.control.name(),
            "--role",
            role,
        ])
        .arg("--address")
        .arg(address.to_string())
        .arg("--identity")
        .arg(&folder.0)
        .arg("--pattern")
        .arg(serde_json::to_string(pattern).expect("a pattern"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process")
}

/// The lines of a process that has done what it should.
fn lines(child: Child, first: &str, name: &str) -> Vec<String> {
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{name}: {text}");
    let lines: Vec<String> = text.lines().map(str::to_string).collect();
    assert_eq!(lines.len(), 2, "{name}: {text}");
    assert!(lines[0].starts_with(first), "{name}: {text}");
    lines
}

fn carries(kind: Kind) {
    if let Some(reason) = unavailable(kind) {
        assert!(
            std::env::var_os("CI").is_none(),
            "nothing is left out in CI: {reason}"
        );
        println!("SKIPPED: {}: {reason}", kind.name());
        return;
    }
    let pattern = Pattern {
        bulk: 3,
        quiet: 2,
        requests: 1,
        quiet_every: 20 * MILLI,
        request_every: 200 * MILLI,
        settle: 0,
        idle: 300 * MILLI,
        warm: 200 * MILLI,
        measure: 600 * MILLI,
        drain: 400 * MILLI,
        ..Pattern::default()
    };
    let folder = Folder::new(kind.name());
    Identity::new()
        .expect("a certificate")
        .write(&folder.0)
        .expect("a file");
    for &control in kind.controls() {
        let variant = Variant { kind, control };
        let name = variant.name();
        let address = address();
        let server = side(variant, "server", address, &folder, &pattern);
        // A server of TCP has to be there first.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let client = side(variant, "client", address, &folder, &pattern);
        let client = lines(client, BEGUN, &name);
        let server = lines(server, LISTENING, &name);
        let [client, server]: [Report; 2] =
            [client, server].map(|lines| serde_json::from_str(&lines[1]).expect("a report"));
        let seen = client.seen.expect("the client's");
        assert_eq!(seen.bulk.len(), 3, "{name}");
        assert!(
            seen.bulk.iter().all(|&octets| octets > 0),
            "{name}: {:?}",
            seen.bulk
        );
        assert_eq!(seen.idle.len(), 2 * 15, "{name}");
        assert_eq!(seen.loaded.len(), 2 * 30, "{name}");
        assert_eq!(seen.unanswered, 0, "{name}");
        assert!(!seen.requests.is_empty(), "{name}");
        assert!(
            client.cell_octets > server.cell_octets && server.cell_octets > 0,
            "{name}"
        );
        // Six circuits; a listening socket too.
        let expected = match kind {
            Kind::Tls => [1, 2],
            Kind::TlsPerCircuit => [6, 7],
            _ => [1, 1],
        };
        assert_eq!([client.sockets, server.sockets], expected, "{name}");
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
fn sctp_carries_all_kinds_of_circuits() {
    carries(Kind::Sctp);
}

#[test]
fn utp_carries_all_kinds_of_circuits() {
    carries(Kind::Utp);
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

#[test]
fn a_side_without_the_other_gives_up_and_says_so() {
    let folder = Folder::new("alone");
    Identity::new()
        .expect("a certificate")
        .write(&folder.0)
        .expect("a file");
    let variant = Variant {
        kind: Kind::Tls,
        control: utcp_lab::peers::transport::Control::Cubic,
    };
    let client = side(variant, "client", address(), &folder, &Pattern::default());
    let output = client.wait_with_output().expect("it ends");
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "there is nothing to report");
}

#[test]
fn the_shortest_form_has_figures_of_every_rival() {
    if let Some(reason) = utcp_lab::emulate::unavailable() {
        println!("SKIPPED: {reason}");
        return;
    }
    let folder = Folder::new("smoke");
    let output = Command::new(LAB)
        .args(["peers", "--smoke", "--no-check", "--out"])
        .arg(&folder.0)
        .output()
        .expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let run = Run::read(&folder.0).expect("results");
    let there: Vec<Kind> = KINDS
        .into_iter()
        .filter(|&kind| unavailable(kind).is_none())
        .collect();
    for kind in KINDS {
        let left_out = text.contains(&format!("LEFT OUT: {}:", kind.name()));
        assert_eq!(left_out, !there.contains(&kind), "{text}");
    }
    for variant in Variant::all()
        .into_iter()
        .filter(|variant| there.contains(&variant.kind))
    {
        // An emulator that was late is no fault of the rival's: there is an outcome, which does not count.
        let outcome = run
            .outcomes
            .iter()
            .find(|outcome| outcome.variant == variant.name());
        let outcome = outcome.unwrap_or_else(|| panic!("{} is missing: {text}", variant.name()));
        for figure in [
            "sum_mbit",
            "idle_p50_ms",
            "quiet_p50_ms",
            "quiet_p99_ms",
            "sockets",
            "wire_ratio",
        ] {
            let value = outcome.figures.get(figure).copied().unwrap_or(0.0);
            assert!(
                value > 0.0,
                "{}: {figure}: {:?}",
                variant.name(),
                outcome.figures
            );
        }
    }
    assert!(text.contains("targets: "), "{text}");
}
