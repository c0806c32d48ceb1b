//! Experiment 1 (Tables 1, 2, 5, 6): eight clients whose circuits have the second and third relay in common.
//!
//! ```text
//! client1, client5 - relay 1 \
//! client2, client6 - relay 2 -- relay 5 == relay 6 -- destination
//! client3, client7 - relay 3 /
//! client4, client8 - relay 4 /
//! ```

use std::error::Error;

use crate::emulate::LinkSettings;
use crate::tor::network::{CLIENTS, Set};
use crate::tor::session::{Judgement, Measured, Session, end_all, path};

/// Clients with a download each, and a quiet circuit beside it.
pub const CLIENT_COUNT: usize = 8;
/// Clients that have nothing but a quiet circuit: their own links are idle, and they share the relays with all others.
pub const QUIET_COUNT: usize = 4;
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
/// `delay_ratio`. `quiet_base_ms`, `quiet_ms`, `quiet_ratio`: the same of clients that download nothing themselves.
/// `bulk_delay_ms`: how long the data of the downloads was on the way. `effective_drop_percent` as in the
/// paper. `relay_cpu_percent`, `relay_memory_octets`, `relay_sockets`: of the second relay.
///
/// # Errors
/// If circuits or streams fail.
pub fn run(
    session: &mut Session,
    set: Set,
    loss: Loss,
) -> Result<(Measured, Judgement), Box<dyn Error>> {
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
) -> Result<(Measured, Judgement), Box<dyn Error>> {
    // Circuits are built before anything is lost, as in the paper.
    let clients = (0..CLIENT_COUNT + QUIET_COUNT).chain(0..CLIENT_COUNT);
    let wanted: Vec<(usize, Vec<String>)> = clients.map(|n| (n, path_of(set, n))).collect();
    let circuits = session.circuits(&wanted)?;
    let (quiet, bulk) = circuits.split_at(CLIENT_COUNT + QUIET_COUNT);
    let lengths = session.lengths;
    let probes = session.probes(quiet)?;
    session.sleep(0.5)?;
    let base = session.window(lengths.idle)?;
    let bulk = session.bulk(bulk)?;
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
    let mut probes = end_all(probes)?;
    let quiet = probes.split_off(CLIENT_COUNT).concat();
    let beside = probes.concat();
    session.close(&circuits);
    let rates: Vec<f64> = bulk.iter().map(|samples| busy.mbit(samples)).collect();
    measured.set_rates(&rates);
    measured.set_delays("base", &base.delays(&beside));
    measured.set_delays("delay", &busy.delays(&beside));
    measured.set_delays("quiet_base", &base.delays(&quiet));
    measured.set_delays("quiet", &busy.delays(&quiet));
    if let (Some(quiet), Some(base)) = (
        measured.figures.get("quiet_ms"),
        measured.figures.get("quiet_base_ms"),
    ) {
        let ratio = quiet / base;
        measured.set("quiet_ratio", ratio);
    }
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
