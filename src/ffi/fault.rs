//! A way to make a bug happen, for tests of what follows. Only in tests, and with the feature `fault-injection`; not
//! in the header.

use std::ffi::c_int;

use super::error::code;
use super::{endpoint, utcp_endpoint};

/// Panics while the endpoint proper is at work.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_test_panic(endpoint: *mut utcp_endpoint) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe {
        endpoint::with(endpoint, |shared| {
            shared.core(|_| panic!("as the test asked"))
        })
    })
}
