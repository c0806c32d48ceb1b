//! Buffers and output pointers of the caller's.

use crate::error::Error;

fn check<T>(pointer: *const T, len: usize) -> Result<(), Error> {
    if pointer.is_null() {
        return if len == 0 { Ok(()) } else { Err(Error::Null) };
    }
    if !pointer.is_aligned() || len > isize::MAX as usize / size_of::<T>() {
        return Err(Error::Argument);
    }
    Ok(())
}

/// The caller's `len` elements; NULL with length 0 is empty.
///
/// # Safety
/// Unless NULL, `pointer` points to `len` elements that nothing changes during `'a`.
pub(super) unsafe fn slice<'a, T>(pointer: *const T, len: usize) -> Result<&'a [T], Error> {
    check(pointer, len)?;
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: not NULL, aligned, not longer than a slice may be, and the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// The caller's buffer of `len` octets; NULL with length 0 is empty.
///
/// # Safety
/// Unless NULL, `pointer` points to `len` octets that nothing else uses during `'a`.
pub(super) unsafe fn slice_mut<'a>(pointer: *mut u8, len: usize) -> Result<&'a mut [u8], Error> {
    check(pointer, len)?;
    if len == 0 {
        return Ok(&mut []);
    }
    // SAFETY: as above.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, len) })
}

/// Where a result goes: checked before the work, written after it.
pub(super) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// # Safety
    /// Unless NULL, `pointer` can be written to until [`Out::set`].
    pub(super) unsafe fn new(pointer: *mut T) -> Result<Out<T>, Error> {
        if pointer.is_null() {
            return Err(Error::Null);
        }
        if !pointer.is_aligned() {
            return Err(Error::Argument);
        }
        Ok(Out(pointer))
    }

    pub(super) fn set(self, value: T) {
        // SAFETY: checked by `new`, with its caller's promise; what was there is overwritten, not dropped.
        unsafe { self.0.write(value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::{null, null_mut};

    #[test]
    fn null_is_empty_only_without_a_length() {
        // SAFETY: NULL is allowed.
        unsafe {
            assert_eq!(slice::<u8>(null(), 0), Ok(&[][..]));
            assert_eq!(slice::<u8>(null(), 1), Err(Error::Null));
            assert_eq!(slice_mut(null_mut(), 0), Ok(&mut [][..]));
            assert_eq!(slice_mut(null_mut(), 1), Err(Error::Null));
            assert_eq!(Out::<u8>::new(null_mut()).err(), Some(Error::Null));
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let octets = [0u8; 16];
        // SAFETY: refused before anything is read.
        unsafe {
            assert_eq!(slice(octets.as_ptr(), usize::MAX), Err(Error::Argument));
            assert!(slice(octets.as_ptr().cast::<u64>(), usize::MAX / 8).is_err());
        }
    }
}
