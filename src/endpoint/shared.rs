//! What all connections of an endpoint use together.

use std::collections::VecDeque;

use super::Event;
use super::timers::Timers;
use crate::config::Config;
use crate::map::HashSeed;
use crate::pool::Pool;
use crate::rng::Rng;

/// Octets of capture held until the caller takes them; what comes when it is full is not captured.
const CAPTURE_BOUND: usize = 16 << 20;

/// Buffers of datagrams that are kept for the next ones.
const BUFFERS: usize = 512;

/// What datagrams are made in, so that none has to be allocated.
#[derive(Default)]
pub struct Buffers(Vec<Vec<u8>>);

impl Buffers {
    /// An empty buffer with room for `octets`.
    pub fn take(&mut self, octets: usize) -> Vec<u8> {
        let mut buffer = self.0.pop().unwrap_or_default();
        buffer.reserve(octets);
        buffer
    }

    /// Takes a buffer back.
    pub fn give(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < BUFFERS {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

/// Pool, timers, events, randomness and capture of an endpoint.
pub struct Shared {
    /// Configuration.
    pub config: Config,
    /// Blocks for all queues.
    pub pool: Pool,
    /// All deadlines.
    pub timers: Timers,
    /// What the relay has to hear of.
    pub events: VecDeque<Event>,
    /// Connections that may hold data out of order.
    pub reordering: Vec<u32>,
    /// Datagrams that were sent, to be filled again.
    pub buffers: Buffers,
    /// Of all maps.
    pub hash: HashSeed,
    /// All random choices.
    pub rng: Rng,
    /// Octets of a pcap file, if packets are captured.
    pub capture: Option<Vec<u8>>,
}

impl Shared {
    /// All empty.
    pub fn new(config: Config, rng: Rng) -> Shared {
        Shared {
            pool: Pool::with_shares(config.memory_budget, config.connection_share),
            timers: Timers::default(),
            events: VecDeque::new(),
            reordering: Vec::new(),
            buffers: Buffers::default(),
            hash: HashSeed::new(&config.seed),
            rng,
            capture: None,
            config,
        }
    }

    /// Where captured packets go, if there is room.
    pub fn capture(&mut self) -> Option<&mut Vec<u8>> {
        self.capture.as_mut().filter(|c| c.len() < CAPTURE_BOUND)
    }
}
