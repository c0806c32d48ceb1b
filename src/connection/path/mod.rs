//! What is known of the path to a peer, and what is left to its circuits together.

pub mod budget;
pub mod group;
pub mod mtu;
