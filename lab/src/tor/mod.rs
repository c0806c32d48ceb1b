//! The paper's experiments on real Tor binaries, over the link emulator. `lab tor` runs them.
//!
//! ```text
//! plan         what a run measures, in which order
//! runner       runs it: networks, refusals, results
//! experiments/ one file each: what is done, and what its figures mean
//! plausible    what figures can be
//! targets      what figures have to reach
//! session      what experiments have at hand
//! network      a private network: hosts, nodes, bootstrap; node, torrc, keys, programs: its parts
//! control      Tor's control protocol; circuits: circuits and streams of a client
//! traffic      what clients do; server: what they talk to
//! process      what /proc tells of a node; sockets: what ss tells of its connections
//! ```
//!
//! # Names in results
//!
//! | experiment | in the paper | coordinates | what it is |
//! |---|---|---|---|
//! | `tor-3-basic` | Experiment 3, Table 4 | `rate_mbit` (0: no limit, as in the paper) | a quiet and a bulk circuit over the same relays: [`experiments::basic`] |
//! | `tor-1-shared` | Experiment 1, Tables 1, 2, 5, 6 | `loss_shared_percent`, `loss_remaining_percent`, `rate_mbit` (0: no limit) | eight clients with two relays in common: [`experiments::shared`] |
//! | `tor-figure-1-queues` | Figure 1 | `loss_shared_percent`, `rate_mbit` | a relay's output over time: [`experiments::queues`] |
//! | `tor-figure-2-circuits` | Figure 2 | | an even circuit and one with bursts, dropped packets marked: [`experiments::picture`] |
//! | `tor-web` | | `rate_mbit`, `size_octets` | objects that people wait for, beside bulk: [`experiments::web`] |
//! | `tor-volume` | §6.1 | `rate_mbit`, `cells_per_s` | latency by volume, beside bulk: [`experiments::volume`] |
//! | `tor-mixed` | §3.2 | `patched_percent`, `loss_percent`, `rate_mbit` | some relays are patched: [`experiments::mixed`] |
//! | `tor-relays` | | | what relays hold that are all in contact: [`experiments::relays`] |
//! | `tor-emulator` | | `load_mbit` | how exact the emulator was: `rtt_error_p99_ms`, `rate_carried_mbit` |
//!
//! A variant is `PROGRAM, WINDOWS, KERNEL`, such as `patched, vegas, cubic` or `vanilla 0.2.0.35, fixed, cubic`: what relays
//! run; Tor's own control of a circuit from end to end (its Vegas, or fixed windows as in the paper); and the congestion
//! control of the relays' kernels, which patched relays use for links to clients and to the destination only.
//!
//! Delays are `NAME_ms` (the mean), `NAME_p50_ms`, `NAME_p90_ms`, `NAME_p99_ms`. Of `base` and `delay` they are those of
//! echo probes, 250 ms apart, on a quiet circuit: there and back over three links of 50 ms, so that 150 ms is the least.
//! Of `bulk_delay` and in `tor-volume` they are one way: 75 ms is the least.

// This part of the lab measures real time; the library never does.
#![allow(clippy::disallowed_methods)]

pub mod circuits;
pub mod control;
pub mod experiments;
pub mod keys;
pub mod network;
pub mod node;
pub mod plan;
pub mod plausible;
pub mod process;
pub mod programs;
pub mod runner;
pub mod server;
pub mod session;
pub mod sockets;
pub mod targets;
pub mod torrc;
pub mod traffic;
