//! The subcommands of `lab`, one file each: its options, and what it does.

pub mod compare;
#[cfg(target_os = "linux")]
pub mod emulate;
#[cfg(target_os = "linux")]
pub mod peers;
#[cfg(target_os = "linux")]
pub mod signals;
