//! The library in a deterministic simulation: virtual time, a seeded network, scripts that compare every octet.
//!
//! `cargo test --test sim` runs all cases. A case that fails prints its seed; `UTCP_SIM_SEED=<seed>` and the name of
//! the test run just that. `UTCP_SIM_RUNS=<n>` runs each case with `n` seeds instead of its usual few.
//! `UTCP_SIM_TRACE=1` adds every event and datagram to the report of a failure.

#![allow(missing_docs)]

mod cases;
mod flow;
mod host;
mod hostile;
mod identity;
mod link;
mod link_tests;
mod net;
mod plan;
mod rng;
mod stream;
mod tcp;
