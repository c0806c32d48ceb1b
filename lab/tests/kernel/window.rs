//! A receiver that does not read closes its window; the sender finds out when it opens again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use utcp::error::CloseReason;
use utcp::tcp::segment::Flags;
use utcp_lab::emulate::link::Watch;

use crate::both;
use crate::script::{Finish, Script, Switch};
use crate::world::{Direction, Start, World, clean, wait_until};

const OCTETS: u64 = 1 << 20;
const BUFFER: usize = 65_536;

/// Segments that said that no full segment fits the window: the first, and answers to probes.
const CLOSED: u64 = 3;

/// Octets of a full segment. The kernel takes no window back once it was offered, so that a rest of one may stay open.
const FULL: u32 = 1_448;

/// The window scale option of a SYN (RFC 7323 section 2.2).
fn window_scale(mut options: &[u8]) -> Option<u8> {
    loop {
        options = match *options {
            [3, 3, shift, ..] => return Some(shift),
            [1, ref rest @ ..] => rest,
            [kind, len, ..] if kind != 0 => options.get(usize::from(len).max(2)..)?,
            _ => return None,
        };
    }
}

/// Counts segments that say that the window is closed; drops the first that says that it is open again, if asked to.
fn count_closed(drop_update: bool) -> (Watch, Arc<AtomicU64>) {
    let closed = Arc::new(AtomicU64::new(0));
    let counter = closed.clone();
    let mut shift = 0;
    let mut dropped = !drop_update;
    let watch = move |segment: &utcp::tortp::RawSegment<'_>| {
        if segment.flags.has(Flags::SYN) {
            shift = window_scale(segment.options).unwrap_or(0);
        } else if segment.flags.has(Flags::RST) {
        } else if u32::from(segment.window) << shift < FULL {
            counter.fetch_add(1, Ordering::SeqCst);
        } else if !dropped && counter.load(Ordering::SeqCst) >= CLOSED {
            dropped = true;
            return true;
        }
        false
    };
    (Box::new(watch), closed)
}

fn wait_closed(world: &World, closed: &AtomicU64) {
    wait_until(
        || (closed.load(Ordering::SeqCst) >= CLOSED).then_some(()),
        || {
            format!(
                "{CLOSED} closed windows, {closed:?} so far: {:?}",
                world.report()
            )
        },
    );
}

fn kernel_does_not_read(direction: Direction, drop_update: bool) {
    let (watch, closed) = count_closed(drop_update);
    let mut start = Start::over(clean());
    start.kernel_buffer = Some(BUFFER);
    start.watches[0] = Some(watch);
    let world = World::new(direction, Script::sends(OCTETS), start);
    wait_closed(&world, &closed);
    let report = world.report();
    assert!(!report.broken && report.written < OCTETS, "{report:?}");
    world.kernel_receives(OCTETS);
    world.kernel_sees_end();
    world.kernel_finishes();
    let report = world.wait("an end", |r| r.reason.is_some());
    assert_eq!(report.reason, Some(CloseReason::Done));
    let chosen = world.end()[0].chosen;
    assert_eq!(chosen, u64::from(drop_update));
}

#[test]
fn the_kernel_does_not_read_for_a_while() {
    both(|direction| kernel_does_not_read(direction, false));
}

#[test]
fn the_kernel_does_not_read_for_a_while_and_its_window_update_is_lost() {
    both(|direction| kernel_does_not_read(direction, true));
}

fn ours_does_not_read(direction: Direction, drop_update: bool) {
    let (watch, closed) = count_closed(drop_update);
    let reading = Switch::default();
    let script = Script {
        reading: reading.clone(),
        finish: Finish::AfterEnd,
        ..Script::default()
    };
    let mut start = Start::over(clean());
    start.our_buffer = Some(BUFFER);
    start.watches[1] = Some(watch);
    let world = World::new(direction, script, start);
    let sender = world.kernel_sends(OCTETS);
    wait_closed(&world, &closed);
    assert_eq!(world.report().received, 0);
    reading.turn_on();
    sender.join().expect("the kernel could send");
    world.kernel_finishes();
    let report = world.wait("everything", |r| r.ended);
    assert_eq!((report.received, report.wrong), (OCTETS, false));
    world.kernel_sees_end();
    let chosen = world.end()[1].chosen;
    assert_eq!(chosen, u64::from(drop_update));
}

#[test]
fn ours_does_not_read_for_a_while() {
    both(|direction| ours_does_not_read(direction, false));
}

#[test]
fn ours_does_not_read_for_a_while_and_its_window_update_is_lost() {
    both(|direction| ours_does_not_read(direction, true));
}

#[test]
fn neither_reads_for_a_while() {
    both(|direction| {
        let (kernel_watch, kernel_closed) = count_closed(false);
        let (our_watch, our_closed) = count_closed(false);
        let reading = Switch::default();
        let script = Script {
            reading: reading.clone(),
            ..Script::sends(OCTETS)
        };
        let mut start = Start::over(clean());
        start.kernel_buffer = Some(BUFFER);
        start.our_buffer = Some(BUFFER);
        start.watches = [Some(kernel_watch), Some(our_watch)];
        let world = World::new(direction, script, start);
        let sender = world.kernel_sends(OCTETS);
        wait_closed(&world, &kernel_closed);
        wait_closed(&world, &our_closed);
        reading.turn_on();
        world.kernel_receives(OCTETS);
        sender.join().expect("the kernel could send");
        world.kernel_sees_end();
        world.kernel_finishes();
        let report = world.wait("everything", |r| r.ended);
        assert_eq!((report.received, report.wrong), (OCTETS, false));
        world.end();
    });
}
