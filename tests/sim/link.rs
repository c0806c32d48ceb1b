//! A one-directional link, put together from stages that a datagram passes one after the other.
//!
//! Each stage sees the datagram at the moment the stage before lets go of it, so that stages mean the same in any
//! order: `Link::new().delay(20 * MILLISECOND).loss(0.01).rate(1_250_000, 64_000)`.

use std::collections::VecDeque;
use std::net::SocketAddr;

use utcp::time::{Micros, Time};

use super::rng::{Rng, mix};

/// Octets of IPv4 and UDP header that a datagram takes on a link beside its payload.
pub const HEADERS: usize = 28;

/// A burst of losses ages by this time as it does by a datagram.
const BURST_STEP: Micros = 20_000;

/// A datagram under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub data: Vec<u8>,
    pub ecn: u8,
}

enum Kind {
    Delay(Micros),
    /// Up to this much more delay, order kept.
    Jitter(Micros, Time),
    Loss(f64),
    /// Gilbert-Elliott: good to bad, bad to good (each per datagram or `BURST_STEP`), loss while bad.
    Burst {
        enter: f64,
        leave: f64,
        loss: f64,
        bad: bool,
        last: Time,
    },
    Reorder(f64, Micros),
    #[allow(dead_code)] // for the experiments under lab/
    Late(f64, Micros),
    Duplicate(f64, Micros),
    Corrupt(f64),
    Rate(Bottleneck),
    Mtu(usize),
    Without(usize),
    Blackout(Time, Time),
    /// What happens to the ECN field of the IP header.
    Ecn(Field),
}

/// The ECN field (RFC 3168 section 5): both values that say that the transport is capable, and the mark.
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
pub const CE: u8 = 3;

fn is_ect(packet: &Packet) -> bool {
    [ECT_0, ECT_1].contains(&packet.ecn)
}

/// What a path does to the ECN field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Sets it to zero.
    Bleached,
    /// Marks what may be marked, and what may not, whether there is congestion or not.
    AlwaysMarked,
    /// Drops what may be marked, from then on.
    CapableDropped(Time),
}

/// Octets a second, and a drop-tail queue before it.
struct Bottleneck {
    rate: u64,
    capacity: usize,
    /// With more than this in the queue, datagrams are marked, or dropped if they cannot be.
    threshold: usize,
    /// In nanoseconds: a microsecond is 12 octets at 100 Mbit/s.
    busy_until: u64,
    /// When each waiting datagram starts to be sent, and its size.
    waiting: VecDeque<(u64, usize)>,
    queued: usize,
}

impl Bottleneck {
    /// When the datagram has left, or that there was no room for it.
    fn offer(&mut self, now: Time, size: usize, packet: &mut Packet) -> Option<Time> {
        let capable = is_ect(packet) || packet.ecn == CE;
        let now = now.0 * 1_000;
        while let Some(&(start, size)) = self.waiting.front() {
            if start > now {
                break;
            }
            self.waiting.pop_front();
            self.queued -= size;
        }
        let start = self.busy_until.max(now);
        if start > now {
            let congested = self.queued + size > self.threshold;
            if self.queued + size > self.capacity || (congested && !capable) {
                return None;
            }
            if congested {
                packet.ecn = CE;
            }
            self.queued += size;
            self.waiting.push_back((start, size));
        }
        self.busy_until = start + size as u64 * 1_000_000_000 / self.rate;
        Some(Time(self.busy_until.div_ceil(1_000)))
    }
}

struct Stage {
    kind: Kind,
    rng: Rng,
    entered: u64,
    dropped: u64,
    /// Datagrams delayed extra, doubled, damaged or marked as having met congestion.
    touched: u64,
}

/// What a link has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub entered: u64,
    pub octets: u64,
    pub dropped: u64,
    pub touched: u64,
    /// Entered with a field that lets routers mark them.
    pub capable: u64,
}

/// See the module.
#[derive(Default)]
pub struct Link {
    stages: Vec<Stage>,
    entered: u64,
    octets: u64,
    capable: u64,
}

impl Link {
    pub fn new() -> Link {
        Link::default()
    }

    fn stage(mut self, kind: Kind) -> Link {
        self.stages.push(Stage {
            kind,
            rng: Rng::new(0, 0),
            entered: 0,
            dropped: 0,
            touched: 0,
        });
        self
    }

    /// Gives each stage randomness of its own.
    pub fn seeded(mut self, seed: u64) -> Link {
        for (index, stage) in self.stages.iter_mut().enumerate() {
            stage.rng = Rng::new(mix(seed), index as u64);
        }
        self
    }

    /// Propagation delay.
    pub fn delay(self, delay: Micros) -> Link {
        self.stage(Kind::Delay(delay))
    }
    /// A random part of `jitter` more delay; what entered first still leaves first.
    pub fn jitter(self, jitter: Micros) -> Link {
        self.stage(Kind::Jitter(jitter, Time(0)))
    }
    /// Independent random loss.
    pub fn loss(self, probability: f64) -> Link {
        self.stage(Kind::Loss(probability))
    }
    /// Loss in bursts (Gilbert-Elliott), `mean` datagrams long, with three of four lost within one; `share` of all is
    /// lost. Time ends a burst too, or it would outlast many timeouts when little is sent.
    pub fn burst_loss(self, share: f64, mean: f64) -> Link {
        let leave = 1.0 / mean;
        let loss = 0.75;
        // Stationary share of the bad state: enter / (enter + leave).
        let bad = share / loss;
        let enter = leave * bad / (1.0 - bad);
        self.stage(Kind::Burst {
            enter,
            leave,
            loss,
            bad: false,
            last: Time(0),
        })
    }
    /// Holds some datagrams back by up to `by`, so that later ones overtake them.
    pub fn reorder(self, probability: f64, by: Micros) -> Link {
        self.stage(Kind::Reorder(probability, by))
    }
    /// Holds some datagrams back by exactly `by`.
    #[allow(dead_code)] // for the experiments under lab/
    pub fn late(self, probability: f64, by: Micros) -> Link {
        self.stage(Kind::Late(probability, by))
    }
    /// Delivers some datagrams a second time, up to `later`.
    pub fn duplicate(self, probability: f64, later: Micros) -> Link {
        self.stage(Kind::Duplicate(probability, later))
    }
    /// Flips one to eight bits of some datagrams.
    pub fn corrupt(self, probability: f64) -> Link {
        self.stage(Kind::Corrupt(probability))
    }
    /// A bottleneck of `rate` octets a second that lets `capacity` octets wait.
    pub fn rate(self, rate: u64, capacity: usize) -> Link {
        self.marking_rate(rate, capacity, usize::MAX)
    }
    /// The same, but when more than `threshold` octets wait, it marks what comes, and drops what cannot be marked.
    pub fn marking_rate(self, rate: u64, capacity: usize, threshold: usize) -> Link {
        self.stage(Kind::Rate(Bottleneck {
            rate,
            capacity,
            threshold,
            busy_until: 0,
            waiting: VecDeque::new(),
            queued: 0,
        }))
    }
    /// Drops payloads larger than `largest`.
    pub fn mtu(self, largest: usize) -> Link {
        self.stage(Kind::Mtu(largest))
    }
    /// Drops payloads of exactly this size.
    pub fn without(self, size: usize) -> Link {
        self.stage(Kind::Without(size))
    }
    /// Drops everything that enters within `from..until`.
    pub fn blackout(self, from: Time, until: Time) -> Link {
        self.stage(Kind::Blackout(from, until))
    }

    /// See [`Field`].
    pub fn ecn(self, field: Field) -> Link {
        self.stage(Kind::Ecn(field))
    }

    pub fn stages(&self) -> usize {
        self.stages.len()
    }

    pub fn counters(&self) -> Counters {
        Counters {
            entered: self.entered,
            octets: self.octets,
            capable: self.capable,
            dropped: self.stages.iter().map(|s| s.dropped).sum(),
            touched: self.stages.iter().map(|s| s.touched).sum(),
        }
    }

    /// A datagram enters.
    pub fn enter(&mut self, packet: &Packet) {
        self.entered += 1;
        self.octets += packet.data.len() as u64;
        self.capable += u64::from(is_ect(packet));
    }

    /// Passes a datagram through stage `index` at `now`; gives what comes out of it, and when (never before `now`).
    pub fn pass(&mut self, index: usize, now: Time, mut packet: Packet) -> Passed {
        let stage = &mut self.stages[index];
        stage.entered += 1;
        let rng = &mut stage.rng;
        let out = match &mut stage.kind {
            Kind::Delay(delay) => Passed::one(now + *delay, packet),
            Kind::Jitter(jitter, last) => {
                *last = (now + rng.between(0, *jitter)).max(*last);
                Passed::one(*last, packet)
            }
            Kind::Loss(p) if rng.chance(*p) => Passed::default(),
            Kind::Burst {
                enter,
                leave,
                loss,
                bad,
                last,
            } => {
                let steps = 1 + (now.since(*last) / BURST_STEP).min(1_000);
                *last = now;
                for _ in 0..steps {
                    *bad = if *bad {
                        !rng.chance(*leave)
                    } else {
                        rng.chance(*enter)
                    };
                }
                if *bad && rng.chance(*loss) {
                    Passed::default()
                } else {
                    Passed::one(now, packet)
                }
            }
            Kind::Reorder(p, by) if rng.chance(*p) => {
                stage.touched += 1;
                Passed::one(now + rng.between(1, *by), packet)
            }
            Kind::Late(p, by) if rng.chance(*p) => {
                stage.touched += 1;
                Passed::one(now + *by, packet)
            }
            Kind::Duplicate(p, later) if rng.chance(*p) => {
                stage.touched += 1;
                let copy = (now + rng.between(0, *later), packet.clone());
                Passed([Some((now, packet)), Some(copy)])
            }
            Kind::Corrupt(p) if rng.chance(*p) && !packet.data.is_empty() => {
                stage.touched += 1;
                let before = packet.data.clone();
                while packet.data == before {
                    for _ in 0..rng.between(1, 8) {
                        let bit = rng.below(packet.data.len() as u64 * 8) as usize;
                        packet.data[bit / 8] ^= 1 << (bit % 8);
                    }
                }
                Passed::one(now, packet)
            }
            Kind::Rate(bottleneck) => {
                let before = packet.ecn;
                match bottleneck.offer(now, packet.data.len() + HEADERS, &mut packet) {
                    Some(left) => {
                        stage.touched += u64::from(packet.ecn != before);
                        Passed::one(left, packet)
                    }
                    None => Passed::default(),
                }
            }
            Kind::Ecn(Field::CapableDropped(from)) if now >= *from && is_ect(&packet) => {
                Passed::default()
            }
            Kind::Ecn(field) => {
                match field {
                    Field::Bleached => packet.ecn = 0,
                    Field::AlwaysMarked => packet.ecn = CE,
                    Field::CapableDropped(_) => {}
                }
                Passed::one(now, packet)
            }
            Kind::Mtu(largest) if packet.data.len() > *largest => Passed::default(),
            Kind::Without(size) if packet.data.len() == *size => Passed::default(),
            Kind::Blackout(from, until) if (*from..*until).contains(&now) => Passed::default(),
            _ => Passed::one(now, packet),
        };
        if out.0[0].is_none() {
            stage.dropped += 1;
        }
        out
    }
}

/// What comes out of a stage: nothing, one datagram, or two.
#[derive(Default)]
pub struct Passed(pub [Option<(Time, Packet)>; 2]);

impl Passed {
    fn one(at: Time, packet: Packet) -> Passed {
        Passed([Some((at, packet)), None])
    }
}
