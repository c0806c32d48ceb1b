//! Which version of the library this is.

/// Major version that this header belongs to: changes when old callers would break.
pub const UTCP_VERSION_MAJOR: u32 = 0;
/// Minor version that this header belongs to: something was added.
pub const UTCP_VERSION_MINOR: u32 = 1;
/// Patch version that this header belongs to.
pub const UTCP_VERSION_PATCH: u32 = 0;

/// The version of the library in use, `(major << 16) | (minor << 8) | patch`; compare it with UTCP_VERSION_* of the
/// header to find a library that is older than what the program was compiled for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn utcp_version() -> u32 {
    (UTCP_VERSION_MAJOR << 16) | (UTCP_VERSION_MINOR << 8) | UTCP_VERSION_PATCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_crates() {
        let crates = env!("CARGO_PKG_VERSION");
        assert_eq!(
            crates,
            format!("{UTCP_VERSION_MAJOR}.{UTCP_VERSION_MINOR}.{UTCP_VERSION_PATCH}")
        );
        // SAFETY: asks nothing of its caller.
        assert_eq!(unsafe { utcp_version() }, 0x0000_0100);
    }
}
