//! What is measured. Each scenario gives its experiments as jobs.

pub mod cells;
pub mod fresh;
pub mod grid;
pub mod idle;
pub mod impaired;
pub mod losses;
pub mod sharing;
pub mod siblings;

use utcp::time::Micros;

use crate::bench::{Extent, Figures, Job};
use crate::world::{App, START, World};

/// A scenario: its name, what it is, and its jobs.
pub struct Scenario {
    /// As it is called in results and with `--only`.
    pub name: &'static str,
    /// In one line.
    pub about: &'static str,
    /// The experiments.
    pub jobs: fn(&Extent) -> Vec<Job>,
    /// The figures that tables show, with their headings.
    pub columns: &'static [(&'static str, &'static str)],
}

/// All of them.
pub const ALL: &[Scenario] = &[
    grid::SCENARIO,
    impaired::REORDERING,
    impaired::DUPLICATION,
    impaired::ACK_LOSS,
    impaired::BLACKOUT,
    losses::TAIL,
    losses::WINDOW,
    idle::SCENARIO,
    fresh::SCENARIO,
    cells::ALONE,
    cells::BESIDE_BULK,
    siblings::SCENARIO,
    siblings::OPENED,
    sharing::SCENARIO,
];

/// Mbit/s delivered to an application between two moments after the start.
fn mbit(app: &App, from: Micros, to: Micros) -> f64 {
    app.delivered_between(from, to) as f64 * 8.0 / (to - from) as f64
}

/// What is said of every flow beside what its scenario is about.
fn common(world: &World, app: usize) -> Figures {
    let info = world.info(app);
    let [there, _] = world.counters();
    let sent = info.sent.max(1) as f64;
    let lost = there.dropped as f64;
    // Where the receiver does not count them: what was sent again, or declared lost, without having been lost.
    let spurious = match world.receiver_info(app).duplicates {
        Some(duplicates) => duplicates as f64,
        None => (info.resent as f64 - lost).max(0.0),
    };
    let entered = there.entered.max(1) as f64;
    vec![
        ("resent_percent", info.resent as f64 / sent * 100.0),
        ("spurious_percent", spurious / sent * 100.0),
        ("dropped_percent", lost / entered * 100.0),
        ("timeouts", info.timeouts as f64),
        ("srtt_ms", info.srtt as f64 / 1e3),
        ("ended", f64::from(u8::from(world.broken(0).is_some()))),
    ]
}

/// Milliseconds from the start until a finite load has arrived; NaN if it has not.
fn completion(app: &App) -> f64 {
    app.finished
        .map_or(f64::NAN, |at| at.since(app.began) as f64 / 1e3)
}

/// Milliseconds from [`START`] to the present.
fn elapsed(world: &World) -> f64 {
    world.now().since(START) as f64 / 1e3
}
