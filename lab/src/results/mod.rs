//! What experiments leave behind: JSON lines, their means and intervals, and two runs side by side.
//!
//! ```text
//! record     the lines: what the run was, outcomes, series
//! interval   Student's t
//! run        a file of lines, read and checked
//! compare    two runs
//! ```

pub mod compare;
pub mod interval;
pub mod record;
pub mod run;

pub use interval::{Interval, interval};
pub use record::{About, Line, Outcome, Series};
pub use run::Run;
