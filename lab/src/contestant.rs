//! Who takes part.

use std::net::SocketAddr;

use utcp::tcp::congestion::Algorithm;
use utcp::time::Time;

use crate::end::End;
use crate::endpoint::{EndpointEnd, Mode};
use crate::path::Path;
use crate::quinn::{Control, QuinnEnd};
use crate::tcb::TcbEnd;
use crate::world::{SETUP, World, address};

/// What a flow is made with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Of all its random choices.
    pub seed: u64,
    /// Octets of buffers and windows.
    pub window: usize,
    /// Of both ends.
    pub addresses: [SocketAddr; 2],
    /// The time.
    pub now: Time,
}

/// A transport with its congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contestant {
    /// As it is called in results.
    pub name: &'static str,
    transport: Transport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Utcp(Algorithm),
    Quinn(Control),
}

const fn utcp(name: &'static str, algorithm: Algorithm) -> Contestant {
    let transport = Transport::Utcp(algorithm);
    Contestant { name, transport }
}

const fn quinn(name: &'static str, control: Control) -> Contestant {
    let transport = Transport::Quinn(control);
    Contestant { name, transport }
}

/// utcp's CUBIC.
pub const UTCP_CUBIC: Contestant = utcp("utcp-cubic", Algorithm::Cubic);
/// utcp's NewReno.
pub const UTCP_NEWRENO: Contestant = utcp("utcp-newreno", Algorithm::NewReno);
/// utcp's BBR.
pub const UTCP_BBR: Contestant = utcp("utcp-bbr", Algorithm::Bbr);
/// quinn's CUBIC.
pub const QUINN_CUBIC: Contestant = quinn("quinn-cubic", Control::Cubic);
/// quinn's BBR.
pub const QUINN_BBR: Contestant = quinn("quinn-bbr", Control::Bbr);

/// All of them.
pub const ALL: &[Contestant] = &[UTCP_CUBIC, UTCP_NEWRENO, UTCP_BBR, QUINN_CUBIC, QUINN_BBR];

/// A connection of ours with many circuits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ours {
    /// As it is called in results.
    pub name: &'static str,
    /// Congestion control of its circuits.
    pub algorithm: Algorithm,
    /// How they share the path.
    pub mode: Mode,
}

const fn connection(name: &'static str, algorithm: Algorithm, mode: Mode) -> Ours {
    Ours {
        name,
        algorithm,
        mode,
    }
}

/// Connections that take part in scenarios of siblings.
pub const CONNECTIONS: &[Ours] = &[
    connection("utcp-cubic", Algorithm::Cubic, Mode::Independent),
    connection("utcp-newreno", Algorithm::NewReno, Mode::Independent),
    connection("utcp-bbr", Algorithm::Bbr, Mode::Independent),
    connection("utcp-cubic-coupled", Algorithm::Cubic, Mode::Coupled),
    connection("utcp-bbr-coupled", Algorithm::Bbr, Mode::Coupled),
];

impl Ours {
    /// A world with one such connection, flow 0.
    pub fn world(&self, path: Path, seed: u64) -> World {
        self.world_beside(path, seed, &[])
    }

    /// The same, with flows of others from number 1 on.
    pub fn world_beside(&self, path: Path, seed: u64, others: &[Contestant]) -> World {
        let own = EndpointEnd::pair(
            self.algorithm,
            self.mode,
            path.window(),
            seed,
            [address(0, 0), address(0, 1)],
            SETUP,
        );
        let others = others.iter().enumerate();
        let others = others.map(|(i, other)| other.pair(&path.setup(i + 1, seed)));
        let flows = std::iter::once(own).chain(others).collect();
        World::new(seed, path.rtt(), flows, || [path.link(), path.link()])
    }
}

impl Contestant {
    /// The one with this name.
    pub fn named(name: &str) -> Option<Contestant> {
        ALL.iter().find(|c| c.name == name).copied()
    }

    /// Whether it is ours.
    pub fn is_ours(&self) -> bool {
        matches!(self.transport, Transport::Utcp(_))
    }

    /// Both ends of a flow.
    pub fn pair(&self, setup: &Setup) -> [Box<dyn End>; 2] {
        match self.transport {
            Transport::Utcp(algorithm) => TcbEnd::pair(algorithm, setup.window, setup.seed),
            Transport::Quinn(control) => QuinnEnd::pair(
                control,
                setup.window,
                setup.seed,
                setup.addresses,
                setup.now,
            ),
        }
    }
}
