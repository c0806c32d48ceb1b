//! Segments out: what to send next, decided by [`Tcb::plan`] without changing anything, and [`Tcb::commit`], which takes
//! note that it was sent.

use super::congestion::INITIAL_WINDOW;
use super::recovery::scoreboard::Sent;
use super::segment::{Flags, MAX_SACK_BLOCKS, Options, SackBlocks, Segment};
use super::seq::Seq;
use super::state::State;
use super::tcb::{Recovery, Tcb};
use crate::time::{Micros, SECOND, Time};

/// The most that a rate cap lets out at once: this much time's worth.
const RATE_BURST: Micros = 5_000;

/// How long a circuit that the relay has closed waits for the peer's FIN.
const FIN_WAIT_2: Micros = 60 * SECOND;

/// A reset to be sent for a circuit that is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// SEG.SEQ.
    pub seq: Seq,
    /// SEG.ACK, if the segment has one.
    pub ack: Option<Seq>,
}

impl Reset {
    /// The segment.
    pub fn segment(&self) -> Segment<'static> {
        Segment {
            flags: match self.ack {
                Some(_) => Flags::RST.with(Flags::ACK),
                None => Flags::RST,
            },
            seq: self.seq,
            ack: self.ack.unwrap_or_default(),
            window: 0,
            options: Options::default(),
            payload: &[],
        }
    }
}

/// The answer to a segment that belongs to no connection (RFC 9293 section 3.10.7.1); none to a reset.
pub fn reset_for(segment: &Segment<'_>) -> Option<Reset> {
    if segment.flags.has(Flags::RST) {
        return None;
    }
    Some(if segment.flags.has(Flags::ACK) {
        Reset {
            seq: segment.ack,
            ack: None,
        }
    } else {
        Reset {
            seq: Seq(0),
            ack: Some(segment.seq + segment.len()),
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// New data, SYN or FIN.
    New,
    /// What was sent before.
    Again,
    /// An acknowledgement alone.
    Ack,
    /// An empty segment that has to be answered.
    Probe,
}

/// A segment to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    kind: Kind,
    /// Control flags.
    pub flags: Flags,
    /// SEG.SEQ.
    pub seq: Seq,
    /// SEG.ACK.
    pub ack: Seq,
    /// SEG.WND, scaled down.
    pub window: u16,
    /// Options.
    pub options: Options,
    /// Octets of payload.
    pub payload: usize,
    /// Where they stand in the send queue.
    offset: usize,
    /// The right edge that the window field promises.
    edge: Seq,
}

impl Plan {
    /// Whether it is an acknowledgement alone.
    pub fn is_pure_ack(&self) -> bool {
        self.kind == Kind::Ack
    }

    /// Whether it was sent before.
    pub fn is_retransmission(&self) -> bool {
        self.kind == Kind::Again
    }

    fn sequence_space(&self) -> u32 {
        self.payload as u32
            + u32::from(self.flags.has(Flags::SYN))
            + u32::from(self.flags.has(Flags::FIN))
    }
}

impl Tcb {
    /// The next segment, if anything is to be sent now. `memory`: octets that the endpoint can still take in.
    pub fn plan(&self, now: Time, memory: u64) -> Option<Plan> {
        match self.state {
            State::Closed => None,
            State::SynSent => self.plan_syn(memory),
            _ => self
                .plan_again(now, memory)
                .or_else(|| self.plan_new(now, memory))
                .or_else(|| self.plan_ack(memory)),
        }
    }

    /// A segment with the acknowledgement, window and SACK blocks of the moment.
    fn blank(&self, kind: Kind, seq: Seq, memory: u64) -> Plan {
        let next = self.rcv_nxt();
        let (window, edge) = self
            .window
            .field(next, self.receive.readable(), memory, false);
        Plan {
            kind,
            flags: Flags::ACK,
            seq,
            ack: next,
            window,
            options: Options {
                sack: if self.sack {
                    self.receive.sack_blocks(MAX_SACK_BLOCKS)
                } else {
                    SackBlocks::default()
                },
                ..Options::default()
            },
            payload: 0,
            offset: 0,
            edge,
        }
    }

    /// Payload that fits beside the options.
    fn payload_room(&self, options: &Options) -> usize {
        usize::from(self.mss).saturating_sub(options.encoded_len())
    }

    /// SYN, or SYN-ACK in SYN-RECEIVED, with the data that fits.
    fn syn(&self, kind: Kind, memory: u64) -> Plan {
        let mut plan = self.blank(kind, self.iss, memory);
        let (window, edge) =
            self.window
                .field(self.rcv_nxt(), self.receive.readable(), memory, true);
        plan.window = window;
        plan.edge = edge;
        let answers = self.state == State::SynReceived;
        plan.flags = if answers {
            Flags::SYN.with(Flags::ACK)
        } else {
            plan.ack = Seq(0);
            plan.edge = self.window.edge();
            Flags::SYN
        };
        plan.options.mss = Some(self.announced_mss);
        plan.options.window_scale = (!answers || self.window.shift() > 0 || self.snd_shift > 0)
            .then(|| self.window.shift());
        plan.options.sack_permitted = !answers || self.sack;
        plan.options.circuit_number = self.number.filter(|_| !answers);
        let room = self.payload_room(&plan.options);
        plan.payload = match kind {
            Kind::Again => self
                .board
                .first()
                .map_or(0, |s| s.len as usize - 1)
                .min(room),
            _ if answers => (self.queue.len()).min(room).min(self.snd_wnd as usize),
            _ => self.queue.len().min(room),
        };
        plan
    }

    fn plan_syn(&self, memory: u64) -> Option<Plan> {
        match self.board.first() {
            None => Some(self.syn(Kind::New, memory)),
            Some(first) if first.syn && first.lost => Some(self.syn(Kind::Again, memory)),
            _ => None,
        }
    }

    /// The sending rate's cap allows something now.
    fn rate_allows(&self, now: Time) -> bool {
        self.rate == 0 || self.next_send <= now
    }

    /// What was lost goes out first.
    fn plan_again(&self, now: Time, memory: u64) -> Option<Plan> {
        let lost: Sent = self.board.first_lost()?;
        let flight = self.board.in_flight();
        if flight > 0 && flight + u64::from(lost.len) > self.congestion.cwnd() {
            return None;
        }
        if !self.rate_allows(now) {
            return None;
        }
        if lost.syn {
            return Some(self.syn(Kind::Again, memory));
        }
        let mut plan = self.blank(Kind::Again, lost.seq, memory);
        let data = lost.len as usize - usize::from(lost.fin);
        plan.payload = data.min(self.payload_room(&plan.options));
        plan.offset = (lost.seq - self.queue_start) as usize;
        if lost.fin && plan.payload == data {
            plan.flags = plan.flags.with(Flags::FIN);
        }
        if plan.payload > 0 {
            plan.flags = plan.flags.with(Flags::PSH);
        }
        Some(plan)
    }

    /// New data and FIN, as the windows allow.
    fn plan_new(&self, now: Time, memory: u64) -> Option<Plan> {
        if !self.state.may_send() {
            return None;
        }
        if self.state == State::SynReceived && self.snd_nxt == self.iss {
            return Some(self.syn(Kind::New, memory));
        }
        let unsent = self.unsent() as usize;
        let fin_waits = self.fin_queued && !self.fin_sent && self.state != State::SynReceived;
        if (unsent == 0 && !fin_waits) || !self.rate_allows(now) {
            return None;
        }
        let mut plan = self.blank(Kind::New, self.snd_nxt, memory);
        let room = self.payload_room(&plan.options);
        let sent = self.snd_nxt - self.snd_una;
        let usable = self.snd_wnd.saturating_sub(sent) as usize;
        let want = unsent.min(room);
        let fin = fin_waits && want == unsent;
        if usable < want + usize::from(fin) {
            // Silly window avoidance (RFC 9293 section 3.8.6.2.1): wait until a full segment, or half of the largest
            // window that the peer ever offered, fits.
            let enough = usable >= room || usable as u32 >= (self.max_snd_wnd / 2).max(1);
            if !enough || usable == 0 {
                return None;
            }
            plan.payload = want.min(usable);
        } else {
            plan.payload = want;
            if fin {
                plan.flags = plan.flags.with(Flags::FIN);
            }
        }
        let flight = self.board.in_flight();
        if flight > 0 && flight + plan.payload as u64 > self.cwnd_now(now) {
            return None;
        }
        if plan.payload == 0 && !plan.flags.has(Flags::FIN) {
            return None;
        }
        plan.offset = (self.snd_nxt - self.queue_start) as usize;
        if plan.payload == unsent {
            plan.flags = plan.flags.with(Flags::PSH);
        }
        Some(plan)
    }

    fn is_idle(&self, now: Time) -> bool {
        self.board.is_empty() && now.since(self.last_sent) > self.rtt.rto()
    }

    /// The congestion window, as it will be once idleness is taken into account.
    fn cwnd_now(&self, now: Time) -> u64 {
        let cwnd = self.congestion.cwnd();
        if self.is_idle(now) {
            cwnd.min(INITIAL_WINDOW * u64::from(self.mss))
        } else {
            cwnd
        }
    }

    fn plan_ack(&self, memory: u64) -> Option<Plan> {
        if self.state == State::SynReceived && self.snd_nxt == self.iss {
            return None;
        }
        let update = || {
            self.state.may_receive()
                && !self.discard
                && self.window.update_due(
                    self.rcv_nxt(),
                    self.receive.readable(),
                    memory,
                    u32::from(self.mss),
                )
        };
        if self.probe {
            // One below SND.UNA: never acceptable, so always answered.
            return Some(self.blank(Kind::Probe, self.snd_una - 1, memory));
        }
        if self.ack_now || update() {
            return Some(self.blank(Kind::Ack, self.snd_nxt, memory));
        }
        None
    }

    /// Appends the payload of a plan to `out`.
    pub fn payload(&self, plan: &Plan, out: &mut Vec<u8>) {
        if plan.payload > 0 {
            self.queue.copy_to(plan.offset, plan.payload, out);
        }
    }

    /// The segment of `plan` was sent.
    pub fn commit(&mut self, now: Time, plan: &Plan) {
        self.counters.segments_sent += 1;
        if plan.flags.has(Flags::ACK) {
            self.ack_now = false;
            self.ack_at = Time::NEVER;
            self.unacked = 0;
            self.window.promised(plan.edge);
        }
        match plan.kind {
            Kind::Ack => return,
            Kind::Probe => {
                self.probe = false;
                self.last_sent = now;
                return;
            }
            Kind::Again => {
                self.counters.segments_retransmitted += 1;
                self.counters.bytes_retransmitted += plan.payload as u64;
                self.board
                    .retransmitted(now, plan.seq, plan.sequence_space());
            }
            Kind::New => {
                if self.is_idle(now) {
                    self.congestion.on_idle();
                }
                if self.board.is_empty() {
                    // No answer is outstanding, whatever a closed window made of the timer.
                    self.rtt.reset_backoff();
                    self.retransmit_at = Time::NEVER;
                }
                self.counters.bytes_sent += plan.payload as u64;
                let fin = plan.flags.has(Flags::FIN);
                let len = plan.sequence_space();
                self.board
                    .push(now, plan.seq, len, plan.flags.has(Flags::SYN), fin);
                self.snd_nxt = plan.seq + len;
                if fin {
                    self.fin_sent = true;
                    self.state = match self.state {
                        State::CloseWait => State::LastAck,
                        _ => State::FinWait1,
                    };
                }
            }
        }
        if let Some(Recovery { prr: Some(prr), .. }) = &mut self.recovery {
            prr.on_sent(u64::from(plan.sequence_space()));
        }
        self.unanswered_since.get_or_insert(now);
        self.last_sent = now;
        if self.retransmit_at == Time::NEVER {
            self.retransmit_at = now + self.rtt.rto();
        }
        let micros = (plan.payload as u64).saturating_mul(1_000_000);
        if let Some(span) = micros.checked_div(self.rate) {
            self.next_send = self.next_send.max(now - RATE_BURST) + span;
        }
    }

    /// After the last plan of a round: sets the timers of what could not go out.
    pub fn settle(&mut self, now: Time) {
        let allowed = self.rate_allows(now);
        let waiting = self.unsent() > 0 || self.board.has_lost();
        self.pace_at = if waiting && !allowed {
            self.next_send
        } else {
            Time::NEVER
        };
        if self.discard && self.state == State::FinWait2 && self.wait_at == Time::NEVER {
            self.wait_at = now + FIN_WAIT_2;
        }
        // If the peer's window holds everything back, it has to be probed.
        if allowed && self.retransmit_at == Time::NEVER && self.wants_probe() {
            self.retransmit_at = now + self.rtt.rto();
        }
    }
}
