//! The panic boundary: nothing unwinds into C, and nothing is printed.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use crate::error::Error;

thread_local! {
    /// How many guards are on this thread's stack.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

static QUIET: Once = Once::new();

/// Counts a guard in and out, also when it unwinds.
struct Inside;

impl Inside {
    fn enter() -> Inside {
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Runs `body`; a panic in it becomes [`Error::Internal`] and is reported through the log only.
pub(super) fn guard<T>(body: impl FnOnce() -> T) -> Result<T, Error> {
    QUIET.call_once(install_hook);
    let inside = Inside::enter();
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    drop(inside);
    result.map_err(|payload| {
        // Another payload's destructor could panic again, outside of any guard: those are left alone.
        if !payload.is::<&'static str>() && !payload.is::<String>() {
            std::mem::forget(payload);
        }
        Error::Internal
    })
}

/// Rust calls one hook per process for every panic, before it unwinds; the one it starts with prints to stderr. Ours
/// logs the panics of guarded calls, and hands all others, which can only come from a Rust host's own code, to the
/// hook that was there before. In a C program the library brings its own copy of Rust's runtime, and with it its own
/// hook.
fn install_hook() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if DEPTH.with(Cell::get) > 0 {
            report(info);
        } else {
            previous(info);
        }
    }));
}

fn report(info: &PanicHookInfo<'_>) {
    let (file, line) = info
        .location()
        .map_or(("?", 0), |at| (at.file(), at.line()));
    log::error!("panic at {file}:{line}: {}", message(info.payload()));
}

fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(no text)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }

    #[test]
    fn a_value_passes_through() {
        assert_eq!(guard(|| 7), Ok(7));
    }

    #[test]
    fn a_panic_becomes_an_error() {
        assert_eq!(guard(|| panic!("text")), Err::<(), _>(Error::Internal));
        assert_eq!(
            guard(|| panic!("number {}", 1)),
            Err::<(), _>(Error::Internal)
        );
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_contained() {
        let result = guard(|| panic::panic_any(Bomb));
        assert_eq!(result, Err::<(), _>(Error::Internal));
    }

    #[test]
    fn guards_nest_and_the_outer_one_goes_on() {
        let result = guard(|| {
            assert_eq!(guard(|| panic!("inner")), Err::<(), _>(Error::Internal));
            DEPTH.with(Cell::get)
        });
        assert_eq!(result, Ok(1));
        assert_eq!(DEPTH.with(Cell::get), 0);
    }

    #[test]
    fn panics_outside_of_a_guard_reach_the_hosts_hook() {
        // In a process of its own, because the hook belongs to the process.
        const CHILD: &str = "UTCP_TEST_HOST_HOOK";
        const NAME: &str = "ffi::guard::tests::panics_outside_of_a_guard_reach_the_hosts_hook";
        if std::env::var_os(CHILD).is_some() {
            panic::set_hook(Box::new(|info| {
                eprintln!("host: {}", message(info.payload()));
            }));
            assert!(guard(|| panic!("guarded")).is_err());
            assert!(panic::catch_unwind(|| panic!("unguarded")).is_err());
            return;
        }
        let program = std::env::current_exe().expect("the test's own path");
        let output = std::process::Command::new(program)
            .args(["--exact", NAME, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("run the test again");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("host: unguarded"), "{text}");
        assert!(
            !text.contains("guarded at") && !text.contains("host: guarded"),
            "{text}"
        );
    }
}
