//! Experiments: what carries the data, the emulated links it goes over, and the targets it is held to.
//!
//! ```text
//! link, rng    the simulator's links and randomness, which the tests use too
//! end          one end of a flow, whoever wrote the transport
//! tcb          utcp's inner TCP alone; the size of each datagram is that of its DTLS record
//! endpoint     the whole of utcp: endpoints, DTLS, circuits; connection: one connection with its circuits
//! quinn        quinn-proto
//! world        ends, links and applications in virtual time
//! contestant   who takes part
//! path         rate, round-trip time, loss and queue of an experiment
//! scenario/    what is measured
//! bench        runs it with several seeds, on all cores
//! target       a figure, what it has to be, and whether it is
//! targets      what the figures of bench-tcp have to reach
//! cli/         the subcommands of `lab`
//! report       tables, JSON; plot: plots; palette: the colours of all
//! emulate/     hosts and links in real time: the link emulator
//! datapath/    CPU time and memory of the data path, beside others
//! kernel/      the kernel's TCP beside utcp's, over the emulator
//! tor/         the paper's experiments on real Tor binaries, over the link emulator
//! peers/       rivals on the same link
//! sim/         whole networks in virtual time
//! shadow/      whole networks of real Tor binaries in the Shadow simulator
//! all          all parts, one after the other
//! results/     what experiments leave behind: lines, intervals, comparisons
//! page/        a page with all that a run has measured
//! ```

#[cfg(target_os = "linux")]
pub mod all;
pub mod bench;
pub mod cli;
pub mod connection;
pub mod contestant;
pub mod end;
pub mod endpoint;
pub mod facts;
pub mod figures;
pub mod linux;
pub mod page;
pub mod palette;
pub mod path;
pub mod plot;
pub mod quinn;
pub mod report;
pub mod results;
pub mod scenario;
#[cfg(target_os = "linux")]
pub mod shadow;
#[cfg(target_os = "linux")]
pub mod sim;
pub mod target;
pub mod targets;
pub mod tcb;
pub mod trace;
pub mod world;

/// The links of the simulator that the tests use too.
#[path = "../../tests/sim/link.rs"]
#[allow(missing_docs)]
pub mod link;
/// The simulator's seeded randomness.
#[path = "../../tests/sim/rng.rs"]
#[allow(missing_docs, clippy::should_implement_trait)]
pub mod rng;

/// The link emulator.
#[cfg(target_os = "linux")]
pub mod emulate;

/// The paper's experiments on real Tor binaries.
#[cfg(target_os = "linux")]
pub mod tor;

/// The kernel's TCP beside and against utcp's, over emulated links in real time.
#[cfg(target_os = "linux")]
pub mod kernel;

/// What the data path costs, over real sockets and in memory.
#[cfg(target_os = "linux")]
pub mod datapath;
/// Rivals on the same link.
#[cfg(target_os = "linux")]
pub mod peers;

#[cfg(test)]
mod tests;
