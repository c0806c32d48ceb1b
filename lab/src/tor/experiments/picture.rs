//! Figure 2: two circuits over the same relays, one of which sends evenly while the other sends three bursts, and packets
//! are dropped.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::emulate::LinkSettings;
use crate::emulate::record::Wanted;
use crate::tor::network::Set;
use crate::tor::server::Request;
use crate::tor::session::{Circuit, Judgement, Measured, Session, Window, path};
use crate::tor::traffic::Sample;

const PATH: [usize; 3] = [1, 5, 6];
/// Octets of a burst, as in the paper.
pub const BURST: u64 = 200_000;
const BURSTS: u32 = 3;
/// Microseconds between two cells of the circuit that sends evenly.
const PAUSE_US: u64 = 50_000;
/// The link between the second and the third relay: slow enough for a burst to be seen.
pub const RATE_MBIT: f64 = 4.0;
const QUEUE_OCTETS: u64 = 25_000;
/// The part of the packets that it loses.
pub const LOSS: f64 = 0.005;

/// Cumulated octets, by when they were written by the server and by when they arrived.
fn edges(samples: &[Sample], begin: f64) -> [Vec<(f64, f64)>; 2] {
    let mut sum = 0.0;
    let mut edges = [Vec::new(), Vec::new()];
    for sample in samples {
        sum += sample.octets as f64;
        edges[0].push((sample.at - sample.delay_ms / 1e3 - begin, sum));
        edges[1].push((sample.at - begin, sum));
    }
    edges
}

/// When packets from one host to another were dropped, in seconds since 1970, and which.
fn dropped(trace: &Path, from: &str, to: &str) -> io::Result<Vec<f64>> {
    let text = fs::read_to_string(trace)?;
    let times = text.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split(',').collect();
        let matches = columns.get(2) == Some(&from) && columns.get(3) == Some(&to);
        let is_dropped = matches!(columns.get(14), Some(&("lost" | "queue" | "access")));
        (matches && is_dropped)
            .then(|| columns[0].parse().ok())
            .flatten()
    });
    Ok(times.collect())
}

/// Series: `steady_sent_octets` and `steady_received_octets`, cumulated octets of the even circuit by when the server
/// wrote them and by when the client had them; `burst_sent_octets` and `burst_received_octets` of the other;
/// `dropped_packets` (events) on the way from the third relay to the second. Figures: `steady_delay_ms` over everything and
/// `steady_burst_delay_ms` within two seconds of a burst, both of data on its way from the server; `burst_ms`, how long a
/// burst took.
///
/// # Errors
/// If circuits or streams fail.
pub fn run(session: &mut Session, set: Set) -> Result<(Measured, Judgement), Box<dyn Error>> {
    let link = [(set.relay(PATH[1]), set.relay(PATH[2]))];
    let wanted = [(0, path(set, &PATH)), (1, path(set, &PATH))];
    let circuits = session.circuits(&wanted)?;
    let before = session.net.emulator.plan().clone();
    let slow = LinkSettings {
        rate_mbit: Some(RATE_MBIT),
        queue_bytes: Some(QUEUE_OCTETS),
        loss: Some(LOSS),
        ..LinkSettings::default()
    };
    session.set_links(&link, &slow)?;
    let trace = std::env::temp_dir().join(format!("utcp-lab-trace-{}.csv", std::process::id()));
    let wanted_trace = Wanted {
        trace: Some(trace.clone()),
        captures: None,
    };
    session.net.emulator.record(&wanted_trace)?;
    let outcome = measure(session, &circuits);
    session.net.emulator.end_record()?;
    let names = session.net.emulator.names();
    let index = |name: &str| names.iter().position(|other| other == name).unwrap_or(0);
    let usual = before.settings[index(&link[0].0) * names.len() + index(&link[0].1)].clone();
    let usual = LinkSettings {
        loss: Some(usual.loss.unwrap_or(0.0)),
        ..usual
    };
    session.set_links(&link, &usual)?;
    session.close(&circuits);
    let lost = dropped(&trace, &link[0].1, &link[0].0);
    fs::remove_file(&trace)?;
    let (mut measured, verdict, begin) = outcome?;
    let drops = lost?
        .into_iter()
        .map(|at| (at - begin, 1.0))
        .filter(|(at, _)| *at >= 0.0)
        .collect();
    measured.add_series("dropped_packets", drops, true);
    Ok((measured, verdict))
}

/// Also gives the beginning, in seconds since 1970.
fn measure(
    session: &mut Session,
    circuits: &[Circuit],
) -> Result<(Measured, Judgement, f64), Box<dyn Error>> {
    let (lengths, clock) = (session.lengths, session.clock);
    session.begin_counting()?;
    let steady = session.receive(&circuits[0], Request::Stamps(PAUSE_US))?;
    let burst = session.receive(&circuits[1], Request::Bursts(BURST))?;
    let begin = clock.seconds();
    let begin_wall = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let part = (lengths.idle + lengths.settle + lengths.measure) / f64::from(BURSTS + 1);
    let mut bursts = Vec::new();
    for _ in 0..BURSTS {
        session.sleep(part)?;
        bursts.push(clock.seconds());
        burst.burst()?;
    }
    session.sleep(part)?;
    session.grace()?;
    let end = clock.seconds();
    let mut measured = Measured::default();
    let verdict = session.end_counting(&mut measured)?;
    let (steady, burst) = (steady.end()?, burst.end()?);
    measured.set_delays("steady_delay", &Window { begin, end }.delays(&steady));
    let near: Vec<f64> = bursts
        .iter()
        .flat_map(|at| {
            Window {
                begin: *at,
                end: at + 2.0,
            }
            .delays(&steady)
        })
        .collect();
    measured.set_delays("steady_burst_delay", &near);
    let took = bursts.iter().enumerate().filter_map(|(number, at)| {
        let until = bursts.get(number + 1).copied().unwrap_or(end);
        let last = burst
            .iter()
            .rev()
            .find(|sample| sample.at >= *at && sample.at < until)?;
        Some((last.at - at) * 1e3)
    });
    measured.set_delays("burst", &took.collect::<Vec<f64>>());
    let [sent, received] = edges(&steady, begin);
    measured.add_series("steady_sent_octets", sent, false);
    measured.add_series("steady_received_octets", received, false);
    let [sent, received] = edges(&burst, begin);
    measured.add_series("burst_sent_octets", sent, false);
    measured.add_series("burst_received_octets", received, false);
    Ok((measured, verdict, begin_wall))
}
