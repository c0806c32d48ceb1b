//! What clients do, and what they measure.

use std::collections::VecDeque;

use utcp::time::{Micros, SECOND, Time};

use super::cell::{DATA, Kind};
use super::layout::{Circuit, Load};
use super::net::START;
use crate::rng::{Rng, mix};

/// Octets of the downloads of web-like clients.
pub const SIZES: [u64; 3] = [50_000, 1_000_000, 5_000_000];

/// An answer that does not end.
const ENDLESS: u32 = u32::MAX;

/// A download.
#[derive(Clone, Copy, Debug)]
pub struct Download {
    /// Octets.
    pub size: u64,
    /// When it was asked for, after [`START`].
    pub began: Micros,
    /// Until the first cell of it arrived.
    pub first: Option<Micros>,
    /// Until the last one did.
    pub last: Option<Micros>,
}

/// What a client wants done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Action {
    /// A cell to be sent.
    pub send: Option<Kind>,
    /// When to be woken.
    pub again: Option<Time>,
}

/// A client of one circuit.
pub struct Client {
    load: Load,
    rng: Rng,
    sent: u32,
    /// Cells that have arrived.
    pub received: u32,
    /// When each cell arrived, in seconds after [`START`]: how many in each second.
    pub by_second: Vec<u32>,
    /// When each unanswered cell of a quiet client was sent.
    asked: VecDeque<Time>,
    /// Of quiet clients: when a cell was sent, after [`START`], and how long until it was answered.
    pub delays: Vec<(Micros, Micros)>,
    /// Of web-like clients.
    pub downloads: Vec<Download>,
    left: u32,
}

impl Client {
    /// The client of circuit `number`.
    pub fn new(circuit: &Circuit, seed: u64, number: usize) -> Client {
        Client {
            load: circuit.load,
            rng: Rng::new(mix(seed), 1 << 32 | number as u64),
            sent: 0,
            received: 0,
            by_second: Vec::new(),
            asked: VecDeque::new(),
            delays: Vec::new(),
            downloads: Vec::new(),
            left: 0,
        }
    }

    /// Number of the next cell that it sends.
    pub fn number(&mut self) -> u32 {
        self.sent += 1;
        self.sent - 1
    }

    /// Its moment has come.
    pub fn wake(&mut self, now: Time) -> Action {
        match self.load {
            Load::Bulk => Action {
                send: Some(Kind::Request(ENDLESS)),
                again: None,
            },
            Load::Quiet(every) => {
                self.asked.push_back(now);
                Action {
                    send: Some(Kind::Request(1)),
                    again: Some(now + every),
                }
            }
            Load::Web(_) => {
                let size = match self.rng.below(100) {
                    0..60 => SIZES[0],
                    60..95 => SIZES[1],
                    _ => SIZES[2],
                };
                self.downloads.push(Download {
                    size,
                    began: now.since(START),
                    first: None,
                    last: None,
                });
                self.left = size.div_ceil(DATA as u64) as u32;
                Action {
                    send: Some(Kind::Request(self.left)),
                    again: None,
                }
            }
        }
    }

    /// A cell has arrived.
    pub fn take(&mut self, now: Time, number: u32) -> Action {
        assert_eq!(number, self.received, "cells are in order");
        self.received += 1;
        let second = (now.since(START) / SECOND) as usize;
        if self.by_second.len() <= second {
            self.by_second.resize(second + 1, 0);
        }
        self.by_second[second] += 1;
        match self.load {
            Load::Bulk => {}
            Load::Quiet(_) => {
                let asked = self.asked.pop_front().expect("it was asked for");
                self.delays.push((asked.since(START), now.since(asked)));
            }
            Load::Web(pause) => {
                let download = self.downloads.last_mut().expect("it was asked for");
                let took = now.since(START) - download.began;
                download.first.get_or_insert(took);
                self.left -= 1;
                if self.left == 0 {
                    download.last = Some(took);
                    let part = (self.rng.below(1 << 53) + 1) as f64 / (1u64 << 53) as f64;
                    let wait = (-part.ln() * pause as f64) as Micros;
                    return Action {
                        send: None,
                        again: Some(now + wait),
                    };
                }
            }
        }
        Action::default()
    }

    /// Mbit/s of data that arrived in whole seconds after [`START`].
    pub fn mbit(&self, from: usize, to: usize) -> f64 {
        let cells: u32 = self.by_second.iter().take(to).skip(from).sum();
        f64::from(cells) * DATA as f64 * 8.0 / 1e6 / (to - from) as f64
    }
}
