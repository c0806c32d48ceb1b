//! Experiments: what carries the data, the emulated links it goes over, and the targets it is held to.
//!
//! ```text
//! link, rng    the simulator's links and randomness, which the tests use too
//! end          one end of a flow, whoever wrote the transport
//! tcb          utcp's inner TCP alone; the size of each datagram is that of its DTLS record
//! endpoint     the whole of utcp: endpoints, DTLS, circuits
//! quinn        quinn-proto
//! world        ends, links and applications in virtual time
//! contestant   who takes part
//! path         rate, round-trip time, loss and queue of an experiment
//! scenario/    what is measured
//! bench        runs it with several seeds, on all cores
//! targets      what the figures have to reach
//! cli/         the subcommands of `lab`
//! report       tables, JSON, plots
//! results/     what experiments in real time leave behind: lines, intervals, comparisons
//! emulate/     hosts and links in real time: the link emulator
//! datapath/    CPU time and memory of the data path, beside others
//! kernel/      the kernel's TCP beside utcp's, over the emulator
//! ```

pub mod bench;
pub mod cli;
pub mod contestant;
pub mod end;
pub mod endpoint;
pub mod figures;
pub mod linux;
pub mod path;
pub mod plot;
pub mod quinn;
pub mod report;
pub mod results;
pub mod scenario;
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

/// The kernel's TCP beside and against utcp's, over emulated links in real time.
#[cfg(target_os = "linux")]
pub mod kernel;

/// What the data path costs, over real sockets and in memory.
#[cfg(target_os = "linux")]
pub mod datapath;

#[cfg(test)]
mod tests;
