//! Cruising without a queue of one's own.
//!
//! The estimate of the bandwidth is the highest of thousands of samples, and what is heard a little late or early makes some
//! of them too high: by 4 to 7 % in an event loop that has other work. The excess would stand in the queue of the path, up to
//! the window, until the next probe overflows it; and no sample would come near the minimum round-trip time, so that ProbeRTT
//! would be due every five seconds. With a queue a round delivers what the path gives to this flow, exactly, and that is
//! what the flow cruises at until the next probe; slower, until the queue is gone. At least nine tenths of the estimate,
//! whatever is measured, so that flows that keep a queue themselves cannot push this one aside.

use super::model::{rate, scale};
use super::{Ack, Bbr, INFINITE, State};
use crate::time::{MILLISECOND, Micros, Time};

/// The least round-trip time of a round above the minimum, as its divisor, and at least, that shows a queue.
const QUEUE_DIVISOR: u64 = 16;
const QUEUE: Micros = 2 * MILLISECOND;
/// A sample so close to the minimum, as its divisor, shows that it is gone.
const GONE_DIVISOR: u64 = 32;
/// What is paced meanwhile, and the least that is cruised at, in per cent.
const DRAINING_GAIN: u64 = 90;
const LEAST: u64 = 90;

/// What has shown itself since the last probe.
#[derive(Clone, Debug, Default)]
pub(super) struct Cruise {
    /// Octets delivered in whole rounds with a queue, and how long these were.
    delivered: u64,
    span: Micros,
    /// When the round began, and how much was delivered then.
    round: Option<(Time, u64)>,
    draining: bool,
}

impl Bbr {
    /// Looks at the queue; called with every acknowledgement, after the state is known.
    pub(super) fn update_cruise(&mut self, ack: &Ack) {
        match self.state {
            State::ProbeBwCruise => {}
            State::ProbeBwDown => {
                self.cruise.round = None;
                return;
            }
            _ => {
                self.cruise = Cruise::default();
                return;
            }
        }
        let queued = self.has_own_queue();
        if self.rounds.start {
            if let Some((at, delivered)) = self.cruise.round
                && queued
            {
                self.cruise.delivered += self.delivered.saturating_sub(delivered);
                self.cruise.span += ack.now.since(at);
            }
            self.cruise.round = Some((ack.now, self.delivered));
        }
        let min = self.min_rtt.get();
        let gone = ack
            .rtt
            .is_some_and(|rtt| rtt <= min.saturating_add(min / GONE_DIVISOR));
        self.cruise.draining = (self.cruise.draining || queued) && !gone;
    }

    /// The rate to send at while cruising.
    pub(super) fn cruise_bw(&self) -> u64 {
        if self.cruise.span == 0 {
            return self.bw;
        }
        let measured = rate(self.cruise.delivered, self.cruise.span);
        measured.max(scale(self.bw, LEAST)).min(self.bw)
    }

    /// The pacing gain while cruising, in per cent.
    pub(super) fn cruise_gain(&self) -> u64 {
        if self.cruise.draining {
            DRAINING_GAIN
        } else {
            100
        }
    }

    /// Whether every packet of this round and the last has waited, by more than their delays vary.
    fn has_own_queue(&self) -> bool {
        let least = self.rounds.least_rtt();
        let min = self.min_rtt.get();
        let allowed = (min / QUEUE_DIVISOR).max(QUEUE);
        least != INFINITE && least > min.saturating_add(allowed + self.rounds.spread)
    }
}
