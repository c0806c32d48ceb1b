//! TCP: segments to octets and back.

pub mod congestion;
pub mod segment;
pub mod seq;
