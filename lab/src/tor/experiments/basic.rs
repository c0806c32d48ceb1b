//! Experiment 3 (Table 4): a quiet circuit and a bulk circuit of two clients over the same three relays.

use std::error::Error;

use crate::emulate::Verdict;
use crate::tor::network::Set;
use crate::tor::server::Request;
use crate::tor::session::{Measured, PROBE_EVERY, Session, path};
use crate::tor::traffic::{probe, receive};

/// Which relays.
const PATH: [usize; 3] = [1, 5, 6];

/// `base_ms`: delay of the quiet circuit without other traffic. `delay_ms`: the same beside the bulk download. `delay_ratio`:
/// one over the other. `bulk_mbit`: what the download brought. `bulk_delay_ms`: how long its own data was on the way.
///
/// # Errors
/// If circuits or streams fail.
pub fn run(session: &mut Session, set: Set) -> Result<(Measured, Verdict), Box<dyn Error>> {
    let wanted = [(0, path(set, &PATH)), (1, path(set, &PATH))];
    let circuits = session.circuits(&wanted)?;
    session.begin_counting()?;
    let lengths = session.lengths;
    let quiet = probe(
        &session.net,
        0,
        &circuits[0],
        &session.server,
        PROBE_EVERY,
        session.clock,
    )?;
    // The first probe waits for the stream.
    session.sleep(0.5)?;
    let base = session.window(lengths.idle)?;
    session.sleep(0.3)?;
    let bulk = receive(
        &session.net,
        1,
        &circuits[1],
        &session.server,
        Request::Stamps(0),
        session.clock,
    )?;
    session.sleep(lengths.settle)?;
    let busy = session.window(lengths.measure)?;
    session.grace()?;
    let mut measured = Measured::default();
    let verdict = session.end_counting(&mut measured)?;
    let bulk = bulk.end()?;
    let quiet = quiet.end()?;
    session.close(&wanted, &circuits);
    measured.set_delays("base", &base.delays(&quiet));
    measured.set_delays("delay", &busy.delays(&quiet));
    measured.set_delays("bulk_delay", &busy.delays(&bulk));
    measured.set("bulk_mbit", busy.mbit(&bulk));
    measured.set_ratio();
    Ok((measured, verdict))
}
