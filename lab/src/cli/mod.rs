//! The subcommands of `lab`, one file each: its options, and what it does.

pub mod compare;
