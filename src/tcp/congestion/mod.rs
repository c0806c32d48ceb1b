//! Congestion control behind an enum.

/// Which congestion control a circuit uses. The numbers are part of the C ABI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Algorithm {
    /// RFC 5681.
    NewReno = 1,
    /// RFC 9438.
    #[default]
    Cubic = 2,
}
