//! Loss recovery: what was lost, and how much may be sent while it is repaired. One mechanism a file.

pub mod dsack;
pub mod frto;
pub mod prr;
pub mod rack;
pub mod rate;
pub mod rtt;
pub mod scoreboard;
pub mod tlp;
pub mod undo;
