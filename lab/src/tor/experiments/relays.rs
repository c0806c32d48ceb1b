//! What a relay holds when each is in contact with each: sockets, links, memory.

use std::error::Error;

use crate::tor::network::Set;
use crate::tor::server::Request;
use crate::tor::session::{Judgement, Measured, Session, end_all};

/// Relays of the set that are used.
const RELAYS: usize = 6;

/// Circuits over all pairs of relays, each of which carries a little. Means over all relays: `relay_sockets` (everything
/// that is open), `relay_tcp_connections` and `relay_udp_links` (with other relays), `relay_memory_octets`,
/// `relay_cpu_percent`.
///
/// # Errors
/// If circuits or streams fail.
pub fn run(session: &mut Session, set: Set) -> Result<(Measured, Judgement), Box<dyn Error>> {
    let clients = session.net.spec.clients;
    let mut wanted = Vec::new();
    for a in 1..=RELAYS {
        for b in 1..a {
            let third = (1..=RELAYS)
                .find(|c| *c != a && *c != b)
                .expect("there are more");
            wanted.push((
                wanted.len() % clients,
                crate::tor::session::path(set, &[a, b, third]),
            ));
        }
    }
    let circuits = session.circuits(&wanted)?;
    let names: Vec<String> = (1..=RELAYS).map(|number| set.relay(number)).collect();
    session.begin_counting()?;
    let mut flows = Vec::new();
    for circuit in &circuits {
        flows.push(session.receive(circuit, Request::Stamps(100_000))?);
    }
    let before = usage(session, &names)?;
    let span = session.window(session.lengths.settle)?;
    let after = usage(session, &names)?;
    let mut measured = Measured::default();
    let (mut tcp, mut ours) = (0, 0);
    for a in &names {
        for b in names.iter().filter(|b| *b != a) {
            let (sockets, links) = session.net.transports(a, b)?;
            tcp += sockets;
            ours += links;
        }
    }
    let verdict = session.end_counting(&mut measured)?;
    end_all(flows)?;
    session.close(&circuits);
    let count = names.len() as f64;
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / count;
    measured.set(
        "relay_sockets",
        mean(&mut after.iter().map(|usage| usage.sockets as f64)),
    );
    measured.set(
        "relay_memory_octets",
        mean(&mut after.iter().map(|usage| usage.memory as f64)),
    );
    let cpu = mean(
        &mut after
            .iter()
            .zip(&before)
            .map(|(after, before)| after.cpu_s - before.cpu_s),
    );
    measured.set("relay_cpu_percent", cpu / (span.end - span.begin) * 100.0);
    measured.set("relay_tcp_connections", tcp as f64 / count);
    measured.set("relay_udp_links", ours as f64 / count);
    Ok((measured, verdict))
}

fn usage(session: &Session, names: &[String]) -> std::io::Result<Vec<crate::tor::process::Usage>> {
    names.iter().map(|name| session.net.usage(name)).collect()
}
