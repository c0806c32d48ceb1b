//! §6.1: the latency of circuits by their volume, beside bulk downloads over the same relays.

use std::collections::BTreeMap;
use std::error::Error;

use super::Part;
use super::shared::path_of;
use crate::tor::network::Set;
use crate::tor::server::Request;
use crate::tor::session::{Judgement, Measured, Session, end_all};

/// Classes, in cells a second.
pub const CLASSES: [u64; 4] = [2, 10, 50, 200];
const BULK: usize = 4;

/// For each `cells_per_s`: `base_ms`, the time of data on its way from the server to the client before there are bulk
/// downloads; `delay_ms`, the same beside four of them; `delay_ratio`. And, of everything, `network_mbit` of the bulk
/// downloads, and `bulk_delay_ms`.
///
/// # Errors
/// If circuits or streams fail.
pub fn run(session: &mut Session, set: Set) -> Result<(Vec<Part>, Judgement), Box<dyn Error>> {
    let count = CLASSES.len() + BULK;
    let wanted: Vec<(usize, Vec<String>)> = (0..count).map(|n| (n, path_of(set, n))).collect();
    let circuits = session.circuits(&wanted)?;
    let (quiet, bulk) = circuits.split_at(CLASSES.len());
    let lengths = session.lengths;
    let mut paced = Vec::new();
    for (circuit, cells) in quiet.iter().zip(CLASSES) {
        paced.push(session.receive(circuit, Request::Stamps(1_000_000 / cells))?);
    }
    session.sleep(0.5)?;
    let base = session.window(lengths.idle)?;
    let bulk = session.bulk(bulk)?;
    session.sleep(lengths.settle)?;
    session.begin_counting()?;
    let busy = session.window(lengths.measure)?;
    let mut common = Measured::default();
    let verdict = session.end_counting(&mut common)?;
    let bulk = end_all(bulk)?;
    let paced = end_all(paced)?;
    session.close(&circuits);
    common.set_rates(
        &bulk
            .iter()
            .map(|samples| busy.mbit(samples))
            .collect::<Vec<f64>>(),
    );
    common.set_delays("bulk_delay", &busy.delays(&bulk.concat()));
    let parts = CLASSES.into_iter().zip(&paced).map(|(cells, samples)| {
        let mut measured = common.clone();
        measured.set_delays("base", &base.delays(samples));
        measured.set_delays("delay", &busy.delays(samples));
        measured.set_ratio();
        let at = BTreeMap::from([("cells_per_s".to_string(), cells as f64)]);
        Part { at, measured }
    });
    Ok((parts.collect(), verdict))
}
