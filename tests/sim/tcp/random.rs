//! Pairs of our TCP with everything drawn from the seed: settings of both ends, the path each way, what they send.

use utcp::error::CloseReason;
use utcp::tcp::Settings;
use utcp::tcp::congestion::Algorithm;
use utcp::time::{MILLISECOND, Micros, SECOND};

use super::ours::{Ours, settings};
use super::{Pair, Side, Tcp};
use crate::link::Link;
use crate::net::seeds;
use crate::rng::Rng;

/// The path of a seed, the same both ways but for the fates of packets.
#[derive(Clone, Copy)]
struct Path {
    delay: Micros,
    jitter: Micros,
    /// Octets a second, and the queue in parts of a second.
    rate: u64,
    queue: u64,
    /// From this part of the queue on packets are marked, if they may be.
    marks: bool,
    loss: f64,
    bursts: f64,
    late: f64,
    twice: f64,
}

impl Path {
    fn draw(rng: &mut Rng) -> Path {
        let share =
            |rng: &mut Rng, degrees: &[f64]| degrees[rng.below(degrees.len() as u64) as usize];
        let longest = [1_000, 20_000, 150_000][rng.below(3) as usize];
        Path {
            delay: rng.between(50, longest),
            jitter: [0, 0, 5_000][rng.below(3) as usize],
            rate: [30_000, 250_000, 1_250_000, 12_500_000][rng.below(4) as usize],
            queue: rng.between(5, 300),
            marks: rng.chance(0.5),
            loss: share(rng, &[0.0, 0.0, 0.001, 0.01, 0.03, 0.1]),
            bursts: share(rng, &[0.0, 0.0, 0.01, 0.05]),
            late: share(rng, &[0.0, 0.0, 0.01, 0.2]),
            twice: share(rng, &[0.0, 0.0, 0.01, 0.1]),
        }
    }

    fn link(&self) -> Link {
        let queue = ((self.rate * self.queue / 1_000) as usize).max(6_000);
        let threshold = if self.marks { queue / 3 } else { usize::MAX };
        let mut link = Link::new().marking_rate(self.rate, queue, threshold);
        link = link.delay(self.delay).jitter(self.jitter);
        link = link.loss(self.loss).burst_loss(self.bursts, 4.0);
        link.reorder(self.late, 40 * MILLISECOND)
            .duplicate(self.twice, 60 * MILLISECOND)
    }
}

fn end(rng: &mut Rng) -> Settings {
    let algorithms = [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr];
    let hint = [0, 0, 2_000, 40_000, 300_000][rng.below(5) as usize];
    Settings {
        mss: rng.between(300, 1_460) as u16,
        send_buffer: rng.between(4_096, 1 << 20) as usize,
        receive_buffer: rng.between(3_000, 1 << 20) as usize,
        congestion: algorithms[rng.below(3) as usize],
        srtt: hint,
        rttvar: hint / 4,
        ecn: rng.chance(0.7),
        ..settings()
    }
}

#[test]
fn anything_between_two_of_ours() {
    seeds("tcp anything", 60, |name, seed| {
        let rng = &mut Rng::new(seed, 77);
        let path = Path::draw(rng);
        let ends = [end(rng), end(rng)];
        // A minute's worth at the rate of the path, at most.
        let most = (path.rate * 20).min(400_000);
        let mut sides = [0, 1].map(|_| Side {
            send: rng.below(most),
            read_after: [0, 0, 0, 3 * SECOND][rng.below(4) as usize],
            ..Side::default()
        });
        let first = rng.below(6) as usize;
        if first < 2 {
            sides[first].after_end = true;
        }
        let (a, b) = (rng.next() as u32, u32::MAX - rng.below(200_000) as u32);
        let tcps: [Box<dyn Tcp>; 2] = [
            Ours::active(0, ends[0], a),
            if rng.chance(0.1) {
                Ours::active(1, ends[1], b)
            } else {
                Ours::passive(1, ends[1], b)
            },
        ];
        let mut pair = Pair::new(name, seed, tcps, sides, || path.link());
        pair.run(2_000 * SECOND, 170 * SECOND);
        assert_eq!(pair.reason(0), Some(CloseReason::Done));
        assert_eq!(pair.reason(1), Some(CloseReason::Done));
        assert_eq!(
            (pair.received(1), pair.received(0)),
            (sides[0].send, sides[1].send)
        );
    });
}
