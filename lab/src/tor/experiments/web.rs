//! Web-like clients beside bulk clients: how long objects take that people wait for.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::Part;
use super::shared::path_of;
use crate::rng::Rng;
use crate::tor::network::Set;
use crate::tor::session::{Circuit, Judgement, Measured, Session, end_all};
use crate::tor::traffic::{SIZES, Visit, choose, visit};

/// Web-like clients, and as many with a bulk download each.
const CLIENTS: usize = 4;
/// Mean time between a download and the next, in seconds.
const THINK_S: f64 = 1.0;
/// How many times longer than others this measures: visits are few.
pub const LONGER: f64 = 1.5;

/// For each `size_octets`: `first_ms` and `last_ms`, time to first and last octet; `visits`; and, of everything,
/// `network_mbit` of the bulk downloads.
///
/// # Errors
/// If circuits or streams fail.
pub fn run(
    session: &mut Session,
    set: Set,
    seed: u64,
) -> Result<(Vec<Part>, Judgement), Box<dyn Error>> {
    let wanted: Vec<(usize, Vec<String>)> =
        (0..2 * CLIENTS).map(|n| (n, path_of(set, n))).collect();
    let circuits = session.circuits(&wanted)?;
    let (lengths, clock) = (session.lengths, session.clock);
    let (browsers, bulk) = circuits.split_at(CLIENTS);
    let bulk = session.bulk(bulk)?;
    session.sleep(lengths.settle)?;
    session.begin_counting()?;
    let begin = clock.seconds();
    let ends = AtomicBool::new(false);
    let stop = session.ends.clone();
    let (net, server) = (&session.net, &session.server);
    let visits = thread::scope(|scope| {
        let browse = |circuit: &Circuit| {
            let Circuit { client, id } = circuit;
            let mut rng = Rng::new(seed, *client as u64);
            let mut visits = Vec::new();
            loop {
                let (size, think) = choose(&mut rng, THINK_S);
                let until = clock.seconds() + think;
                while clock.seconds() < until && !ends.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_secs_f64(
                        (until - clock.seconds()).clamp(0.0, 0.05),
                    ));
                }
                if ends.load(Ordering::Relaxed) {
                    return Ok::<Vec<Visit>, io::Error>(visits);
                }
                visits.push(visit(net, *client, id, server, size, clock)?);
            }
        };
        let browsing: Vec<_> = browsers
            .iter()
            .map(|circuit| scope.spawn(move || browse(circuit)))
            .collect();
        while clock.seconds() - begin < lengths.measure * LONGER && !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(100));
        }
        ends.store(true, Ordering::Relaxed);
        let all: Result<Vec<Vec<Visit>>, io::Error> = browsing
            .into_iter()
            .map(|one| one.join().expect("it does not panic"))
            .collect();
        all
    })?
    .concat();
    let busy = crate::tor::session::Window {
        begin,
        end: clock.seconds(),
    };
    let mut common = Measured::default();
    let verdict = session.end_counting(&mut common)?;
    let rates: Vec<f64> = end_all(bulk)?
        .iter()
        .map(|samples| busy.mbit(samples))
        .collect();
    session.close(&circuits);
    common.set_rates(&rates);
    let parts = SIZES.into_iter().map(|(size, _)| {
        let of: Vec<&Visit> = visits.iter().filter(|visit| visit.octets == size).collect();
        let mut measured = common.clone();
        measured.set("visits", of.len() as f64);
        measured.set_delays(
            "first",
            &of.iter().map(|visit| visit.first_ms).collect::<Vec<f64>>(),
        );
        measured.set_delays(
            "last",
            &of.iter().map(|visit| visit.last_ms).collect::<Vec<f64>>(),
        );
        let at = BTreeMap::from([("size_octets".to_string(), size as f64)]);
        Part { at, measured }
    });
    Ok((parts.collect(), verdict))
}
