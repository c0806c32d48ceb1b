//! What is known of the path to a peer, shared by all circuits of its connection.

pub mod mtu;
