//! The transmission control block of one circuit, as the relay sees it: open, read, write, finish, close, abort.

use super::congestion::{Algorithm, Congestion, INITIAL_WINDOW};
use super::ecn::Ecn;
use super::output::Reset;
use super::pacing::Pacer;
use super::receive_queue::ReceiveQueue;
use super::receive_window::ReceiveWindow;
use super::recovery::frto::Frto;
use super::recovery::prr::Prr;
use super::recovery::rack::Rack;
use super::recovery::rtt::Rtt;
use super::recovery::scoreboard::{Scoreboard, Sent};
use super::recovery::tlp;
use super::recovery::undo::Undo;
use super::segment::{SackBlocks, Segment};
use super::send_queue::SendQueue;
use super::seq::Seq;
use super::signals::Signals;
use super::state::State;
use crate::error::{CloseReason, Error};
use crate::pool::{AccountId, NOBODY, Pool};
use crate::stats::CircuitInfo;
use crate::time::{Micros, SECOND, Time};

/// How long TIME-WAIT lasts. The wire identifier is not reused and DTLS refuses replays, so it only has to outlive the
/// peer's retransmissions of its FIN (RFC 9293 section 3.6.1 says 2 MSL, 4 minutes).
pub const TIME_WAIT: Micros = 60 * SECOND;

/// Unsent octets that are taken in however small the congestion window is.
const MIN_UNSENT: u64 = 16 * 1024;

/// What a circuit starts with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The largest segment (options and data) that our datagrams may ever carry: announced, and a bound for what is sent
    /// until [`Tcb::set_path_mss`] says what the path carries.
    pub mss: u16,
    /// Octets held for sending.
    pub send_buffer: usize,
    /// The largest receive window.
    pub receive_buffer: usize,
    /// Congestion control.
    pub congestion: Algorithm,
    /// How long sent data may stay unanswered.
    pub dead_timeout: Micros,
    /// Smoothed round-trip time and deviation of the siblings, zero if unknown.
    pub srtt: Micros,
    /// See `srtt`.
    pub rttvar: Micros,
    /// The caller marks datagrams as ECN-capable and sees the marks of those that arrive.
    pub ecn: bool,
}

/// Counters of one circuit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub bytes_sent: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub bytes_retransmitted: u64,
    pub segments_sent: u64,
    pub segments_received: u64,
    pub segments_retransmitted: u64,
    pub timeouts: u64,
    pub fast_recoveries: u64,
    pub probes: u64,
    pub spurious: u64,
    pub ce_reported: u64,
    pub duplicate_segments: u64,
    pub rejected_segments: u64,
}

/// Fast recovery or recovery after a timeout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    /// Over when everything below is acknowledged (RecoveryPoint).
    pub end: Seq,
    /// Fast recovery; `None` after a timeout, when slow start sets the pace.
    pub prr: Option<Prr>,
    /// After a timeout: it is not known yet whether anything was lost.
    pub frto: Option<Frto>,
}

/// The transmission control block. Names are those of RFC 9293 section 3.3.1.
pub struct Tcb {
    pub(super) state: State,
    pub(super) close_reason: Option<CloseReason>,
    pub(super) dead_timeout: Micros,

    // Send side.
    pub(super) iss: Seq,
    pub(super) snd_una: Seq,
    pub(super) snd_nxt: Seq,
    pub(super) snd_wnd: u32,
    pub(super) snd_wl1: Seq,
    pub(super) snd_wl2: Seq,
    pub(super) snd_shift: u8,
    pub(super) max_snd_wnd: u32,
    /// The largest segment (options and data) that the path carries and the peer takes.
    pub(super) mss: u16,
    /// What our SYN says.
    pub(super) announced_mss: u16,
    /// What the path carries.
    pub(super) path_mss: u16,
    /// What the peer takes.
    pub(super) peer_mss: u16,
    /// The circuit number announced on our SYN, if we open.
    pub(super) number: Option<u32>,
    pub(super) queue: SendQueue,
    /// The sequence number of the queue's first octet.
    pub(super) queue_start: Seq,
    pub(super) send_buffer: usize,
    /// A FIN follows the queue.
    pub(super) fin_queued: bool,
    pub(super) fin_sent: bool,
    /// The last write was cut short: tell when there is room.
    pub(super) write_blocked: bool,
    pub(super) board: Scoreboard,
    pub(super) rtt: Rtt,
    pub(super) rack: Rack,
    pub(super) recovery: Option<Recovery>,
    /// The last reduction of the window, as long as it may turn out to have been for nothing.
    pub(super) undo: Undo,
    /// A tail loss probe that is not accounted for.
    pub(super) tail: Option<tlp::Probe>,
    /// Octets delivered when the last one was sent: without any since, the next would only put the timeout off.
    pub(super) probed_at: Option<u64>,
    pub(super) ecn: Ecn,
    pub(super) congestion: Congestion,
    /// The siblings' common window is the limit, not our own: what happens is told to it.
    pub(super) signals: Option<Box<Signals>>,
    /// SND.NXT when the congestion window last held something back.
    pub(super) filled: Option<Seq>,
    /// A round trip is over when this is acknowledged.
    pub(super) round_end: Seq,
    /// The peer takes SACK blocks and sends them.
    pub(super) sack: bool,
    /// Duplicate acknowledgements in a row, for peers without SACK.
    pub(super) duplicate_acks: u8,
    pub(super) delivery_rate: u64,
    /// Octets per second at most, zero for no cap.
    pub(super) rate: u64,
    pub(super) pacer: Pacer,
    pub(super) last_sent: Time,

    // Receive side.
    pub(super) irs: Seq,
    pub(super) receive: ReceiveQueue,
    pub(super) window: ReceiveWindow,
    /// The sequence number of the peer's FIN, once it was seen.
    pub(super) fin_at: Option<Seq>,
    pub(super) fin_received: bool,
    /// Received data was thrown away unread, since the connection did not end in order.
    pub(super) truncated: bool,
    /// Arriving data is thrown away: the relay has closed.
    pub(super) discard: bool,
    pub(super) ack_now: bool,
    /// Octets received since the last acknowledgement was sent, and when that was.
    pub(super) unacked: u32,
    pub(super) acked_at: Time,
    /// The last segment with data emptied the peer's queue (PSH).
    pub(super) pushed: bool,
    /// The most data that came in one segment.
    pub(super) largest_received: u16,
    /// What arrived a second time, to be reported (RFC 2883), one with each acknowledgement.
    pub(super) duplicates: SackBlocks,
    /// Segments that are acknowledged at once, while the peer is in slow start.
    pub(super) quick_acks: u8,
    pub(super) last_challenge: Option<Time>,

    // Timers; `Time::NEVER` when off.
    pub(super) retransmit_at: Time,
    pub(super) reorder_at: Time,
    /// When the retransmission timer last fired.
    pub(super) timeout_at: Time,
    /// When it had fired before that.
    pub(super) timeout_before: Time,
    /// SND.UNA then: a further timeout for the same segment is no further sign of congestion.
    pub(super) timed_out: Option<Seq>,
    /// A tail loss probe is due.
    pub(super) tail_at: Time,
    pub(super) ack_at: Time,
    /// When pacing lets the next segment out.
    pub(super) pace_at: Time,
    pub(super) wait_at: Time,
    /// A zero-window or liveness probe is due.
    pub(super) probe: bool,
    /// Since when an answer has been missing.
    pub(super) unanswered_since: Option<Time>,

    // Notices for the layer above, until taken.
    pub(super) readable_notice: bool,
    pub(super) counters: Counters,
}

impl Tcb {
    pub(super) fn new(settings: &Settings, iss: Seq, state: State) -> Tcb {
        Tcb {
            state,
            close_reason: None,
            dead_timeout: settings.dead_timeout,
            iss,
            snd_una: iss,
            snd_nxt: iss,
            snd_wnd: 0,
            snd_wl1: Seq(0),
            snd_wl2: Seq(0),
            snd_shift: 0,
            max_snd_wnd: 0,
            mss: settings.mss,
            announced_mss: settings.mss,
            path_mss: settings.mss,
            peer_mss: u16::MAX,
            number: None,
            queue: SendQueue::default(),
            queue_start: iss + 1,
            send_buffer: settings.send_buffer,
            fin_queued: false,
            fin_sent: false,
            write_blocked: false,
            board: Scoreboard::default(),
            rtt: if settings.srtt == 0 {
                Rtt::default()
            } else {
                Rtt::seeded(settings.srtt, settings.rttvar)
            },
            rack: Rack::default(),
            recovery: None,
            undo: Undo::default(),
            tail: None,
            probed_at: None,
            ecn: Ecn::new(settings.ecn),
            signals: None,
            filled: None,
            round_end: iss,
            congestion: Congestion::new(settings.congestion, settings.mss, settings.srtt, iss.0),
            sack: false,
            duplicate_acks: 0,
            delivery_rate: 0,
            rate: 0,
            pacer: Pacer::default(),
            last_sent: Time(0),
            irs: Seq(0),
            receive: ReceiveQueue::new(Seq(0), NOBODY),
            window: ReceiveWindow::new(settings.receive_buffer),
            fin_at: None,
            fin_received: false,
            truncated: false,
            discard: false,
            ack_now: false,
            unacked: 0,
            acked_at: Time(0),
            pushed: false,
            largest_received: 0,
            duplicates: SackBlocks::default(),
            quick_acks: 0,
            last_challenge: None,
            retransmit_at: Time::NEVER,
            reorder_at: Time::NEVER,
            timeout_at: Time(0),
            timeout_before: Time(0),
            timed_out: None,
            tail_at: Time::NEVER,
            ack_at: Time::NEVER,
            pace_at: Time::NEVER,
            wait_at: Time::NEVER,
            probe: false,
            unanswered_since: None,
            readable_notice: false,
            counters: Counters::default(),
        }
    }

    /// Active open: the SYN goes out with the first output, and carries what was written by then.
    pub fn open(settings: &Settings, iss: Seq, number: Option<u32>) -> Tcb {
        let mut tcb = Tcb::new(settings, iss, State::SynSent);
        tcb.number = number;
        tcb
    }

    /// Passive open by a SYN (without ACK): its data is taken in at once, since DTLS has authenticated the peer.
    pub fn accept(
        settings: &Settings,
        iss: Seq,
        now: Time,
        pool: &mut Pool,
        syn: &Segment<'_>,
    ) -> Tcb {
        Tcb::accept_for(NOBODY, settings, iss, now, pool, syn, None)
    }

    /// The same; its blocks are counted to `account`. `plain` as for [`Tcb::receive_from`].
    pub fn accept_for(
        account: AccountId,
        settings: &Settings,
        iss: Seq,
        now: Time,
        pool: &mut Pool,
        syn: &Segment<'_>,
        plain: Option<&[u8]>,
    ) -> Tcb {
        let mut tcb = Tcb::new(settings, iss, State::SynReceived);
        tcb.set_account(account);
        tcb.counters.segments_received = 1;
        tcb.take_syn(pool, syn);
        tcb.take_data(now, pool, syn, plain);
        tcb
    }

    /// Counts its blocks to this account. It holds none yet.
    pub fn set_account(&mut self, account: AccountId) {
        self.queue = SendQueue::new(account);
        self.receive = ReceiveQueue::new(self.receive.next(), account);
    }

    /// To which its blocks are counted.
    pub fn account(&self) -> AccountId {
        self.receive.account()
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it ended, once it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.close_reason
    }

    /// RCV.NXT.
    pub fn rcv_nxt(&self) -> Seq {
        self.receive.next() + u32::from(self.fin_received)
    }

    /// SND.NXT.
    pub fn snd_nxt(&self) -> Seq {
        self.snd_nxt
    }

    // ---- writing ----

    /// Octets not sent yet.
    pub(super) fn unsent(&self) -> u32 {
        // After the end the queue is empty, though not all of it was sent.
        if self.fin_sent || self.state == State::Closed {
            return 0;
        }
        let end = self.queue_start + self.queue.len() as u32;
        end - self.snd_nxt.max(self.queue_start)
    }

    /// The circuit's own congestion window; with a common one, what it has in flight, which is its share.
    fn own_window(&self) -> u64 {
        match self.signals {
            Some(_) => self.board.in_flight(),
            None => self.congestion.cwnd(),
        }
    }

    /// Octets that are taken in ahead of what was sent: about one window, the smaller of ours and the peer's.
    fn ahead(&self) -> u64 {
        let window = self.own_window().min(u64::from(self.max_snd_wnd));
        window.max(MIN_UNSENT)
    }

    /// Octets that can be written now. No more is taken in than about one window ahead, so that what waits, waits with
    /// the relay, which can still choose.
    pub fn room(&self) -> usize {
        let sending = matches!(self.state, State::SynSent) || self.state.may_send();
        if !sending || self.fin_queued {
            return 0;
        }
        let ahead = self.ahead().saturating_sub(u64::from(self.unsent()));
        self.send_buffer
            .saturating_sub(self.queue.len())
            .min(usize::try_from(ahead).unwrap_or(usize::MAX))
    }

    /// Queues data; returns how much was taken.
    ///
    /// # Errors
    /// [`Error::Closed`] after the end, [`Error::State`] after `finish`, [`Error::WouldBlock`] when nothing was taken.
    pub fn write(&mut self, pool: &mut Pool, data: &[u8]) -> Result<usize, Error> {
        if self.state == State::Closed || self.close_reason.is_some() {
            return Err(Error::Closed);
        }
        if self.fin_queued {
            return Err(Error::State);
        }
        if data.is_empty() {
            return Ok(0);
        }
        let room = self.room();
        let taken = self.queue.push(pool, &data[..data.len().min(room)]);
        self.write_blocked = taken < data.len();
        if taken == 0 {
            Err(Error::WouldBlock)
        } else {
            Ok(taken)
        }
    }

    /// Whether a writer that was cut short should be told now: half of the room is free again.
    pub fn take_writable(&mut self) -> bool {
        if !self.write_blocked {
            return false;
        }
        let whole = (self.send_buffer as u64).min(self.ahead());
        let due = self.room() as u64 * 2 >= whole;
        self.write_blocked = !due;
        due
    }

    /// A writer is to be told later, although the windows have room.
    pub fn block_writer(&mut self) {
        self.write_blocked = true;
    }

    /// Half-close: a FIN follows what was written.
    pub fn finish(&mut self) {
        self.fin_queued = true;
        self.write_blocked = false;
    }

    // ---- reading ----

    /// Octets that can be read.
    pub fn readable(&self) -> usize {
        self.receive.readable()
    }

    /// Whether the peer has finished and everything was read.
    pub fn at_end(&self) -> bool {
        self.fin_received && self.receive.readable() == 0 && !self.truncated
    }

    /// New data, or the end, has arrived since this was last asked.
    pub fn take_readable(&mut self) -> bool {
        std::mem::take(&mut self.readable_notice)
    }

    /// Copies what was received in order.
    ///
    /// # Errors
    /// [`Error::End`] when the peer has finished, [`Error::WouldBlock`] when there is nothing, [`Error::Closed`] after
    /// a reset or time-out.
    pub fn read(&mut self, pool: &mut Pool, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.receive.readable() == 0 {
            return Err(if self.at_end() {
                Error::End
            } else if self.state == State::Closed || self.discard {
                Error::Closed
            } else {
                Error::WouldBlock
            });
        }
        let n = self.receive.read(pool, buffer);
        Ok(n)
    }

    // ---- ending ----

    /// Finishes, and throws away what still arrives.
    pub fn close(&mut self, pool: &mut Pool) {
        self.finish();
        self.discard = true;
        self.receive.discard(pool);
    }

    /// Whether [`Tcb::close`] was called.
    pub fn is_closing(&self) -> bool {
        self.discard
    }

    /// Ends at once; returns the reset to be sent if the peer knows of us.
    pub fn abort(&mut self, pool: &mut Pool, reason: CloseReason) -> Option<Reset> {
        let known = match self.state {
            State::Closed | State::TimeWait => false,
            State::SynSent => !self.board.is_empty(),
            _ => true,
        };
        let reset = known.then(|| Reset {
            seq: self.snd_nxt,
            ack: (self.state != State::SynSent).then(|| self.rcv_nxt()),
        });
        self.end(pool, reason);
        reset
    }

    /// Enters CLOSED. Data received in order stays readable after an orderly end only.
    pub(super) fn end(&mut self, pool: &mut Pool, reason: CloseReason) {
        self.state = State::Closed;
        self.close_reason.get_or_insert(reason);
        self.queue.clear(pool);
        self.board.clear();
        if reason != CloseReason::Done {
            self.truncated |= self.receive.readable() > 0;
            self.receive.clear(pool);
        }
        self.stop_timers();
        self.ack_now = false;
        self.probe = false;
    }

    pub(super) fn stop_timers(&mut self) {
        self.retransmit_at = Time::NEVER;
        self.reorder_at = Time::NEVER;
        self.tail_at = Time::NEVER;
        self.ack_at = Time::NEVER;
        self.pace_at = Time::NEVER;
        self.wait_at = Time::NEVER;
    }

    /// Both directions are finished; only the peer's FIN may come again.
    pub(super) fn enter_time_wait(&mut self, now: Time) {
        self.state = State::TimeWait;
        self.close_reason = Some(CloseReason::Done);
        self.stop_timers();
        self.wait_at = now + TIME_WAIT;
    }

    /// Gives all memory back, whatever the state.
    pub fn release(&mut self, pool: &mut Pool) {
        self.queue.clear(pool);
        self.receive.clear(pool);
        self.board.clear();
    }

    /// Forgets out-of-order data, which the peer will send again; returns octets freed.
    pub fn renege(&mut self, pool: &mut Pool) -> u64 {
        let before = pool.in_use();
        self.receive.renege(pool);
        // Without what was around it, a report of a duplicate would say that it is held.
        self.duplicates = SackBlocks::default();
        before - pool.in_use()
    }

    // ---- settings at run time ----

    /// Changes congestion control.
    pub fn set_congestion(&mut self, algorithm: Algorithm) {
        self.congestion.switch(algorithm, self.rtt.srtt());
    }

    /// Caps the sending rate in octets per second; zero removes the cap.
    pub fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
        self.pacer.reset();
    }

    /// The largest segment (options and data) that the path carries has become known, or has changed. Of segments that
    /// have to be sent again, larger ones are cut.
    pub fn set_path_mss(&mut self, mss: u16) {
        self.path_mss = mss;
        let mss = mss.min(self.peer_mss);
        if mss != self.mss {
            let initial = INITIAL_WINDOW * u64::from(self.mss);
            let untouched = self.recovery.is_none() && self.congestion.cwnd() == initial;
            self.mss = mss;
            self.congestion.set_mss(mss, untouched);
        }
    }

    /// The path has stopped to carry segments of the size that was sent, and [`Tcb::set_path_mss`] was told: what is
    /// outstanding for that is sent again at once, without a (further) sign of congestion.
    pub fn path_shrank(&mut self, now: Time) {
        let timed_out = self.rtt.backoff() > 0;
        let too_large = |s: &Sent| s.len > u32::from(self.mss);
        if !timed_out && !self.board.first().is_some_and(too_large) {
            return;
        }
        // Of what was sent a moment ago, small segments may be about to be acknowledged.
        let until = if timed_out {
            now
        } else {
            now - self.rtt.srtt()
        };
        if self.board.mark_lost_until(until, |_, _| {}) > 0 || timed_out {
            self.rtt.reset_backoff();
            if let Some(recovery) = &mut self.recovery {
                recovery.frto = None;
            }
            if self.retransmit_at != Time::NEVER {
                self.retransmit_at = now + self.rtt.rto();
            }
        }
    }

    /// Octets held for sending.
    pub fn set_send_buffer(&mut self, octets: usize) {
        self.send_buffer = octets;
    }

    /// The largest receive window.
    pub fn set_receive_buffer(&mut self, octets: usize) {
        self.window.set_most(octets);
    }

    /// Round-trip time estimator.
    pub fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// Whether data is held out of order.
    pub fn holds_out_of_order(&self) -> bool {
        self.receive.has_holes()
    }

    /// Octets in the network.
    pub fn in_flight(&self) -> u64 {
        self.board.in_flight()
    }

    /// Whether what it sends next is of its initial window.
    pub fn is_fresh(&self) -> bool {
        let initial = INITIAL_WINDOW * u64::from(self.mss);
        u64::from(self.snd_nxt - self.iss) < initial && self.counters.bytes_sent < initial
    }

    /// Octets found lost so far.
    pub fn bytes_lost(&self) -> u64 {
        self.board.rate().lost()
    }

    /// Whether data of its is where it was decrypted ([`crate::pool::Arrivals`]).
    pub fn has_arrivals(&self) -> bool {
        self.receive.has_pieces()
    }

    /// Moves it into blocks.
    pub fn settle_arrivals(&mut self, pool: &mut Pool) {
        self.receive.settle(pool, None);
    }

    /// Until when an acknowledgement is held back, if one is, and whether for a segment after which the peer had nothing
    /// more to send.
    pub fn delayed_ack(&self) -> Option<(Time, bool)> {
        let is_delayed = self.ack_at != Time::NEVER && !self.ack_now;
        is_delayed.then_some((self.ack_at, self.pushed))
    }

    /// An acknowledgement that is held back is to leave now, like one that was to leave anyway. Returns whether there is any.
    pub fn hurry_ack(&mut self) -> bool {
        self.ack_now |= self.ack_at != Time::NEVER;
        self.ack_now
    }

    /// Whether the path seems to drop what routers may mark (ECT), and only that.
    pub fn finds_ect_dropped(&self) -> bool {
        self.ecn.is_black_hole()
    }

    /// Whether the siblings' common window is the limit.
    pub fn is_coupled(&self) -> bool {
        self.signals.is_some()
    }

    /// Octets acknowledged so far.
    pub fn bytes_acked(&self) -> u64 {
        self.counters.bytes_acked
    }

    /// From now on the siblings' common window is the limit (`true`), or the circuit's own (`false`).
    ///
    /// Its own window was not kept up to date meanwhile: it starts with the share that it had, or an initial window.
    pub fn set_coupled(&mut self, now: Time, coupled: bool) {
        if coupled == self.signals.is_some() {
            return;
        }
        let flight = self.board.in_flight();
        let recovers = self.recovery.is_some_and(|r| r.prr.is_some());
        if coupled {
            if recovers {
                self.congestion.on_recovered(now);
            }
        } else {
            let initial = INITIAL_WINDOW * u64::from(self.mss);
            let share = flight.max(initial).min(self.congestion.cwnd());
            self.congestion.set_cwnd(share);
            if recovers {
                let delivered = self.board.rate().delivered();
                self.congestion.on_congestion(now, flight, delivered);
                self.congestion.on_confirmed();
            }
        }
        self.signals = coupled.then(Box::default);
        self.board.void_departures();
        self.pacer.reset();
    }

    /// What has happened since, for the siblings' common window; nothing if it has its own.
    pub fn take_signals(&mut self) -> Option<Signals> {
        self.signals.as_deref_mut().map(std::mem::take)
    }

    /// Octets queued in both directions.
    pub fn queued(&self) -> usize {
        self.queue.len() + self.receive.readable() + self.receive.out_of_order()
    }

    /// Octets received in order so far.
    pub fn bytes_received(&self) -> u64 {
        self.counters.bytes_received
    }

    /// Everything about it; `number` and `wire_id` are for the caller to fill in.
    pub fn info(&self) -> CircuitInfo {
        let c = &self.counters;
        CircuitInfo {
            number: 0,
            wire_id: 0,
            state: self.state as u32,
            congestion: self.congestion.algorithm() as u32,
            mss: u32::from(self.mss),
            cwnd: self.congestion.cwnd(),
            ssthresh: self.congestion.ssthresh(),
            bytes_in_flight: self.board.in_flight(),
            send_window: u64::from(self.snd_wnd),
            receive_window: u64::from(self.window.edge() - self.rcv_nxt().min(self.window.edge())),
            srtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.min(),
            rto: self.rtt.rto(),
            send_queue: self.queue.len() as u64,
            unsent: u64::from(self.unsent()),
            receive_queue: self.receive.readable() as u64,
            out_of_order: self.receive.out_of_order() as u64,
            bytes_sent: c.bytes_sent,
            bytes_acked: c.bytes_acked,
            bytes_received: c.bytes_received,
            bytes_retransmitted: c.bytes_retransmitted,
            segments_sent: c.segments_sent,
            segments_received: c.segments_received,
            segments_retransmitted: c.segments_retransmitted,
            timeouts: c.timeouts,
            fast_recoveries: c.fast_recoveries,
            tail_loss_probes: c.probes,
            spurious_recoveries: c.spurious,
            ecn: self.ecn.is_on(),
            ce_reported: c.ce_reported,
            ce_received: u64::from(self.ecn.received()),
            coupled: self.is_coupled(),
            pacing_rate: self.pacing_rate().unwrap_or(0),
            duplicate_segments: c.duplicate_segments,
            rejected_segments: c.rejected_segments,
            delivery_rate: self.delivery_rate,
        }
    }
}
