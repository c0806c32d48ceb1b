//! A model of senders that share one bottleneck, driving BBR through its interface alone: delivery-rate samples as in
//! the draft's section "Delivery Rate Samples", loss found three packets later, pacing in send quanta.

use std::collections::VecDeque;

use super::super::{Bbr, State};
use crate::tcp::congestion::{Ack, Loss};
use crate::tcp::recovery::rate::RateSample;
use crate::time::{Micros, SECOND, Time};

pub const MSS: u64 = 1_250;
/// Acknowledgements come for every second packet, or this late.
const DELAYED_ACK: Nanos = 5_000_000;
/// How often a sender that is late has other things to do.
const BUSY_EVERY: Nanos = 37_000_000;
const NANOS: u128 = 1_000_000_000;

/// Nanoseconds: at a gigabit per second a packet takes only ten microseconds.
type Nanos = u64;

/// The bottleneck: a queue in front of a line.
pub struct Link {
    /// Octets per second.
    pub rate: u64,
    /// Octets that the queue holds.
    pub buffer: u64,
    /// Packets of a thousand that are lost at random after the queue.
    pub loss: u32,
    /// Octets in the queue from which packets are marked instead of left alone.
    pub mark_above: Option<u64>,
    busy_until: Nanos,
    random: u64,
    /// Queueing delays of all packets, and when.
    pub delays: Vec<(Micros, Micros)>,
    pub drops: u64,
}

impl Link {
    pub fn new(mbit: u64, buffer: u64) -> Link {
        Link {
            rate: mbit * 125_000,
            buffer,
            loss: 0,
            mark_above: None,
            busy_until: 0,
            random: 0x2545_f491_4f6c_dd1d,
            delays: Vec::new(),
            drops: 0,
        }
    }

    fn chance(&mut self, of_thousand: u32) -> bool {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % 1000 < u64::from(of_thousand)
    }

    /// When the packet leaves the line and whether it is marked; nothing if it is lost.
    fn carry(&mut self, now: Nanos, len: u64) -> Option<(Nanos, bool)> {
        let delay = self.busy_until.saturating_sub(now);
        let queued = (u128::from(delay) * u128::from(self.rate) / NANOS) as u64;
        if queued + len > self.buffer {
            self.drops += 1;
            return None;
        }
        self.delays.push((now / 1000, delay / 1000));
        self.busy_until = now + delay + (u128::from(len) * NANOS / u128::from(self.rate)) as u64;
        let marked = self.mark_above.is_some_and(|above| queued > above);
        (!self.chance(self.loss)).then_some((self.busy_until, marked))
    }

    /// The mean queueing delay since `from`.
    pub fn mean_delay(&self, from: Micros) -> Micros {
        let since = self.delays.iter().filter(|(at, _)| *at >= from);
        let (sum, count) = since.fold((0, 0), |(sum, count), (_, delay)| (sum + delay, count + 1));
        sum / count.max(1)
    }

    /// The median queueing delay since `from`.
    pub fn median_delay(&self, from: Micros) -> Micros {
        let mut delays: Vec<_> = self
            .delays
            .iter()
            .filter(|(at, _)| *at >= from)
            .map(|(_, delay)| *delay)
            .collect();
        delays.sort_unstable();
        delays[delays.len() / 2]
    }
}

struct Packet {
    sent: Nanos,
    arrived: bool,
    marked: bool,
    delivered: u64,
    delivered_time: Nanos,
    first_sent: Nanos,
    app_limited: bool,
    tx_in_flight: u64,
    lost: u64,
}

/// One sender and its receiver.
pub struct Flow {
    pub bbr: Bbr,
    rtt: Nanos,
    start: Nanos,
    /// Octets that the application still has to send.
    pub data: u64,
    /// Acknowledgements are held back to multiples of this.
    pub ack_slots: Nanos,
    /// Now and then nothing is seen to for so long: an event loop has other things to do.
    pub late: Nanos,
    /// The losses of the recovery under way turn out to be none when it ends.
    pub spurious: bool,
    packets: VecDeque<Packet>,
    first: u64,
    acks: VecDeque<(Nanos, u64)>,
    in_flight: u64,
    pub delivered: u64,
    delivered_time: Nanos,
    first_sent: Nanos,
    pub lost: u64,
    app_limited: u64,
    next_send: Nanos,
    progress: Nanos,
    recovery_end: Option<u64>,
    srtt: Micros,
    min_rtt: Micros,
    /// The most octets sent at one instant.
    pub burst: u64,
    pub timeouts: u32,
    /// Each state, and when it began.
    pub states: Vec<(Micros, State)>,
}

impl Flow {
    pub fn new(rtt_ms: u64, seed: u32) -> Flow {
        Flow::with(Bbr::new(MSS, 10 * MSS, seed, 0), rtt_ms)
    }

    pub fn with(bbr: Bbr, rtt_ms: u64) -> Flow {
        Flow {
            bbr,
            rtt: rtt_ms * 1_000_000,
            start: 0,
            data: u64::MAX,
            ack_slots: 0,
            late: 0,
            spurious: false,
            packets: VecDeque::new(),
            first: 0,
            acks: VecDeque::new(),
            in_flight: 0,
            delivered: 0,
            delivered_time: 0,
            first_sent: 0,
            lost: 0,
            app_limited: 0,
            next_send: 0,
            progress: 0,
            recovery_end: None,
            srtt: 0,
            min_rtt: u64::MAX,
            burst: 0,
            timeouts: 0,
            states: vec![(0, State::Startup)],
        }
    }

    pub fn starting_at(mut self, micros: Micros) -> Flow {
        self.start = micros * 1000;
        self
    }

    fn can_send(&self) -> bool {
        self.data >= MSS && self.in_flight + MSS <= self.bbr.cwnd()
    }

    fn send_at(&self, now: Nanos) -> Nanos {
        if self.can_send() {
            self.next_send.max(self.start).max(now)
        } else {
            Nanos::MAX
        }
    }

    fn ack_at(&self) -> Nanos {
        let at = match (self.acks.front(), self.acks.get(1)) {
            (Some(&(first, _)), Some(&(second, _))) => second.min(first + DELAYED_ACK),
            (Some(&(first, _)), None) => first + DELAYED_ACK,
            _ => return Nanos::MAX,
        };
        if self.late > 0 {
            let begin = at - at % BUSY_EVERY;
            return at.max(begin + self.late);
        }
        if self.ack_slots == 0 {
            at
        } else {
            at.div_ceil(self.ack_slots) * self.ack_slots
        }
    }

    fn timeout_at(&self) -> Nanos {
        if self.packets.is_empty() {
            Nanos::MAX
        } else {
            self.progress + (3 * self.srtt).max(SECOND) * 1000
        }
    }

    fn check_app_limited(&mut self) {
        if self.data < MSS && self.in_flight < self.bbr.cwnd() {
            self.app_limited = (self.delivered + self.in_flight).max(1);
        }
    }

    fn send(&mut self, now: Nanos, link: &mut Link) {
        let quantum = self.bbr.send_quantum();
        let mut sent = 0;
        while self.can_send() && sent + MSS <= quantum {
            if self.in_flight == 0 {
                self.first_sent = now;
                self.delivered_time = now;
                self.progress = now;
            }
            self.bbr.on_sent(
                Time(now / 1000),
                MSS,
                self.in_flight,
                self.app_limited != 0,
                self.delivered,
            );
            self.in_flight += MSS;
            let number = self.first + self.packets.len() as u64;
            let fate = link.carry(now, MSS);
            if let Some((at, _)) = fate {
                self.acks.push_back((at + self.rtt, number));
            }
            self.packets.push_back(Packet {
                sent: now,
                arrived: false,
                marked: fate.is_some_and(|(_, marked)| marked),
                delivered: self.delivered,
                delivered_time: self.delivered_time,
                first_sent: self.first_sent,
                app_limited: self.app_limited != 0,
                tx_in_flight: self.in_flight,
                lost: self.lost,
            });
            if self.data != u64::MAX {
                self.data -= MSS;
            }
            sent += MSS;
        }
        self.burst = self.burst.max(sent);
        let gap = u128::from(sent) * NANOS / u128::from(self.bbr.pacing_rate());
        self.next_send = self.next_send.max(now) + gap as u64;
        self.check_app_limited();
        self.note_state(now);
    }

    fn ack(&mut self, now: Nanos) {
        let prior_in_flight = self.in_flight;
        let before = (self.delivered, self.lost);
        self.check_app_limited();
        let mut newest = None;
        let mut marked = 0;
        let mut taken = 0;
        while let Some(&(at, number)) = self.acks.front() {
            if at > now || (taken == 2 && self.ack_slots == 0 && self.late == 0) {
                break;
            }
            self.acks.pop_front();
            taken += 1;
            let packet = &mut self.packets[(number - self.first) as usize];
            packet.arrived = true;
            self.delivered += MSS;
            self.in_flight -= MSS;
            marked += u64::from(packet.marked) * MSS;
            newest = Some(number);
        }
        let newest = newest.expect("an acknowledgement was due");
        self.delivered_time = now;
        self.progress = now;
        let packet = &self.packets[(newest - self.first) as usize];
        let send_elapsed = packet.sent - packet.first_sent;
        let ack_elapsed = now - packet.delivered_time;
        self.first_sent = packet.sent;
        let rtt = (now - packet.sent) / 1000;
        let mut sample = RateSample {
            delivered: self.delivered - packet.delivered,
            interval: (send_elapsed.max(ack_elapsed) / 1000).max(1),
            prior_delivered: packet.delivered,
            app_limited: packet.app_limited,
            tx_in_flight: packet.tx_in_flight,
            lost: packet.lost,
        };
        self.min_rtt = self.min_rtt.min(rtt);
        self.srtt = if self.srtt == 0 {
            rtt
        } else {
            (7 * self.srtt + rtt) / 8
        };
        if self.app_limited != 0 && self.delivered > self.app_limited {
            self.app_limited = 0;
        }
        while let Some(packet) = self.packets.front() {
            if packet.arrived {
                self.packets.pop_front();
                self.first += 1;
            } else if self.first + 3 <= newest {
                self.lose_first(now);
                if self.recovery_end.is_none() {
                    self.recovery_end = Some(self.first + self.packets.len() as u64);
                    self.bbr
                        .on_recovery(Time(now / 1000), self.in_flight, self.delivered);
                }
            } else {
                break;
            }
        }
        if self.recovery_end.is_some_and(|end| newest >= end) {
            self.recovery_end = None;
            if self.spurious {
                self.spurious = false;
                self.bbr.on_spurious();
            } else {
                self.bbr.on_recovered(Time(now / 1000));
            }
        }
        sample.lost = self.lost - sample.lost;
        self.bbr.on_ack(&Ack {
            now: Time(now / 1000),
            acked: self.delivered - before.0,
            lost: self.lost - before.1,
            in_flight: self.in_flight,
            prior_in_flight,
            delivered: self.delivered,
            rtt: Some(rtt),
            srtt: self.srtt,
            min_rtt: self.min_rtt,
            window_limited: prior_in_flight + MSS > self.bbr.cwnd(),
            in_recovery: self.recovery_end.is_some(),
            round: false,
            ce: marked,
            rate: Some(sample),
        });
        self.note_state(now);
    }

    fn lose_first(&mut self, now: Nanos) {
        let packet = self.packets.pop_front().expect("a packet is in flight");
        self.first += 1;
        self.in_flight -= MSS;
        self.lost += MSS;
        if self.data != u64::MAX {
            self.data += MSS;
        }
        self.bbr.on_lost(
            Time(now / 1000),
            &Loss {
                len: MSS,
                tx_in_flight: packet.tx_in_flight,
                lost_since_sent: self.lost - packet.lost,
                delivered_at_send: packet.delivered,
                app_limited: packet.app_limited,
            },
        );
    }

    fn time_out(&mut self, now: Nanos) {
        while let Some(packet) = self.packets.front() {
            if packet.arrived {
                self.packets.pop_front();
                self.first += 1;
            } else {
                self.lose_first(now);
            }
        }
        self.acks.clear();
        self.timeouts += 1;
        self.progress = now;
        self.recovery_end = Some(self.first);
        self.bbr.on_timeout(Time(now / 1000), self.in_flight);
    }

    fn note_state(&mut self, now: Nanos) {
        let state = self.bbr.state();
        if self.states.last().is_none_or(|(_, last)| *last != state) {
            self.states.push((now / 1000, state));
        }
    }
}

/// Flows over one bottleneck.
pub struct Path {
    pub now: Nanos,
    pub link: Link,
    pub flows: Vec<Flow>,
}

impl Path {
    pub fn new(link: Link, flows: Vec<Flow>) -> Path {
        Path {
            now: 0,
            link,
            flows,
        }
    }

    /// One flow; the buffer holds `buffer_percent` of the bandwidth-delay product.
    pub fn single(mbit: u64, rtt_ms: u64, buffer_percent: u64) -> Path {
        let bdp = mbit * 125 * rtt_ms;
        let link = Link::new(mbit, bdp * buffer_percent / 100);
        Path::new(link, vec![Flow::new(rtt_ms, 7)])
    }

    pub fn flow(&mut self) -> &mut Flow {
        &mut self.flows[0]
    }

    /// Lets everything happen that happens until `micros`.
    pub fn run_until(&mut self, micros: Micros) {
        let end = micros * 1000;
        loop {
            let mut next = Nanos::MAX;
            let mut flow = 0;
            for (index, candidate) in self.flows.iter().enumerate() {
                let at = candidate
                    .ack_at()
                    .min(candidate.send_at(self.now))
                    .min(candidate.timeout_at());
                if at < next {
                    (next, flow) = (at, index);
                }
            }
            if next > end {
                self.now = end;
                return;
            }
            self.now = next.max(self.now);
            let flow = &mut self.flows[flow];
            if flow.ack_at() <= self.now {
                flow.ack(self.now);
            } else if flow.timeout_at() <= self.now {
                flow.time_out(self.now);
            } else {
                flow.send(self.now, &mut self.link);
            }
        }
    }

    /// Octets per second that each flow delivers from `from` to `to`.
    pub fn goodput(&mut self, from: Micros, to: Micros) -> Vec<u64> {
        self.run_until(from);
        let before: Vec<_> = self.flows.iter().map(|flow| flow.delivered).collect();
        self.run_until(to);
        self.flows
            .iter()
            .zip(before)
            .map(|(flow, before)| (flow.delivered - before) * SECOND / (to - from))
            .collect()
    }
}
