//! Both directions busy at once.

use utcp::error::CloseReason;
use utcp::tcp::congestion::Algorithm;
use utcp_lab::emulate::link::MILLIS;

use crate::both;
use crate::script::Script;
use crate::world::{Direction, Start, World, clean};

fn both_ways(direction: Direction, octets: u64, script: Script, start: Start) -> World {
    let world = World::new(direction, script, start);
    let sender = world.kernel_sends(octets);
    world.kernel_receives(octets);
    sender.join().expect("the kernel could send");
    world.kernel_sees_end();
    world.kernel_finishes();
    let report = world.wait("the kernel's data and its end", |r| r.ended);
    assert_eq!((report.received, report.wrong), (octets, false));
    let report = world.wait("an orderly end", |r| r.reason.is_some());
    assert_eq!(report.reason, Some(CloseReason::Done));
    world.kernel_is_done();
    world
}

#[test]
fn bulk_both_ways() {
    both(|direction| {
        const OCTETS: u64 = 8 << 20;
        both_ways(
            direction,
            OCTETS,
            Script::sends(OCTETS),
            Start::over(clean()),
        )
        .end();
    });
}

#[test]
fn bulk_both_ways_begun_after_the_handshake() {
    both(|direction| {
        const OCTETS: u64 = 1 << 20;
        let mut script = Script::sends(OCTETS);
        script.patient = true;
        both_ways(direction, OCTETS, script, Start::over(clean())).end();
    });
}

fn disturbed(direction: Direction, congestion: Algorithm) {
    const OCTETS: u64 = 1 << 20;
    let mut start = Start::over(clean());
    start.congestion = congestion;
    start.conditions.loss = 0.02;
    start.conditions.reorder = 0.05;
    start.conditions.reorder_by = 3 * MILLIS;
    start.conditions.duplicate = 0.02;
    let world = both_ways(direction, OCTETS, Script::sends(OCTETS), start);
    let report = world.report();
    assert!(report.retransmitted > 0);
    for link in world.end() {
        assert!(link.lost > 0 && link.reordered > 0, "{link:?}");
    }
}

#[test]
fn bulk_both_ways_with_loss_reordering_and_duplicates() {
    both(|direction| disturbed(direction, Algorithm::Cubic));
}

#[test]
fn bulk_both_ways_with_loss_reordering_and_duplicates_under_bbr() {
    both(|direction| disturbed(direction, Algorithm::Bbr));
}

#[test]
fn bulk_both_ways_over_a_short_queue() {
    both(|direction| {
        const OCTETS: u64 = 2 << 20;
        let mut conditions = clean();
        conditions.queue = 15_000;
        let world = both_ways(
            direction,
            OCTETS,
            Script::sends(OCTETS),
            Start::over(conditions),
        );
        let dropped = world.end().map(|link| link.overflowed);
        assert!(dropped[0] + dropped[1] > 0, "nothing overflowed");
    });
}
