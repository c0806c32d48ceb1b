//! Experiment 1 (Tables 1, 2, 5, 6): eight clients whose circuits have the second and third relay in common.
//!
//! ```text
//! client1, client5 - relay 1 \
//! client2, client6 - relay 2 -- relay 5 == relay 6 -- destination
//! client3, client7 - relay 3 /
//! client4, client8 - relay 4 /
//! ```

use std::error::Error;

use crate::emulate::{LinkSettings, Verdict};
use crate::tor::network::{CLIENTS, Set};
use crate::tor::server::Request;
use crate::tor::session::{Measured, PROBE_EVERY, Session, end_all, path};
use crate::tor::traffic::{probe, receive};

/// How many clients there are.
pub const CLIENT_COUNT: usize = 8;
const GUARDS: usize = 4;
const SECOND: usize = 5;
const THIRD: usize = 6;

/// What the links do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Percent of the packets between the second and the third relay.
    pub shared: f64,
    /// Percent of the packets on all other links of the circuits.
    pub remaining: f64,
    /// Rate of each link in Mbit/s; 0 is no limit.
    pub rate: f64,
}

/// The path of a client's circuits.
pub fn path_of(set: Set, client: usize) -> Vec<String> {
    path(set, &[client % GUARDS + 1, SECOND, THIRD])
}

/// The pair of relays that all circuits have in common: what the data leaves, and what it comes to.
pub fn shared_link(set: Set) -> (String, String) {
    (set.relay(THIRD), set.relay(SECOND))
}

/// Sets the links of the circuits.
///
/// # Errors
/// If the emulator has ended.
pub fn set_loss(session: &mut Session, set: Set, loss: Loss) -> Result<(), Box<dyn Error>> {
    let settings = |percent: f64| LinkSettings {
        loss: Some(percent / 100.0),
        rate_mbit: Some(loss.rate),
        ..LinkSettings::default()
    };
    session.set_links(&[shared_link(set)], &settings(loss.shared))?;
    let mut remaining = Vec::new();
    for guard in 1..=GUARDS {
        remaining.push((CLIENTS.to_string(), set.relay(guard)));
        remaining.push((set.relay(guard), set.relay(SECOND)));
    }
    session.set_links(&remaining, &settings(loss.remaining))?;
    Ok(())
}

/// `network_mbit`: what all downloads brought; `circuit_mbit`: one of them, on average; `jain`: how equal they are.
/// `base_ms`: delay of a quiet circuit beside each download, before the downloads begin; `delay_ms`: while they run;
/// `delay_ratio`. `bulk_delay_ms`: how long the data of the downloads was on the way. `effective_drop_percent` as in the
/// paper. `relay_cpu_percent`, `relay_memory_octets`, `relay_sockets`: of the second relay.
///
/// # Errors
/// If circuits or streams fail.
pub fn run(
    session: &mut Session,
    set: Set,
    loss: Loss,
) -> Result<(Measured, Verdict), Box<dyn Error>> {
    let outcome = measure(session, set, loss);
    let plain = Loss {
        rate: super::RATE_MBIT,
        ..Loss::default()
    };
    set_loss(session, set, plain)?;
    outcome
}

fn measure(
    session: &mut Session,
    set: Set,
    loss: Loss,
) -> Result<(Measured, Verdict), Box<dyn Error>> {
    // Circuits are built before anything is lost, as in the paper.
    let wanted: Vec<(usize, Vec<String>)> = (0..CLIENT_COUNT * 2)
        .map(|n| (n % CLIENT_COUNT, path_of(set, n % CLIENT_COUNT)))
        .collect();
    let circuits = session.circuits(&wanted)?;
    let (quiet_circuits, bulk_circuits) = circuits.split_at(CLIENT_COUNT);
    let (lengths, clock) = (session.lengths, session.clock);
    let mut probes = Vec::new();
    for (client, circuit) in quiet_circuits.iter().enumerate() {
        probes.push(probe(
            &session.net,
            client,
            circuit,
            &session.server,
            PROBE_EVERY,
            clock,
        )?);
    }
    session.sleep(0.5)?;
    let base = session.window(lengths.idle)?;
    let mut bulk = Vec::new();
    for (client, circuit) in bulk_circuits.iter().enumerate() {
        bulk.push(receive(
            &session.net,
            client,
            circuit,
            &session.server,
            Request::Stamps(0),
            clock,
        )?);
    }
    set_loss(session, set, loss)?;
    session.sleep(lengths.settle)?;
    session.begin_counting()?;
    let second = set.relay(SECOND);
    let before = session.net.usage(&second)?;
    let busy = session.window(lengths.measure)?;
    let mut measured = Measured::default();
    let after = session.net.usage(&second)?;
    let verdict = session.end_counting(&mut measured)?;
    session.grace()?;
    let bulk = end_all(bulk)?;
    let quiet = end_all(probes)?.concat();
    session.close(&wanted, &circuits);
    let rates: Vec<f64> = bulk.iter().map(|samples| busy.mbit(samples)).collect();
    measured.set_rates(&rates);
    measured.set_delays("base", &base.delays(&quiet));
    measured.set_delays("delay", &busy.delays(&quiet));
    measured.set_delays("bulk_delay", &busy.delays(&bulk.concat()));
    measured.set_ratio();
    measured.set(
        "relay_cpu_percent",
        (after.cpu_s - before.cpu_s) / (busy.end - busy.begin) * 100.0,
    );
    measured.set("relay_memory_octets", after.memory as f64);
    measured.set("relay_sockets", after.sockets as f64);
    Ok((measured, verdict))
}
