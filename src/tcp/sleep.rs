//! Circuits sleep. Most circuits of a relay are idle most of the time; what recovery, pacing and reassembly need in
//! between would be most of their memory. After a while without traffic a control block is folded up to what the next
//! segment depends on, and unfolded when there is one.
//!
//! What is lost meanwhile are measurements that are stale by then: the shape of CUBIC's curve (the window and the
//! threshold stay), HyStart's round, RFC 7661's samples, and the delivery rate's.

use super::congestion::{Algorithm, Congestion};
use super::ecn::Ecn;
use super::receive_queue::ReceiveQueue;
use super::receive_window::ReceiveWindow;
use super::recovery::rack::{Rack, Reordering};
use super::recovery::rate::RateEstimator;
use super::recovery::rtt::Rtt;
use super::recovery::scoreboard::Scoreboard;
use super::send_queue::SendQueue;
use super::seq::Seq;
use super::signals::Signals;
use super::state::State;
use super::tcb::{Counters, Settings, Tcb};
use crate::pool::AccountId;
use crate::time::{Micros, SECOND, Time};

/// How long nothing has been sent or received before a circuit sleeps: longer than web pages and keep-alives pause.
pub const BEDTIME: Micros = 30 * SECOND;

/// The TCP of a circuit.
pub enum Tcp {
    /// At work.
    Awake(Box<Tcb>),
    /// Idle. It holds no blocks; the account is that of those that it will.
    Asleep(Box<Asleep>, AccountId),
}

/// What is left of an established control block that holds no data, has none in flight, and waits for nothing.
pub struct Asleep {
    last_sent: Time,
    dead_timeout: Micros,
    rate: u64,
    delivery_rate: u64,
    bytes_sent: u64,
    bytes_received: u64,
    bytes_retransmitted: u64,
    /// BBR's model of the path, which would take seconds to learn again, and the count of deliveries that it refers to.
    /// The other algorithms are rebuilt.
    model: Option<Box<(Congestion, RateEstimator)>>,
    /// If it is in use: its state, and the marks that the peer has reported.
    ecn: Option<Box<(Ecn, u64)>>,
    cwnd: u32,
    /// `u32::MAX`: none.
    ssthresh: u32,
    /// In microseconds.
    srtt: u32,
    rttvar: u32,
    min_rtt: u32,
    iss: Seq,
    irs: Seq,
    snd_nxt: Seq,
    rcv_nxt: Seq,
    snd_wl1: Seq,
    snd_wl2: Seq,
    snd_wnd: u32,
    max_snd_wnd: u32,
    window: ReceiveWindow,
    send_buffer: u32,
    segments_sent: u32,
    segments_received: u32,
    segments_retransmitted: u32,
    timeouts: u32,
    fast_recoveries: u32,
    probes: u32,
    spurious: u32,
    duplicate_segments: u32,
    rejected_segments: u32,
    announced_mss: u16,
    path_mss: u16,
    peer_mss: u16,
    mss: u16,
    largest_received: u16,
    snd_shift: u8,
    algorithm: Algorithm,
    reordering: Reordering,
    sack: bool,
    wants_ecn: bool,
    coupled: bool,
}

fn saturated(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl Tcb {
    /// Whether nothing would be lost but stale measurements, and nothing has happened for [`BEDTIME`].
    fn may_sleep(&self, now: Time) -> bool {
        let quiet = now.since(self.last_sent.max(self.acked_at)) >= BEDTIME;
        let established = self.state == State::Established && self.close_reason.is_none();
        let nothing_to_send = self.board.is_empty()
            && self.queue.len() == 0
            && self.snd_una == self.snd_nxt
            && self.queue_start == self.snd_nxt
            && self.counters.bytes_acked == self.counters.bytes_sent
            && !self.fin_queued
            && !self.write_blocked
            && !self.probe
            && !self.ack_now;
        let nothing_held = self.receive.readable() == 0
            && !self.receive.has_holes()
            && self.fin_at.is_none()
            && !self.discard
            && !self.readable_notice
            && self.duplicates.is_empty();
        let no_recovery = self.recovery.is_none() && self.unanswered_since.is_none();
        let told = self.signals.as_ref().is_none_or(|s| s.is_empty());
        quiet
            && established
            && nothing_to_send
            && nothing_held
            && no_recovery
            && told
            && self.deadline() == Time::NEVER
            && self.congestion.cwnd() < u64::from(u32::MAX)
    }

    fn fold(&self) -> Asleep {
        let c = &self.counters;
        let bbr = self.congestion.algorithm() == Algorithm::Bbr;
        Asleep {
            last_sent: self.last_sent,
            dead_timeout: self.dead_timeout,
            rate: self.rate,
            delivery_rate: self.delivery_rate,
            bytes_sent: c.bytes_sent,
            bytes_received: c.bytes_received,
            bytes_retransmitted: c.bytes_retransmitted,
            model: bbr.then(|| {
                let rate = *self.board.rate();
                Box::new((self.congestion.clone(), rate))
            }),
            ecn: self
                .ecn
                .is_on()
                .then(|| Box::new((self.ecn, c.ce_reported))),
            cwnd: saturated(self.congestion.cwnd()),
            ssthresh: saturated(self.congestion.ssthresh()),
            srtt: saturated(self.rtt.srtt()),
            rttvar: saturated(self.rtt.rttvar()),
            min_rtt: saturated(self.rtt.min()),
            iss: self.iss,
            irs: self.irs,
            snd_nxt: self.snd_nxt,
            rcv_nxt: self.receive.next(),
            snd_wl1: self.snd_wl1,
            snd_wl2: self.snd_wl2,
            snd_wnd: self.snd_wnd,
            max_snd_wnd: self.max_snd_wnd,
            window: self.window,
            send_buffer: saturated(self.send_buffer as u64),
            segments_sent: saturated(c.segments_sent),
            segments_received: saturated(c.segments_received),
            segments_retransmitted: saturated(c.segments_retransmitted),
            timeouts: saturated(c.timeouts),
            fast_recoveries: saturated(c.fast_recoveries),
            probes: saturated(c.probes),
            spurious: saturated(c.spurious),
            duplicate_segments: saturated(c.duplicate_segments),
            rejected_segments: saturated(c.rejected_segments),
            announced_mss: self.announced_mss,
            path_mss: self.path_mss,
            peer_mss: self.peer_mss,
            mss: self.mss,
            largest_received: self.largest_received,
            snd_shift: self.snd_shift,
            algorithm: self.congestion.algorithm(),
            reordering: self.rack.reordering(),
            sack: self.sack,
            wants_ecn: self.ecn.is_wanted(),
            coupled: self.signals.is_some(),
        }
    }
}

impl Asleep {
    fn unfold(&self, account: AccountId) -> Tcb {
        let settings = Settings {
            mss: self.announced_mss,
            send_buffer: self.send_buffer as usize,
            receive_buffer: 0,
            congestion: self.algorithm,
            dead_timeout: self.dead_timeout,
            srtt: Micros::from(self.srtt),
            rttvar: Micros::from(self.rttvar),
            ecn: self.wants_ecn,
        };
        let mut tcb = Tcb::new(&settings, self.iss, State::Established);
        tcb.snd_una = self.snd_nxt;
        tcb.snd_nxt = self.snd_nxt;
        tcb.queue_start = self.snd_nxt;
        tcb.round_end = self.snd_nxt;
        tcb.snd_wnd = self.snd_wnd;
        tcb.snd_wl1 = self.snd_wl1;
        tcb.snd_wl2 = self.snd_wl2;
        tcb.snd_shift = self.snd_shift;
        tcb.max_snd_wnd = self.max_snd_wnd;
        tcb.mss = self.mss;
        tcb.path_mss = self.path_mss;
        tcb.peer_mss = self.peer_mss;
        tcb.rtt = Rtt::kept(self.srtt.into(), self.rttvar.into(), self.min_rtt.into());
        tcb.rack = Rack::new(self.reordering);
        if let Some(ecn) = &self.ecn {
            (tcb.ecn, tcb.counters.ce_reported) = **ecn;
        }
        tcb.signals = self.coupled.then(Box::<Signals>::default);
        if let Some(model) = &self.model {
            let (congestion, rate) = (**model).clone();
            tcb.congestion = congestion;
            tcb.board = Scoreboard::new(rate);
        } else {
            tcb.congestion =
                Congestion::new(self.algorithm, self.mss, self.srtt.into(), self.iss.0);
            tcb.congestion.restore(self.cwnd.into(), self.threshold());
        }
        tcb.congestion.set_mss(self.mss, false);
        tcb.sack = self.sack;
        tcb.delivery_rate = self.delivery_rate;
        tcb.rate = self.rate;
        tcb.last_sent = self.last_sent;
        tcb.irs = self.irs;
        tcb.queue = SendQueue::new(account);
        tcb.receive = ReceiveQueue::new(self.rcv_nxt, account);
        tcb.window = self.window;
        tcb.acked_at = self.last_sent;
        tcb.largest_received = self.largest_received;
        tcb.counters = Counters {
            bytes_sent: self.bytes_sent,
            bytes_acked: self.bytes_sent,
            bytes_received: self.bytes_received,
            bytes_retransmitted: self.bytes_retransmitted,
            segments_sent: self.segments_sent.into(),
            segments_received: self.segments_received.into(),
            segments_retransmitted: self.segments_retransmitted.into(),
            timeouts: self.timeouts.into(),
            fast_recoveries: self.fast_recoveries.into(),
            probes: self.probes.into(),
            spurious: self.spurious.into(),
            ce_reported: tcb.counters.ce_reported,
            duplicate_segments: self.duplicate_segments.into(),
            rejected_segments: self.rejected_segments.into(),
        };
        tcb
    }

    fn threshold(&self) -> u64 {
        if self.ssthresh == u32::MAX {
            u64::MAX
        } else {
            self.ssthresh.into()
        }
    }
}

impl Tcp {
    /// Awake.
    pub fn new(tcb: Tcb) -> Tcp {
        Tcp::Awake(Box::new(tcb))
    }

    /// The control block, which is woken for whatever may change it.
    pub fn wake(&mut self) -> &mut Tcb {
        if let Tcp::Asleep(asleep, account) = self {
            *self = Tcp::new(asleep.unfold(*account));
        }
        match self {
            Tcp::Awake(tcb) => tcb,
            Tcp::Asleep(..) => unreachable!("it was woken"),
        }
    }

    /// The control block, unless it sleeps: then it holds no data, has none in flight, and waits for nothing.
    pub fn awake(&self) -> Option<&Tcb> {
        match self {
            Tcp::Awake(tcb) => Some(tcb),
            Tcp::Asleep(..) => None,
        }
    }

    /// The same, to be changed.
    pub fn awake_mut(&mut self) -> Option<&mut Tcb> {
        match self {
            Tcp::Awake(tcb) => Some(tcb),
            Tcp::Asleep(..) => None,
        }
    }

    /// Looks at the control block without waking it: of one that sleeps a copy is made.
    pub fn look<R>(&self, look: impl FnOnce(&Tcb) -> R) -> R {
        match self {
            Tcp::Awake(tcb) => look(tcb),
            Tcp::Asleep(asleep, account) => look(&asleep.unfold(*account)),
        }
    }

    /// Lets it sleep, if it has been idle for [`BEDTIME`]. Returns whether it sleeps.
    pub fn sleep(&mut self, now: Time) -> bool {
        if let Tcp::Awake(tcb) = self
            && tcb.may_sleep(now)
        {
            *self = Tcp::Asleep(Box::new(tcb.fold()), tcb.account());
        }
        matches!(self, Tcp::Asleep(..))
    }

    /// What the path carries has become known; see [`Tcb::set_path_mss`].
    pub fn set_path_mss(&mut self, mss: u16) {
        match self {
            Tcp::Awake(tcb) => tcb.set_path_mss(mss),
            Tcp::Asleep(asleep, _) => {
                asleep.path_mss = mss;
                asleep.mss = mss.min(asleep.peer_mss);
            }
        }
    }

    /// The control block, awake.
    #[cfg(test)]
    pub fn into_tcb(self) -> Tcb {
        match self {
            Tcp::Awake(tcb) => *tcb,
            Tcp::Asleep(asleep, account) => asleep.unfold(account),
        }
    }

    /// Whether the siblings' common window is the limit.
    pub fn is_coupled(&self) -> bool {
        match self {
            Tcp::Awake(tcb) => tcb.is_coupled(),
            Tcp::Asleep(asleep, _) => asleep.coupled,
        }
    }
}
