//! Figure 1: what waits in the output of a relay over time, unacknowledged and unsent, and when it takes no more.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::shared::{Loss, path_of, set_loss, shared_link};
use crate::tor::network::{Net, Set};
use crate::tor::programs::Release;
use crate::tor::session::{Circuit, Judgement, Measured, Session, end_all};
use crate::tor::sockets::connections;
use crate::tor::torrc::OR_PORT;

/// Downloads at once.
const DOWNLOADS: usize = 4;
const EVERY: Duration = Duration::from_millis(100);
/// So that congestion control has something to do.
pub const LOSS: Loss = Loss {
    shared: 0.1,
    remaining: 0.0,
    rate: super::RATE_MBIT,
};

/// The output of one relay towards another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Output {
    /// Written and not acknowledged.
    queued: u64,
    /// Never sent.
    unsent: u64,
    /// Streams that take no more: the connection, or circuits.
    unwritable: u64,
}

/// What `GETINFO utcp/circuits` says of streams to a peer, whose lines begin with this.
fn parse(text: &str, peer: &str) -> Output {
    let mut output = Output::default();
    for line in text.lines().filter(|line| line.starts_with(peer)) {
        let value = |name: &str| {
            let word = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix(name));
            word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
        };
        output.queued += value("queued=");
        output.unsent += value("unsent=");
        output.unwritable += u64::from(line.contains(" FULL"));
    }
    output
}

fn look(net: &Net, from: &str, to: &str) -> io::Result<Output> {
    let peer = net.node(to).address;
    // That of 0.2.0.35 writes until the kernel takes no more.
    let has_scheduler = net.spec.release == Release::Modern;
    let mut output = if net.node(from).is_patched_relay() {
        parse(
            &net.control(from).info("utcp/circuits")?,
            &format!("{peer}:"),
        )
    } else {
        Output::default()
    };
    for connection in connections(net.emulator.host(&net.node(from).host)?, peer, OR_PORT)? {
        output.queued += connection.queued;
        output.unsent += connection.unsent;
        let held = has_scheduler && connection.is_full_for_scheduler();
        output.unwritable += u64::from(held || !connection.is_writable);
    }
    Ok(output)
}

/// Of the third relay's connection with the second, over which the data goes, all circuits together. Series:
/// `output_queue_octets`, `unacknowledged_octets`, `unsent_octets`, and `unwritable`, the number of streams that take no
/// more (of vanilla Tor: whether the connection does; the kernel always would with 0.4.9, whose scheduler stops at twice
/// the congestion window, and that counts). Figures: `output_queue_mean_octets`, `unsent_mean_octets`,
/// `unwritable_percent` (of the time, at least one), `network_mbit`.
///
/// # Errors
/// If circuits or streams fail.
pub fn run(session: &mut Session, set: Set) -> Result<(Measured, Judgement), Box<dyn Error>> {
    let wanted: Vec<(usize, Vec<String>)> = (0..DOWNLOADS).map(|n| (n, path_of(set, n))).collect();
    let circuits = session.circuits(&wanted)?;
    set_loss(session, set, LOSS)?;
    let outcome = measure(session, set, &circuits);
    let plain = Loss {
        rate: super::RATE_MBIT,
        ..Loss::default()
    };
    set_loss(session, set, plain)?;
    session.close(&circuits);
    outcome
}

fn measure(
    session: &mut Session,
    set: Set,
    circuits: &[Circuit],
) -> Result<(Measured, Judgement), Box<dyn Error>> {
    let (lengths, clock) = (session.lengths, session.clock);
    let (from, to) = shared_link(set);
    session.begin_counting()?;
    let begin = clock.seconds();
    let downloads = session.bulk(circuits)?;
    let mut outputs = Vec::new();
    while clock.seconds() - begin < lengths.settle + lengths.measure {
        let next = clock.seconds() + EVERY.as_secs_f64();
        outputs.push((clock.seconds() - begin, look(&session.net, &from, &to)?));
        session.sleep((next - clock.seconds()).max(0.0))?;
    }
    let end = clock.seconds();
    let mut measured = Measured::default();
    let verdict = session.end_counting(&mut measured)?;
    let downloads = end_all(downloads)?;
    let whole = super::super::session::Window { begin, end };
    let rates: Vec<f64> = downloads
        .iter()
        .map(|samples| whole.mbit(samples))
        .collect();
    measured.set_rates(&rates);
    let mean = |value: fn(&Output) -> u64| {
        outputs.iter().map(|(_, o)| value(o) as f64).sum::<f64>() / outputs.len() as f64
    };
    measured.set("output_queue_mean_octets", mean(|o| o.queued));
    measured.set("unsent_mean_octets", mean(|o| o.unsent));
    measured.set(
        "unwritable_percent",
        mean(|o| u64::from(o.unwritable > 0)) * 100.0,
    );
    let series = |value: fn(&Output) -> u64| {
        outputs
            .iter()
            .map(|(at, o)| (*at, value(o) as f64))
            .collect()
    };
    measured.add_series("output_queue_octets", series(|o| o.queued), false);
    measured.add_series(
        "unacknowledged_octets",
        series(|o| o.queued.saturating_sub(o.unsent)),
        false,
    );
    measured.add_series("unsent_octets", series(|o| o.unsent), false);
    measured.add_series("unwritable", series(|o| o.unwritable), false);
    Ok((measured, verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_to_one_peer_are_added_up() {
        let text = "10.77.0.9:5001 3 state=4 cwnd=14000 flight=9000 queued=20000 unsent=11000 window=5 unread=0 FULL\n\
                    10.77.0.9:5001 5 state=4 cwnd=14000 flight=500 queued=500 unsent=0 window=5 unread=0\n\
                    10.77.0.90:5001 7 queued=99 unsent=99";
        let output = parse(text, "10.77.0.9:");
        assert_eq!(
            (output.queued, output.unsent, output.unwritable),
            (20500, 11000, 1)
        );
    }
}
