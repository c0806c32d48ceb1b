//! The largest datagram that the path carries, found by probing: Datagram Packetization Layer Path MTU Discovery (RFC
//! 8899), the state machine of its section 5 without clock, socket or TCP. Sizes are octets of UDP payload.
//!
//! A probe is a datagram of a certain size that the peer answers (docs/tortp.md, section 8). It carries no data, and its
//! loss is no sign of congestion.
//!
//! ```text
//! Base ------------> Searching <------> SearchComplete
//!   what is in use     upwards            for PMTU_RAISE_TIMER
//!   arrives?
//!   ^                    |                   |
//!   +---- black hole: what is in use does not arrive any more, but an empty probe does
//! ```
//!
//! A size is given up after [`MAX_PROBES`] unanswered probes, and only if an empty probe, the control, was answered
//! meanwhile: of a path that carries nothing at all, or a peer that answers no probes, nothing is learned.

use crate::time::{MILLISECOND, Micros, SECOND, Time};

/// Unanswered probes of a size after which it is held to be too large (RFC 8899 section 5.1.2).
pub const MAX_PROBES: u8 = 3;
/// What is used until the peer was heard, and after a black hole (RFC 8899 section 5.1.2).
pub const BASE_PLPMTU: usize = 1_200;
/// What is used if not even the base arrives: an IPv4 packet that everybody takes, without its headers (RFC 1122
/// section 3.3.2).
pub const MIN_PLPMTU: usize = 548;
/// How long a complete search stands before larger datagrams are tried again (RFC 8899 section 5.1.1).
pub const PMTU_RAISE_TIMER: Micros = 600 * SECOND;
/// How long nothing is tried after probes brought no insight. Doubled each time, up to [`PMTU_RAISE_TIMER`], as long as
/// the peer has never answered one.
const FIRST_RETRY: Micros = 10 * SECOND;
/// How long the answer to a padded probe may come after the one to its control at least.
const LEAST_WAIT: Micros = 20 * MILLISECOND;
/// How long the size in use is beyond doubt after it was confirmed.
const CONFIRMED_FOR: Micros = SECOND;

/// The states of RFC 8899 section 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is probed; the configured size is used.
    Disabled,
    /// The size in use waits for its confirmation.
    Base,
    /// Larger datagrams are tried.
    Searching,
    /// The largest is found.
    SearchComplete,
    /// The base does not arrive.
    Error,
}

/// A probe to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// UDP payload to be padded to; zero for a probe without padding.
    pub size: usize,
    /// What the peer's answer has to say.
    pub token: u32,
}

/// A size under test.
#[derive(Clone, Copy, Debug)]
struct Test {
    /// PROBED_SIZE.
    size: usize,
    /// PROBE_COUNT.
    count: u8,
    /// PROBE_TIMER.
    at: Time,
    /// A probe of the size, and one without padding, are to be sent.
    probe_due: bool,
    control_due: bool,
    /// Tokens, once one was sent. All probes of a test have the same: an answer that is late is as good.
    token: Option<u32>,
    control_token: Option<u32>,
    /// When the last control was sent.
    control_at: Time,
    control_answered: bool,
}

/// What is known of the path's MTU, and what is being found out.
#[derive(Clone, Debug)]
pub struct PathMtu {
    state: State,
    /// PLPMTU: in use.
    plpmtu: usize,
    /// Used from the moment that the peer is heard.
    start: usize,
    base: usize,
    min: usize,
    /// MAX_PLPMTU.
    max: usize,
    /// The smallest size that is held not to pass; above `max` if there is none.
    too_large: usize,
    /// The peer was heard.
    begun: bool,
    test: Option<Test>,
    /// The last size that was given up, and its token, in case its answer was only late.
    given_up: Option<(u32, usize)>,
    /// The tokens of the last test, whose answers may still come.
    past: [Option<u32>; 2],
    raise_at: Time,
    retry_at: Time,
    retry: Micros,
    confirmed_at: Option<Time>,
    black_holes: u64,
}

impl PathMtu {
    /// Nothing is known. `start`: what the path is expected to carry; `max`: what is never exceeded. Without `probing`,
    /// `start` is what is used.
    pub fn new(start: usize, max: usize, probing: bool) -> PathMtu {
        let max = max.max(start);
        let base = BASE_PLPMTU.min(start);
        PathMtu {
            state: if probing {
                State::Base
            } else {
                State::Disabled
            },
            plpmtu: if probing { base } else { start },
            start,
            base,
            min: MIN_PLPMTU.min(base),
            max,
            too_large: max + 1,
            begun: false,
            test: None,
            given_up: None,
            past: [None; 2],
            raise_at: Time(0),
            retry_at: Time(0),
            retry: FIRST_RETRY,
            confirmed_at: None,
            black_holes: 0,
        }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// The largest datagram that may be sent.
    pub fn plpmtu(&self) -> usize {
        self.plpmtu
    }

    /// How often the size in use was found not to arrive.
    pub fn black_holes(&self) -> u64 {
        self.black_holes
    }

    // ---- what happens ----

    /// The peer was heard: it listens, and the round-trip time is known. Only the first call counts.
    pub fn begin(&mut self) {
        if self.begun || self.state == State::Disabled {
            return;
        }
        self.begun = true;
        // Timeouts before may have found out more already.
        if self.state == State::Base && self.confirmed_at.is_none() {
            self.plpmtu = self.start;
            self.test(self.start);
        }
    }

    /// Data of the connection was not acknowledged in time: it may be that datagrams of this size do not arrive (any
    /// more).
    pub fn on_timeout(&mut self, now: Time) {
        let doubt = self.state != State::Disabled
            && self.plpmtu > self.min
            && self.retry_at <= now
            && self
                .confirmed_at
                .is_none_or(|at| now.since(at) >= CONFIRMED_FOR)
            && self.test.is_none_or(|test| test.size > self.plpmtu);
        if doubt {
            self.test(self.plpmtu);
        }
    }

    /// Something was sent, so that it is worth while to know more.
    pub fn on_traffic(&mut self, now: Time) {
        if self.test.is_some() || !self.begun || self.retry_at > now {
            return;
        }
        match self.state {
            State::Disabled => {}
            State::Base | State::Error => self.test(self.plpmtu),
            State::Searching => self.search(now),
            State::SearchComplete if self.raise_at <= now && self.plpmtu < self.max => {
                // One octet more tells whether the path has changed.
                self.state = State::Searching;
                self.too_large = self.max + 1;
                self.test(self.plpmtu + 1);
            }
            State::SearchComplete => {}
        }
    }

    /// The peer has answered a probe. Returns whether it is one that waits for an answer.
    pub fn on_answer(&mut self, now: Time, token: u32) -> bool {
        if let Some(test) = &mut self.test {
            if test.token == Some(token) {
                let size = test.size;
                self.end_test();
                self.confirmed(now, size);
                return true;
            }
            if test.control_token == Some(token) {
                if test.size <= self.plpmtu {
                    // The answer to the padded one, sent just before, cannot be far, and data may be waiting.
                    let round_trip = now.since(test.control_at).max(LEAST_WAIT);
                    test.at = test.at.min(now + round_trip);
                }
                test.control_answered = true;
                self.retry = FIRST_RETRY;
                return true;
            }
        }
        match self.given_up {
            Some((given_up, size)) if given_up == token => {
                self.given_up = None;
                if size > self.plpmtu {
                    self.end_test();
                    self.confirmed(now, size);
                }
                true
            }
            _ => self.past.contains(&Some(token)),
        }
    }

    /// When [`PathMtu::on_timer`] has something to do.
    pub fn deadline(&self) -> Time {
        match &self.test {
            Some(test) if !test.probe_due => test.at,
            _ => Time::NEVER,
        }
    }

    /// Does what is due. Calls that come early, late or twice do no harm.
    pub fn on_timer(&mut self, now: Time) {
        let Some(test) = &mut self.test else {
            return;
        };
        if test.probe_due || test.at > now {
            return;
        }
        if test.count < MAX_PROBES {
            test.probe_due = true;
            test.control_due = true;
            return;
        }
        let test = *test;
        self.end_test();
        if test.control_answered {
            self.given_up = test.token.map(|token| (token, test.size));
            self.failed(now, test.size);
        } else {
            self.retry_at = now + self.retry;
            if self.confirmed_at.is_none() {
                // Perhaps the peer answers no probes at all.
                self.retry = (2 * self.retry).min(PMTU_RAISE_TIMER);
            }
        }
    }

    // ---- probes ----

    /// Whether [`PathMtu::poll`] has a probe.
    pub fn has_probe(&self) -> bool {
        self.test.is_some_and(|t| t.probe_due || t.control_due)
    }

    /// The next probe to be sent. `timer`: how long to wait for its answer; it has to exceed the round-trip time.
    pub fn poll(
        &mut self,
        now: Time,
        timer: Micros,
        random: impl FnOnce() -> u32,
    ) -> Option<Probe> {
        let test = self.test.as_mut()?;
        if test.probe_due {
            test.probe_due = false;
            test.count += 1;
            test.at = now + timer;
            return Some(Probe {
                size: test.size,
                token: *test.token.get_or_insert_with(random),
            });
        }
        if test.control_due {
            test.control_due = false;
            test.control_at = now;
            return Some(Probe {
                size: 0,
                token: *test.control_token.get_or_insert_with(random),
            });
        }
        None
    }

    // ---- decisions ----

    fn end_test(&mut self) {
        if let Some(test) = self.test.take() {
            self.past = [test.token, test.control_token];
        }
    }

    /// Begins to test a size, with a control from the beginning if it is in use: there is hurry then.
    fn test(&mut self, size: usize) {
        self.end_test();
        self.test = Some(Test {
            size,
            count: 0,
            at: Time::NEVER,
            probe_due: true,
            control_due: size <= self.plpmtu,
            token: None,
            control_token: None,
            control_at: Time(0),
            control_answered: false,
        });
    }

    /// Tries the next larger size: the largest first, which is mostly right, then the middle of what is left.
    fn search(&mut self, now: Time) {
        if self.plpmtu + 1 >= self.too_large {
            self.state = State::SearchComplete;
            self.raise_at = now + PMTU_RAISE_TIMER;
        } else if self.too_large > self.max {
            self.test(self.max);
        } else {
            let size = self.plpmtu + (self.too_large - self.plpmtu) / 2;
            self.test(size);
        }
    }

    fn confirmed(&mut self, now: Time, size: usize) {
        self.retry = FIRST_RETRY;
        self.confirmed_at = Some(now);
        if size >= self.too_large {
            self.too_large = self.max + 1;
        }
        if self.state == State::SearchComplete && size <= self.plpmtu {
            return;
        }
        self.plpmtu = self.plpmtu.max(size);
        self.state = State::Searching;
        self.search(now);
    }

    fn failed(&mut self, now: Time, size: usize) {
        self.too_large = self.too_large.min(size);
        if size > self.plpmtu {
            self.search(now);
            return;
        }
        self.black_holes += 1;
        if size > self.base {
            self.state = State::Base;
            self.plpmtu = self.base;
        } else {
            self.state = State::Error;
            self.plpmtu = self.min;
        }
        if self.plpmtu < size {
            self.test(self.plpmtu);
        } else {
            // Not even that, and yet the control arrives.
            self.retry_at = now + PMTU_RAISE_TIMER;
        }
    }
}

#[cfg(test)]
#[path = "mtu_tests.rs"]
mod tests;
