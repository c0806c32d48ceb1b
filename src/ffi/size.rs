//! Structs that grow: they start with their size, as the caller's header had it.

use crate::error::Error;

/// Sizes beyond this cannot be meant: the member was not set.
const LARGEST: usize = 4096;

/// A struct that starts with its size as a `usize`.
///
/// # Safety
/// The type is `repr(C)`, `Copy`, starts with a `usize` member `size`, and any octets are a value of it, those of
/// NULL function pointers included.
pub(super) unsafe trait Versioned: Copy {
    /// The size of its first published version.
    const FIRST: usize;
    /// Members are whole multiples of this.
    const UNIT: usize;
}

/// The caller's size, checked.
///
/// # Safety
/// Unless NULL, `pointer` points to a struct that starts with its size.
unsafe fn size_of_callers<T: Versioned>(pointer: *const T) -> Result<usize, Error> {
    if pointer.is_null() {
        return Err(Error::Null);
    }
    if !pointer.is_aligned() {
        return Err(Error::Argument);
    }
    // SAFETY: not NULL, aligned, and the size is the first member.
    let size = unsafe { pointer.cast::<usize>().read() };
    if (T::FIRST..=LARGEST).contains(&size) {
        Ok(size)
    } else {
        Err(Error::Size)
    }
}

/// Reads the caller's struct. Members that the caller does not know are zero; members that this library does not know
/// must be zero, so that nothing the caller relies on is ignored.
///
/// # Safety
/// Unless NULL, `pointer` points to a struct that starts with its size, and has that size.
pub(super) unsafe fn read<T: Versioned>(pointer: *const T) -> Result<T, Error> {
    // SAFETY: passed on.
    let size = unsafe { size_of_callers(pointer) }?;
    let ours = size_of::<T>();
    // Half a member is none.
    let known = size.min(ours) / T::UNIT * T::UNIT;
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: `known` octets are the caller's promise on one side, and within a T on the other. Zeroes and the
    // caller's octets are a value of T by its contract.
    let value = unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), known);
        value.assume_init()
    };
    if size > ours {
        // SAFETY: the caller promised `size` octets.
        let rest =
            unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().add(ours), size - ours) };
        if rest.iter().any(|octet| *octet != 0) {
            return Err(Error::Size);
        }
    }
    Ok(value)
}

/// Whether the caller's struct can be written to.
///
/// # Safety
/// As for [`write`].
pub(super) unsafe fn check<T: Versioned>(pointer: *mut T) -> Result<(), Error> {
    // SAFETY: passed on.
    unsafe { size_of_callers(pointer.cast_const()) }.map(drop)
}

/// Writes to the caller's struct: what it has room for. Members that this library does not know become zero; the size
/// stays what the caller set.
///
/// # Safety
/// Unless NULL, `pointer` points to a struct that starts with its size, and has that size.
pub(super) unsafe fn write<T: Versioned>(pointer: *mut T, value: &T) -> Result<(), Error> {
    // SAFETY: passed on.
    let size = unsafe { size_of_callers(pointer.cast_const()) }?;
    let ours = size_of::<T>();
    let first = size_of::<usize>();
    let known = size.min(ours) / T::UNIT * T::UNIT;
    // SAFETY: `size` octets are the caller's promise, and `known` are within both structs; both are at least FIRST,
    // which is more than the size member.
    unsafe {
        let from = std::ptr::from_ref(value).cast::<u8>();
        let to = pointer.cast::<u8>();
        std::ptr::copy_nonoverlapping(from.add(first), to.add(first), known - first);
        std::ptr::write_bytes(to.add(known), 0, size - known);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Today's struct, whose first version ended with `b`.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Now {
        size: usize,
        a: u64,
        b: u64,
        c: u64,
    }

    // SAFETY: as the contract says.
    unsafe impl Versioned for Now {
        const FIRST: usize = 24;
        const UNIT: usize = 8;
    }

    const OURS: usize = size_of::<Now>();
    const VALUE: Now = Now {
        size: 0,
        a: 1,
        b: 2,
        c: 3,
    };

    /// A caller's memory: `size` set, all else filled.
    fn memory(size: usize) -> [u64; 8] {
        let mut memory = [u64::MAX; 8];
        memory[0] = size as u64;
        memory
    }

    fn write_to(memory: &mut [u64; 8]) -> Result<(), Error> {
        // SAFETY: sizes up to 64 are there; larger ones are refused before anything is touched.
        unsafe { write(memory.as_mut_ptr().cast::<Now>(), &VALUE) }
    }

    #[test]
    fn an_old_caller_gets_what_it_has_room_for() {
        let mut old = memory(24);
        assert_eq!(write_to(&mut old), Ok(()));
        assert_eq!(
            old,
            [24, 1, 2, u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX]
        );
    }

    #[test]
    fn a_newer_caller_finds_zeroes_where_nothing_is_known() {
        let mut newer = memory(48);
        assert_eq!(write_to(&mut newer), Ok(()));
        assert_eq!(newer, [48, 1, 2, 3, 0, 0, u64::MAX, u64::MAX]);
        // SAFETY: 48 octets are there.
        let read = unsafe { read(newer.as_ptr().cast::<Now>()) }.expect("zeroes are accepted");
        assert_eq!((read.a, read.b, read.c), (1, 2, 3));
    }

    #[test]
    fn half_a_member_is_none() {
        let mut odd = memory(OURS - 4);
        assert_eq!(write_to(&mut odd), Ok(()));
        assert_eq!(odd[..3], [28, 1, 2]);
        assert_eq!(odd[3].to_ne_bytes(), [0, 0, 0, 0, 255, 255, 255, 255]);
        // SAFETY: 28 octets are there.
        let read = unsafe { read(odd.as_ptr().cast::<Now>()) }.expect("accepted");
        assert_eq!(read.c, 0);
    }

    #[test]
    fn members_that_are_not_known_must_be_zero_when_read() {
        let newer = memory(40);
        // SAFETY: 40 octets are there.
        let read = unsafe { read(newer.as_ptr().cast::<Now>()) };
        assert_eq!(read.err(), Some(Error::Size));
    }

    #[test]
    fn an_old_callers_missing_members_are_zero() {
        let old = memory(24);
        // SAFETY: 24 octets are there.
        let read = unsafe { read(old.as_ptr().cast::<Now>()) }.expect("the first version");
        assert_eq!((read.a, read.b, read.c), (u64::MAX, u64::MAX, 0));
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_and_nothing_is_written() {
        for size in [0, 8, 23, LARGEST + 1, usize::MAX] {
            let mut bad = memory(size);
            assert_eq!(write_to(&mut bad), Err(Error::Size), "{size}");
            assert_eq!(bad, memory(size));
        }
        // SAFETY: NULL is allowed.
        let nothing = unsafe { read(std::ptr::null::<Now>()) };
        assert_eq!(nothing.err(), Some(Error::Null));
        let shifted = memory(32).map(u64::to_ne_bytes).concat();
        // SAFETY: readable; refused for its alignment, or, if the array happens not to be aligned itself, for its
        // size.
        assert!(unsafe { check(shifted[1..].as_ptr().cast::<Now>().cast_mut()) }.is_err());
    }
}
