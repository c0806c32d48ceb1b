//! How connections end, and how they do not begin.

use std::io::{self, Read as _, Write as _};

use utcp::error::CloseReason;
use utcp::tcp::State;

use crate::both;
use crate::script::{Finish, Script, Stream};
use crate::world::{Direction, Start, World, clean, receive, wait_until};

const OCTETS: u64 = 300_000;

fn lossy() -> Start {
    let mut conditions = clean();
    conditions.loss = 0.1;
    Start::over(conditions)
}

/// The kernel finishes first, utcp after it: TIME-WAIT is the kernel's.
fn kernel_first(direction: Direction, start: Start) {
    let script = Script {
        finish: Finish::AfterEnd,
        ..Script::default()
    };
    let world = World::new(direction, script, start);
    world.kernel_sends(OCTETS).join().expect("it takes it");
    world.kernel_finishes();
    world.kernel_sees_end();
    let report = world.wait("CLOSED", |r| r.state == Some(State::Closed));
    assert_eq!(report.reason, Some(CloseReason::Done));
    assert_eq!((report.received, report.wrong), (OCTETS, false));
    world.kernel_is_done();
    assert_eq!(world.host.socket_states(), [6]);
    world.end();
}

#[test]
fn the_kernel_closes_first() {
    both(|direction| kernel_first(direction, Start::over(clean())));
}

#[test]
fn the_kernel_closes_first_over_a_lossy_link() {
    both(|direction| {
        let script = Script {
            finish: Finish::AfterEnd,
            ..Script::default()
        };
        let world = World::new(direction, script, lossy());
        world.kernel_finishes();
        world.kernel_sees_end();
        let report = world.wait("an end", |r| r.reason.is_some());
        assert_eq!(report.reason, Some(CloseReason::Done));
        world.kernel_is_done();
        world.end();
    });
}

/// utcp finishes first: TIME-WAIT is utcp's, and the kernel's socket is gone.
fn ours_first(direction: Direction, start: Start) {
    let world = World::new(direction, Script::sends(OCTETS), start);
    world.kernel_receives(OCTETS);
    world.kernel_sees_end();
    world.kernel_finishes();
    let report = world.wait("TIME-WAIT", |r| r.state == Some(State::TimeWait));
    assert!(report.ended);
    wait_until(
        || world.host.socket_states().is_empty().then_some(()),
        || format!("the kernel's sockets: {:?}", world.host.socket_states()),
    );
    world.end();
}

#[test]
fn ours_closes_first() {
    both(|direction| ours_first(direction, Start::over(clean())));
}

#[test]
fn ours_closes_first_over_a_lossy_link() {
    both(|direction| ours_first(direction, lossy()));
}

#[test]
fn both_close_at_once() {
    both(|direction| {
        let world = World::new(direction, Script::sends(OCTETS), Start::over(clean()));
        let sender = world.kernel_sends(OCTETS);
        sender.join().expect("it takes it");
        world.kernel_finishes();
        world.kernel_receives(OCTETS);
        world.kernel_sees_end();
        let report = world.wait("an end", |r| r.reason.is_some());
        assert_eq!(report.reason, Some(CloseReason::Done));
        assert_eq!((report.received, report.wrong), (OCTETS, false));
        world.kernel_is_done();
        world.end();
    });
}

#[test]
fn after_the_kernel_has_finished_ours_still_sends() {
    both(|direction| {
        let script = Script {
            after_end: true,
            ..Script::sends(OCTETS)
        };
        let world = World::new(direction, script, Start::over(clean()));
        world.kernel_sends(OCTETS).join().expect("it takes it");
        world.kernel_finishes();
        world.kernel_receives(OCTETS);
        world.kernel_sees_end();
        let report = world.wait("an end", |r| r.reason.is_some());
        assert_eq!(report.reason, Some(CloseReason::Done));
        assert_eq!((report.received, report.wrong), (OCTETS, false));
        world.end();
    });
}

#[test]
fn after_ours_has_finished_the_kernel_still_sends() {
    both(|direction| {
        let world = World::new(direction, Script::sends(1_000), Start::over(clean()));
        world.kernel_receives(1_000);
        world.kernel_sees_end();
        world.wait("FIN-WAIT-2", |r| r.state == Some(State::FinWait2));
        world.kernel_sends(OCTETS).join().expect("it takes it");
        world.kernel_finishes();
        let report = world.wait("the end", |r| r.ended);
        assert_eq!((report.received, report.wrong), (OCTETS, false));
        world.kernel_is_done();
        world.end();
    });
}

#[test]
fn the_kernel_resets_while_both_send() {
    both(|direction| {
        let mut world = World::new(direction, Script::sends(u64::MAX), Start::over(clean()));
        world.kernel_sends(OCTETS).join().expect("it takes it");
        world.kernel_receives(OCTETS);
        world.kernel_closes(true);
        let report = world.wait("a reset", |r| r.broken);
        assert_eq!(report.reason, Some(CloseReason::Reset));
        assert_eq!(report.state, Some(State::Closed));
        world.kernel_is_done();
        world.end();
    });
}

#[test]
fn the_kernel_goes_without_reading() {
    both(|direction| {
        let mut world = World::new(direction, Script::sends(OCTETS), Start::over(clean()));
        world.wait("data on its way", |r| r.written > 0);
        // A socket that is closed resets when there is unread data, or when data comes after its FIN.
        world.kernel_closes(false);
        let report = world.wait("a reset", |r| r.reason.is_some());
        assert_eq!(report.reason, Some(CloseReason::Reset));
        world.kernel_is_done();
        world.end();
    });
}

#[test]
fn ours_resets_while_both_send() {
    both(|direction| {
        let script = Script::sends(u64::MAX);
        let abort = script.abort.clone();
        let world = World::new(direction, script, Start::over(clean()));
        world.kernel_sends(OCTETS).join().expect("it takes it");
        receive(world.stream(), Stream::FromOurs, OCTETS);
        abort.turn_on();
        let error = wait_until(
            || {
                let mut buffer = [0; 65_536];
                match world.stream().read(&mut buffer) {
                    Ok(0) => Some(None),
                    Ok(_) => None,
                    Err(error) => Some(Some(error.kind())),
                }
            },
            || "the kernel to hear of the reset".into(),
        );
        assert_eq!(error, Some(io::ErrorKind::ConnectionReset));
        let error = world.stream().write_all(&[0]).map_err(|e| e.kind());
        assert_eq!(error, Err(io::ErrorKind::BrokenPipe));
        let report = world.wait("the end", |r| r.broken);
        assert_eq!(report.reason, Some(CloseReason::Local));
        world.kernel_is_done();
        world.end();
    });
}

#[test]
fn nobody_listens() {
    if !crate::possible() {
        return;
    }
    // The kernel's host answers with a reset where no socket is, and so do we.
    let report = crate::world::refused_by_kernel();
    assert_eq!(report.reason, Some(CloseReason::Refused));
    let error = crate::world::refused_by_ours().map_err(|error| error.kind());
    assert_eq!(error.err(), Some(io::ErrorKind::ConnectionRefused));
}
