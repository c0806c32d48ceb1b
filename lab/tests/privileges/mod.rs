//! Whether network namespaces and TUN devices can be made here.

use std::io::Write as _;
use std::sync::OnceLock;

/// Says so aloud if the tests cannot run; with CI=true that is a failure.
pub fn possible() -> bool {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let Some(reason) = REASON.get_or_init(utcp_lab::emulate::unavailable) else {
        return true;
    };
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "CI=true: nothing may be skipped: {reason}"
    );
    let name = std::thread::current().name().unwrap_or("?").to_string();
    // Not eprintln: the test harness keeps that of tests that pass.
    let line = format!("SKIPPED {name}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}
