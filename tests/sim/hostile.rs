//! Those who send what they should not.

use std::collections::VecDeque;
use std::net::SocketAddr;

use utcp::time::{Micros, Time};

use super::link::Packet;
use super::rng::Rng;

/// What a hostile node sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Random octets of random length.
    Garbage,
    /// DTLS record headers with random contents.
    Records,
    /// Alerts in the clear.
    Alerts,
    /// Datagrams of the real peers, again.
    Replay,
    /// The same, cut short or damaged.
    Damage,
}

/// Sends to a host, under the real peer's address or its own.
pub struct Hostile {
    habit: Habit,
    target: usize,
    from: SocketAddr,
    every: Micros,
    pub next: Time,
    rng: Rng,
    /// Octets sent so far.
    pub sent: u64,
}

impl Hostile {
    pub fn new(
        habit: Habit,
        target: usize,
        from: SocketAddr,
        every: Micros,
        start: Time,
        seed: u64,
    ) -> Hostile {
        Hostile {
            habit,
            target,
            from,
            every,
            next: start,
            rng: Rng::new(seed, 77),
            sent: 0,
        }
    }

    /// The next datagram: from, to, data.
    pub fn act(
        &mut self,
        now: Time,
        recorded: Option<&VecDeque<Packet>>,
    ) -> (SocketAddr, usize, Vec<u8>) {
        self.next = now + self.rng.between(1, self.every * 2);
        let data = match self.habit {
            Habit::Garbage => self.random(0, 1_500),
            Habit::Records => self.record(),
            Habit::Alerts => self.alert(),
            Habit::Replay => self.pick(recorded),
            Habit::Damage => {
                let mut data = self.pick(recorded);
                if self.rng.chance(0.3) {
                    let length = self.rng.between(0, data.len() as u64) as usize;
                    data.truncate(length);
                }
                for _ in 0..self.rng.between(1, 4) {
                    if !data.is_empty() {
                        let at = self.rng.below(data.len() as u64) as usize;
                        data[at] ^= 1 << self.rng.below(8);
                    }
                }
                data
            }
        };
        self.sent += data.len() as u64;
        (self.from, self.target, data)
    }

    fn random(&mut self, least: u64, most: u64) -> Vec<u8> {
        let mut data = vec![0; self.rng.between(least, most) as usize];
        self.rng.fill(&mut data);
        data
    }

    /// A record header (RFC 6347 section 4.1) with a likely type, version and epoch.
    fn record(&mut self) -> Vec<u8> {
        let mut data = vec![20 + self.rng.below(6) as u8, 0xfe, 0xfd];
        if self.rng.chance(0.2) {
            data[2] = self.rng.next() as u8;
        }
        data.extend([0, self.rng.below(3) as u8]);
        let sequence = self.rng.below(1 << 20).to_be_bytes();
        data.extend_from_slice(&sequence[2..]);
        let body = self.random(0, 300);
        let length = if self.rng.chance(0.8) {
            body.len() as u16
        } else {
            self.rng.next() as u16
        };
        data.extend(length.to_be_bytes());
        data.extend(body);
        data
    }

    /// An alert in the clear: fatal handshake_failure, or close_notify.
    fn alert(&mut self) -> Vec<u8> {
        let mut data = vec![21, 0xfe, 0xfd, 0, 0];
        let sequence = self.rng.below(1 << 10).to_be_bytes();
        data.extend_from_slice(&sequence[2..]);
        data.extend([0, 2]);
        data.extend(if self.rng.chance(0.5) {
            [2, 40]
        } else {
            [1, 0]
        });
        data
    }

    fn pick(&mut self, recorded: Option<&VecDeque<Packet>>) -> Vec<u8> {
        let Some(recorded) = recorded.filter(|r| !r.is_empty()) else {
            return self.random(0, 100);
        };
        let index = self.rng.below(recorded.len() as u64) as usize;
        recorded[index].data.clone()
    }
}
