//! Everything drawn from the seed: configuration, the path each way, and what the relays do with their circuits.

use utcp::tcp::congestion::Algorithm;
use utcp::time::{MILLISECOND, Micros, SECOND, Time};

use super::scripts;
use crate::link::Link;
use crate::net::{Net, seeds};
use crate::rng::Rng;

const ALL: [Algorithm; 3] = [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr];

/// One way of the path: what is common to both is passed in.
fn link(rng: &mut Rng, rate: u64, delay: Micros, start: Time) -> Link {
    let pick = |rng: &mut Rng, degrees: &[f64]| degrees[rng.below(degrees.len() as u64) as usize];
    let queue = ((rate * rng.between(20, 300) / 1_000) as usize).max(20_000);
    let threshold = if rng.chance(0.5) {
        queue / 3
    } else {
        usize::MAX
    };
    let mut link = Link::new()
        .marking_rate(rate, queue, threshold)
        .delay(delay)
        .jitter(rng.below(4 * MILLISECOND))
        .loss(pick(rng, &[0.0, 0.0, 0.001, 0.01, 0.05]))
        .burst_loss(pick(rng, &[0.0, 0.0, 0.01]), 4.0)
        .reorder(pick(rng, &[0.0, 0.0, 0.01, 0.1]), 30 * MILLISECOND)
        .duplicate(pick(rng, &[0.0, 0.0, 0.02]), 50 * MILLISECOND);
    if rng.chance(0.2) {
        let from = start + rng.below(5 * SECOND);
        link = link.blackout(from, from + rng.below(4 * SECOND));
    }
    link
}

#[test]
fn anything_between_two_relays() {
    seeds("anything", 30, |name, seed| {
        let rng = &mut Rng::new(seed, 78);
        let mut net = Net::new(name, seed);
        for index in 0..2 {
            let mut config = net.config(index);
            config.congestion = ALL[rng.below(3) as usize];
            config.coupled = rng.chance(0.5);
            config.coupled_flows = rng.between(1, 4) as u32;
            config.ecn = rng.chance(0.7);
            config.send_buffer = rng.between(8_192, 1 << 20) as usize;
            config.receive_buffer = rng.between(8_192, 1 << 20) as usize;
            config.handshake_timeout = 60 * SECOND;
            net.add_host(config);
        }
        let rate = [250_000, 1_250_000, 12_500_000][rng.below(3) as usize];
        let longest = [2_000, 30_000, 120_000][rng.below(3) as usize];
        let delay = rng.between(100, longest);
        let start = net.now();
        for (from, to) in [(0, 1), (1, 0)] {
            let link = link(rng, rate, delay, start);
            net.link(from, to, link);
        }
        net.establish();
        let circuits = rng.between(1, 12) as u32;
        for number in 1..=circuits {
            let (opener, acceptor) = if rng.chance(0.5) { (0, 1) } else { (1, 0) };
            let ends = if rng.chance(0.8) {
                scripts::orderly(rng, 80_000)
            } else {
                scripts::short(rng)
            };
            net.open(opener, acceptor, number, rng.below(3 * SECOND), ends);
        }
        for _ in 0..rng.below(30) {
            net.pass(rng.between(1, 300 * MILLISECOND));
            let host = rng.below(2) as usize;
            let ids: Vec<_> = net.hosts[host].flows.keys().copied().collect();
            if ids.is_empty() {
                continue;
            }
            let id = ids[rng.below(ids.len() as u64) as usize];
            let endpoint = &mut net.hosts[host].endpoint;
            // The circuit may have ended by now.
            let _ = match rng.below(4) {
                0 => endpoint.set_coupled(id, rng.chance(0.5)),
                1 => endpoint.set_congestion(id, ALL[rng.below(3) as usize]),
                2 => endpoint.set_rate(id, rng.between(20_000, 2_000_000)),
                _ => endpoint.set_rate(id, 0),
            };
            net.serve(host);
        }
        net.complete(600 * SECOND);
        net.assert_clean();
    });
}
