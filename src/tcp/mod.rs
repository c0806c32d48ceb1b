//! TCP: segments to octets and back (RFC 9293). One [`Tcb`] is one circuit's connection.
//!
//! ```text
//! segment -> input -> receive_queue -> read
//!              |
//!        acknowledgement, timers -> recovery (what is lost), congestion (how much)
//!                                      |
//!        write -> send_queue -> output -> segment
//! ```

mod acknowledgement;
pub mod congestion;
mod ecn;
mod input;
mod output;
pub mod pacing;
mod receive_queue;
mod receive_window;
pub mod recovery;
pub mod segment;
mod send_queue;
pub mod seq;
mod signals;
mod sleep;
mod state;
mod tcb;
#[cfg(test)]
mod tests;
mod timers;

pub use input::Rejected;
pub use output::{Allowance, Plan, Reset, reset_for};
pub use signals::Signals;
pub use sleep::{BEDTIME, Tcp};
pub use state::State;
pub use tcb::{Settings, Tcb};
