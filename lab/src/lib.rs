//! Experiments: what carries the data, the emulated links it goes over, and the targets it is held to.

/// The links of the simulator that the tests use too.
#[path = "../../tests/sim/link.rs"]
#[allow(missing_docs)]
pub mod link;
/// The simulator's seeded randomness.
#[path = "../../tests/sim/rng.rs"]
#[allow(missing_docs)]
pub mod rng;

/// The kernel's TCP beside and against utcp's, over emulated links in real time.
#[cfg(target_os = "linux")]
pub mod kernel;
