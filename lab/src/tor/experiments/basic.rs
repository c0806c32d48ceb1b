//! Experiment 3 (Table 4): a quiet circuit and a bulk circuit of two clients over the same three relays.

use std::error::Error;

use crate::emulate::LinkSettings;
use crate::tor::network::{CLIENTS, Set};
use crate::tor::session::{Judgement, Measured, Session, end_all, path};

/// Which relays.
const PATH: [usize; 3] = [1, 5, 6];

/// `base_ms`: delay of the quiet circuit without other traffic. `delay_ms`: the same beside the bulk download. `delay_ratio`:
/// one over the other. `bulk_mbit`: what the download brought. `bulk_delay_ms`: how long its own data was on the way.
///
/// # Errors
/// If circuits or streams fail.
pub fn run(
    session: &mut Session,
    set: Set,
    rate: f64,
) -> Result<(Measured, Judgement), Box<dyn Error>> {
    let [first, second, third] = PATH.map(|number| set.relay(number));
    let links = [
        (CLIENTS.to_string(), first.clone()),
        (first, second.clone()),
        (second, third),
    ];
    let limited = |rate: f64| LinkSettings {
        rate_mbit: Some(rate),
        ..LinkSettings::default()
    };
    session.set_links(&links, &limited(rate))?;
    let outcome = measure(session, set);
    session.set_links(&links, &limited(super::RATE_MBIT))?;
    outcome
}

fn measure(session: &mut Session, set: Set) -> Result<(Measured, Judgement), Box<dyn Error>> {
    let wanted = [(0, path(set, &PATH)), (1, path(set, &PATH))];
    let circuits = session.circuits(&wanted)?;
    let (quiet, bulk) = circuits.split_at(1);
    session.begin_counting()?;
    let lengths = session.lengths;
    let quiet = session.probes(quiet)?;
    // The first probe waits for the stream.
    session.sleep(0.5)?;
    let base = session.window(lengths.idle)?;
    session.sleep(0.3)?;
    let bulk = session.bulk(bulk)?;
    session.sleep(lengths.settle)?;
    let busy = session.window(lengths.measure)?;
    session.grace()?;
    let mut measured = Measured::default();
    let verdict = session.end_counting(&mut measured)?;
    let bulk = end_all(bulk)?.concat();
    let quiet = end_all(quiet)?.concat();
    session.close(&circuits);
    measured.set_delays("base", &base.delays(&quiet));
    measured.set_delays("delay", &busy.delays(&quiet));
    measured.set_delays("bulk_delay", &busy.delays(&bulk));
    measured.set("bulk_mbit", busy.mbit(&bulk));
    measured.set_ratio();
    Ok((measured, verdict))
}
