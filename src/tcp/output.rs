//! Segments out: what to send next, decided by [`Tcb::plan`] without changing anything, and [`Tcb::commit`], which takes
//! note that it was sent.

use super::congestion::INITIAL_WINDOW;
use super::recovery::frto::Frto;
use super::recovery::rate::Departure;
use super::recovery::scoreboard::Sent;
use super::segment::{Flags, Options, SackBlocks, Segment};
use super::seq::Seq;
use super::state::State;
use super::tcb::{Recovery, Tcb};
use crate::time::{Micros, SECOND, Time};

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
            ce: false,
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

/// The blocks, with the FIN at `fin`, which takes sequence space too: else the segment that has it would never be covered.
fn with_fin(blocks: &SackBlocks, fin: Seq) -> SackBlocks {
    let mut all = SackBlocks::default();
    let mut covered = false;
    for &(start, end) in blocks.as_slice() {
        covered |= end == fin;
        all.push(start, if end == fin { fin + 1 } else { end });
    }
    if !covered {
        all.push(fin, fin + 1);
    }
    all
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

/// What the layers around leave to a circuit at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Octets that the endpoint can still take in.
    pub memory: u64,
    /// Octets that may enter the network: of the window that siblings share, or of the budget of new circuits.
    pub window: u64,
}

impl From<u64> for Allowance {
    /// Only memory is limited.
    fn from(memory: u64) -> Allowance {
        Allowance {
            memory,
            window: u64::MAX,
        }
    }
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
    /// It may be marked by routers instead of dropped (ECT, RFC 3168).
    pub ect: bool,
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

    /// The segment, with its payload as [`Tcb::payload`] gives it.
    pub fn segment<'a>(&self, payload: &'a [u8]) -> Segment<'a> {
        Segment {
            flags: self.flags,
            seq: self.seq,
            ack: self.ack,
            window: self.window,
            options: self.options,
            payload,
            ce: false,
        }
    }

    /// Octets of sequence space: of the windows, that is how much it takes.
    pub fn sequence_space(&self) -> u32 {
        self.payload as u32
            + u32::from(self.flags.has(Flags::SYN))
            + u32::from(self.flags.has(Flags::FIN))
    }
}

impl Tcb {
    /// The next segment, if anything is to be sent now.
    pub fn plan(&self, now: Time, allowance: impl Into<Allowance>) -> Option<Plan> {
        let Allowance { memory, window } = allowance.into();
        let fit = |mut plan: Plan| {
            // SYN and FIN take no room of their own in the network, but do not leave where there is none.
            if plan.payload as u64 <= window && (window > 0 || plan.sequence_space() == 0) {
                return Some(plan);
            }
            // The peer's SYN is answered whatever the siblings do: he may wait for it with all that he has.
            let answer = plan.flags.has(Flags::SYN) && plan.flags.has(Flags::ACK);
            plan.payload = 0;
            answer.then_some(plan)
        };
        match self.state {
            State::Closed => None,
            State::SynSent => self.plan_syn(memory).and_then(fit),
            _ => self
                .plan_again(now, memory)
                .or_else(|| self.plan_new(now, memory))
                .and_then(fit)
                .or_else(|| self.plan_ack(memory)),
        }
    }

    /// A segment with the acknowledgement, window and SACK blocks of the moment.
    fn blank(&self, kind: Kind, seq: Seq, memory: u64) -> Plan {
        let next = self.rcv_nxt();
        let (window, edge) = self
            .window
            .field(next, self.receive.readable(), memory, false);
        let mut flags = Flags::ACK;
        let mut options = Options {
            sack: self.sack_blocks(),
            ..Options::default()
        };
        self.ecn
            .on_segment_out(kind == Kind::New, &mut flags, &mut options);
        Plan {
            kind,
            flags,
            seq,
            ack: next,
            window,
            options,
            payload: 0,
            ect: false,
            offset: 0,
            edge,
        }
    }

    /// A duplicate to be reported first (RFC 2883 section 4), then what is held out of order.
    fn sack_blocks(&self) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        let nothing =
            self.duplicates.is_empty() && !self.receive.has_holes() && self.fin_at.is_none();
        if nothing || !self.sack {
            return blocks;
        }
        if let Some(&(start, end)) = self.duplicates.as_slice().first() {
            blocks.push(start, end);
            if let Some(around) = self.receive.range_around(start, end) {
                blocks.push(around.0, around.1);
            }
        }
        for &(start, end) in self.receive.sack_blocks().as_slice() {
            if !blocks.as_slice().contains(&(start, end)) {
                blocks.push(start, end);
            }
        }
        match self.fin_at {
            Some(fin) if !self.fin_received => with_fin(&blocks, fin),
            _ => blocks,
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
        plan.options.ce_count = None;
        plan.options.sack = SackBlocks::default();
        self.ecn
            .on_syn_out(answers, &mut plan.flags, &mut plan.options);
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

    /// Octets per second at which it sends, if there is a limit.
    pub(super) fn pacing_rate(&self) -> Option<u64> {
        let control = match self.signals {
            // The siblings' common window is paced as one.
            Some(_) => None,
            None => self.congestion.pacing_rate(self.rtt.srtt()),
        };
        let cap = (self.rate > 0).then_some(self.rate);
        match (control, cap) {
            (Some(control), Some(cap)) => Some(control.min(cap)),
            (control, cap) => control.or(cap),
        }
    }

    /// Pacing allows something now.
    fn pacing_allows(&self, now: Time) -> bool {
        self.pacer.allows(now) || self.pacing_rate().is_none()
    }

    /// Whether `len` more octets fit the congestion window, of which limited transmit (RFC 3042) gives a little more.
    fn window_allows(&self, len: u64) -> bool {
        let flight = self.board.in_flight();
        if flight == 0 || self.signals.is_some() {
            return true;
        }
        let limited = u64::from(self.duplicate_acks.min(2)) * u64::from(self.mss);
        // The window is a fraction of a segment more or less than what fits: rounded, as it would be counted in
        // segments. Cut off, a small window would on average be half a segment smaller than what the algorithm says.
        // Half of the segment at hand, though: with half of a full one, cells would leave as if recovery reduced nothing.
        let rounding = len.min(u64::from(self.mss)) / 2;
        flight + len <= self.congestion.cwnd() + limited + rounding
    }

    /// What was lost goes out first.
    fn plan_again(&self, now: Time, memory: u64) -> Option<Plan> {
        let lost: Sent = self.board.first_lost()?;
        // After a timeout the first segment goes out whatever else is in flight (RFC 6298 (5.4)); then it is to be seen
        // whether the others were lost (RFC 5682).
        // Without SACK it does so in fast recovery too: what has arrived of the rest is not known (RFC 6582 section 3.2).
        let timed_out = self.recovery.is_some_and(|r| r.prr.is_none());
        let first = (timed_out || !self.sack) && lost.seq == self.snd_una;
        let waits = self
            .recovery
            .is_some_and(|r| r.frto == Some(Frto::NewData) && self.can_send_new());
        let len = u64::from(lost.len.min(u32::from(self.mss)));
        if waits || !(first || self.window_allows(len)) || !self.pacing_allows(now) {
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
        if (unsent == 0 && !fin_waits) || !self.pacing_allows(now) {
            return None;
        }
        let mut plan = self.blank(Kind::New, self.snd_nxt, memory);
        let room = self.payload_room(&plan.options);
        let usable = self.usable_window() as usize;
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
        if !self.window_allows(plan.payload as u64) {
            return None;
        }
        if plan.payload == 0 && !plan.flags.has(Flags::FIN) {
            return None;
        }
        plan.offset = (self.snd_nxt - self.queue_start) as usize;
        if plan.payload == unsent {
            plan.flags = plan.flags.with(Flags::PSH);
        }
        plan.ect = self.ecn.marks();
        Some(plan)
    }

    /// Octets of the peer's window that are not used yet (RFC 9293 section 3.8.6.2.1).
    pub(super) fn usable_window(&self) -> u32 {
        self.snd_wnd.saturating_sub(self.snd_nxt - self.snd_una)
    }

    /// Whether the peer's window has room for new data, and enough of it.
    fn can_send_new(&self) -> bool {
        let usable = self.usable_window();
        let wanted = self.unsent().min(u32::from(self.mss));
        wanted > 0 && usable >= wanted.min((self.max_snd_wnd / 2).max(1))
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
        self.commit_counted(now, plan, None);
    }

    /// The same; `counted`: how the segment departed, counted with its siblings, if they share a window.
    pub fn commit_counted(&mut self, now: Time, plan: &Plan, counted: Option<Departure>) {
        self.counters.segments_sent += 1;
        // A probe is below the peer's window: nothing of what it says is taken in.
        if plan.flags.has(Flags::ACK) && plan.kind != Kind::Probe {
            if !plan.options.sack.is_empty() {
                // It stood first.
                self.duplicates.remove_first();
            }
            self.acked_at = now;
            self.ack_now = !self.duplicates.is_empty();
            self.ack_at = Time::NEVER;
            self.unacked = 0;
            self.window.promised(plan.edge);
        }
        self.ecn.sent(now, plan.flags, plan.ect);
        let rate = self.pacing_rate();
        let prior_in_flight = self.board.in_flight();
        let pause = self.board.is_empty();
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
                self.undo.on_retransmission();
                self.board
                    .retransmitted(now, plan.seq, plan.sequence_space(), counted);
                if plan.seq == self.snd_una {
                    // Its answer takes a round trip from now, and RACK another if it gets lost.
                    self.retransmit_at = now + self.rtt.rto();
                }
            }
            Kind::New => {
                if pause {
                    self.congestion.on_restart(now, self.last_sent);
                    // No answer is outstanding, whatever a closed window made of the timer.
                    self.rtt.reset_backoff();
                    self.retransmit_at = Time::NEVER;
                }
                self.counters.bytes_sent += plan.payload as u64;
                let fin = plan.flags.has(Flags::FIN);
                let syn = plan.flags.has(Flags::SYN);
                let len = plan.sequence_space();
                self.board.push(now, plan.seq, len, (syn, fin), counted);
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
        // What is lost may have had to wait: the timer runs from when it is sent.
        let waited = self.retransmit_at == Time::NEVER;
        if waited || (plan.is_retransmission() && prior_in_flight == 0) {
            self.retransmit_at = now + self.rtt.rto();
        }
        let len = u64::from(plan.sequence_space());
        let app_limited = self.board.rate().is_app_limited();
        let delivered = self.board.rate().delivered();
        self.congestion
            .on_sent(now, len, prior_in_flight, app_limited, delivered);
        if pause && self.rate == 0 && self.congestion.restarts_at_once() {
            // An initial window may leave at once, as at the start.
            let mss = u64::from(self.mss);
            self.pacer.on_pause((INITIAL_WINDOW - 1) * mss);
        }
        if let Some(rate) = rate {
            let burst = self.congestion.burst(rate);
            self.pacer.on_sent(now, len, rate, burst);
        }
        // What is in flight already was sent before, and the probe's time counts from the oldest.
        if plan.kind != Kind::New || prior_in_flight == 0 || waited {
            self.arm_tail();
        }
    }

    /// Whether nothing but the window that the peer offers holds data back.
    fn is_held_by_peer(&self) -> bool {
        let usable = self.usable_window();
        !self.board.has_lost() && self.unsent() > 0 && usable < u32::from(self.mss)
    }

    /// After the last plan of a round: sets the timers of what could not go out.
    pub fn settle(&mut self, now: Time) {
        let allowed = self.pacing_allows(now);
        let fin = self.fin_queued && !self.fin_sent && self.state.may_send();
        let waiting = self.unsent() > 0 || self.board.has_lost() || fin;
        self.pace_at = if waiting && !allowed {
            self.pacer.wake_at(now)
        } else {
            Time::NEVER
        };
        let fits = self.window_allows(u64::from(self.mss));
        let held_by_peer = self.is_held_by_peer();
        if !fits && waiting {
            self.filled = Some(self.snd_nxt);
        }
        if fits && (!waiting || held_by_peer) {
            self.board.set_app_limited();
        }
        if !(waiting && fits) || held_by_peer {
            self.pacer.on_idle();
        }
        if self.discard && self.state == State::FinWait2 && self.wait_at == Time::NEVER {
            self.wait_at = now + FIN_WAIT_2;
        }
        // If the peer's window holds everything back, it has to be probed.
        if allowed && self.retransmit_at == Time::NEVER && self.wants_probe() {
            self.retransmit_at = now + self.rtt.rto();
        }
    }
}
