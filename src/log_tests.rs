use super::*;
use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard};

/// The log is the process's: these tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

type Records = Mutex<Vec<(i32, String, String)>>;

#[allow(unsafe_code)]
unsafe extern "C" fn record(
    user: *mut c_void,
    level: c_int,
    target: *const c_char,
    message: *const c_char,
) {
    // SAFETY: the pointer that was set below, and strings as documented.
    let (records, target, message) = unsafe {
        (
            &*user.cast::<Records>(),
            CStr::from_ptr(target),
            CStr::from_ptr(message),
        )
    };
    // Other tests log too, on their threads.
    let target = target.to_string_lossy().into_owned();
    if target.starts_with("test") {
        let message = message.to_string_lossy().into_owned();
        records
            .lock()
            .expect("no test panics with it")
            .push((level, target, message));
    }
}

#[allow(unsafe_code)]
unsafe extern "C" fn reenter(user: *mut c_void, _: c_int, _: *const c_char, _: *const c_char) {
    // SAFETY: the pointer that was set below.
    let results = unsafe { &*user.cast::<Mutex<Vec<Result<(), Error>>>>() };
    log::error!(target: "test", "from inside");
    let result = set(None, std::ptr::null_mut(), LevelFilter::Off);
    results.lock().expect("no test panics with it").push(result);
}

fn pointer<T>(value: &T) -> *mut c_void {
    std::ptr::from_ref(value).cast_mut().cast()
}

fn off() {
    assert_eq!(set(None, std::ptr::null_mut(), LevelFilter::Off), Ok(()));
}

#[test]
fn records_up_to_the_level_reach_the_hook_until_it_is_removed() {
    let _turn = turn();
    let first = Records::default();
    let second = Records::default();
    assert_eq!(
        set(Some(record), pointer(&first), LevelFilter::Info),
        Ok(())
    );
    log::info!(target: "test", "one {}", 1);
    log::debug!(target: "test", "too detailed");
    assert_eq!(
        set(Some(record), pointer(&second), LevelFilter::Trace),
        Ok(())
    );
    log::trace!(target: "test::deep", "two");
    off();
    log::error!(target: "test", "three");
    let text = |s: &str| s.to_owned();
    assert_eq!(*first.lock().unwrap(), [(3, text("test"), text("one 1"))]);
    assert_eq!(
        *second.lock().unwrap(),
        [(5, text("test::deep"), text("two"))]
    );
}

#[test]
fn a_hook_that_calls_the_log_neither_deadlocks_nor_recurses() {
    let _turn = turn();
    let results = Mutex::new(Vec::<Result<(), Error>>::new());
    assert_eq!(
        set(Some(reenter), pointer(&results), LevelFilter::Error),
        Ok(())
    );
    log::error!(target: "test", "once");
    off();
    let results = results.into_inner().unwrap();
    assert!(
        !results.is_empty() && results.iter().all(|r| *r == Err(Error::Busy)),
        "{results:?}"
    );
}

#[test]
fn the_environment_does_not_displace_a_hook() {
    let _turn = turn();
    let records = Records::default();
    assert_eq!(
        set(Some(record), pointer(&records), LevelFilter::Error),
        Ok(())
    );
    assert_eq!(set_from_environment(), Err(Error::InUse));
    log::error!(target: "test", "still here");
    assert_eq!(records.lock().unwrap().len(), 1);
    off();
    assert_eq!(set_from_environment(), Ok(()));
    assert_eq!(set_from_environment(), Ok(()));
    // A hook may take over.
    assert_eq!(
        set(Some(record), pointer(&records), LevelFilter::Error),
        Ok(())
    );
    log::error!(target: "test", "again");
    assert_eq!(records.lock().unwrap().len(), 2);
    off();
}

#[test]
fn a_nul_within_a_message_does_not_cut_it_short() {
    assert_eq!(c_string("a\0b".to_owned()).as_c_str(), c"a?b");
    assert_eq!(c_string(String::new()).as_c_str(), c"");
}
