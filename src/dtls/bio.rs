//! The BIO between an `SSL` and its session: reads one record, collects what OpenSSL writes, answers what OpenSSL
//! asks of a datagram socket. A memory BIO would lose datagram boundaries.

use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use openssl_sys as ffi;

use super::openssl::Bio;
use crate::error::Error;

/// Control numbers of `BIO_ctrl` (openssl/bio.h).
const FLUSH: c_int = 11;
const QUERY_MTU: c_int = 40;
const GET_MTU: c_int = 41;
const SET_MTU: c_int = 42;
const SET_NEXT_TIMEOUT: c_int = 45;
const GET_FALLBACK_MTU: c_int = 47;

const TYPE_SOURCE_SINK: c_int = 0x0400;
const FLAG_READ: c_int = 0x01;
const FLAG_SHOULD_RETRY: c_int = 0x08;
const FLAG_ANY: c_int = 0x0f;

/// What passes between OpenSSL and a session. Belongs to the BIO and is freed with it, so that it lives as long as
/// OpenSSL may use it, even if the relay keeps a reference to the `SSL`.
struct Channel {
    /// What the next read returns; borrowed for one call into OpenSSL, empty otherwise.
    input: *const [u8],
    /// What OpenSSL wrote: whole records, one after the other.
    written: Vec<u8>,
    /// The UDP payload that OpenSSL may fill.
    mtu: usize,
    /// The table that the BIO points to must outlive it.
    _method: Arc<Method>,
}

/// A BIO's table of functions.
pub(super) struct Method(NonNull<ffi::BIO_METHOD>);

// SAFETY: the table is written in `new` only.
unsafe impl Send for Method {}
// SAFETY: as above; OpenSSL only reads it.
unsafe impl Sync for Method {}

impl Method {
    pub fn new() -> Result<Arc<Method>, Error> {
        // No index of its own: OpenSSL has fewer than 128 for the whole process, and only filters look at them.
        // SAFETY: the name is a static C string.
        let table = unsafe { ffi::BIO_meth_new(TYPE_SOURCE_SINK, c"utcp datagram".as_ptr()) };
        let method = Method(NonNull::new(table).ok_or(Error::Memory)?);
        // SAFETY: the table is valid and not in use yet; the functions have the types it wants.
        unsafe {
            ffi::BIO_meth_set_read__fixed_rust(table, Some(read));
            ffi::BIO_meth_set_write__fixed_rust(table, Some(write));
            ffi::BIO_meth_set_ctrl__fixed_rust(table, Some(ctrl));
            ffi::BIO_meth_set_destroy__fixed_rust(table, Some(destroy));
        }
        Ok(Arc::new(method))
    }
}

impl Drop for Method {
    fn drop(&mut self) {
        // SAFETY: every BIO holds its method through an `Arc`, so none is left. OpenSSL does not look at the table
        // after `destroy`, from which this may be called.
        unsafe { ffi::BIO_meth_free(self.0.as_ptr()) }
    }
}

/// The session's end of the channel. Valid as long as the session's `SSL`, which it must not outlive.
pub(super) struct Port(NonNull<Channel>);

// SAFETY: the channel is plain memory that only the owner of the `SSL` reaches.
unsafe impl Send for Port {}

impl Port {
    /// A BIO and the port to it.
    pub fn new(method: &Arc<Method>, mtu: usize) -> Result<(Bio, Port), Error> {
        // SAFETY: the method is complete; the reference returned is ours.
        let bio = unsafe { Bio::from_raw(ffi::BIO_new(method.0.as_ptr())) }.ok_or(Error::Memory)?;
        let channel = Box::new(Channel {
            input: &[],
            written: Vec::new(),
            mtu,
            _method: Arc::clone(method),
        });
        let channel = NonNull::from(Box::leak(channel));
        // SAFETY: the BIO is new; `destroy` takes the box back.
        unsafe {
            ffi::BIO_set_data(bio.as_ptr(), channel.as_ptr().cast());
            ffi::BIO_set_init(bio.as_ptr(), 1);
        }
        Ok((bio, Port(channel)))
    }

    /// Runs `call`, within which OpenSSL reads `record` (once) and finds nothing after it.
    pub fn with_input<T>(&mut self, record: &[u8], call: impl FnOnce() -> T) -> T {
        // SAFETY: the channel lives as long as the `SSL`; no call into OpenSSL is under way.
        unsafe { (*self.0.as_ptr()).input = record };
        let result = call();
        // SAFETY: as above. The borrow of `record` ends here, read or not.
        unsafe { (*self.0.as_ptr()).input = &[] };
        result
    }

    /// Exchanges the buffer that OpenSSL writes to.
    pub fn swap_written(&mut self, buffer: &mut Vec<u8>) {
        // SAFETY: the channel lives as long as the `SSL`; no call into OpenSSL is under way.
        std::mem::swap(unsafe { &mut (*self.0.as_ptr()).written }, buffer);
    }
}

/// The channel of a BIO, null only between `BIO_new` and `BIO_set_data`.
///
/// # Safety
/// `bio` is a BIO of this module.
unsafe fn channel(bio: *mut ffi::BIO) -> *mut Channel {
    // SAFETY: by contract.
    unsafe { ffi::BIO_get_data(bio).cast() }
}

unsafe extern "C" fn read(bio: *mut ffi::BIO, buffer: *mut c_char, length: c_int) -> c_int {
    // SAFETY: OpenSSL calls this with a BIO of this module and a buffer of `length` octets. The channel is not
    // borrowed elsewhere while OpenSSL runs, and `input` is valid until `with_input` empties it.
    unsafe {
        ffi::BIO_clear_flags(bio, FLAG_ANY);
        let channel = channel(bio);
        let size = usize::try_from(length).unwrap_or(0);
        if channel.is_null() || (*channel).input.is_empty() || size == 0 {
            ffi::BIO_set_flags(bio, FLAG_READ | FLAG_SHOULD_RETRY);
            return -1;
        }
        let input = (*channel).input;
        (*channel).input = &[];
        // As from a socket: what does not fit is lost.
        let n = input.len().min(size);
        ptr::copy_nonoverlapping(input.cast::<u8>(), buffer.cast(), n);
        n as c_int
    }
}

unsafe extern "C" fn write(bio: *mut ffi::BIO, data: *const c_char, length: c_int) -> c_int {
    // SAFETY: OpenSSL calls this with a BIO of this module and `length` octets of data. The channel is not borrowed
    // elsewhere while OpenSSL runs.
    unsafe {
        ffi::BIO_clear_flags(bio, FLAG_ANY);
        let channel = channel(bio);
        let size = usize::try_from(length).unwrap_or(0);
        if channel.is_null() || data.is_null() {
            return -1;
        }
        (*channel)
            .written
            .extend_from_slice(std::slice::from_raw_parts(data.cast(), size));
        length
    }
}

unsafe extern "C" fn ctrl(bio: *mut ffi::BIO, command: c_int, _: c_long, _: *mut c_void) -> c_long {
    match command {
        FLUSH | SET_NEXT_TIMEOUT => 1,
        QUERY_MTU | GET_MTU | SET_MTU | GET_FALLBACK_MTU => {
            // SAFETY: OpenSSL calls this with a BIO of this module. The channel is not borrowed elsewhere while
            // OpenSSL runs.
            let mtu = unsafe { channel(bio).as_ref().map_or(0, |channel| channel.mtu) };
            mtu as c_long
        }
        // Among them: octets pending either way, the overhead that the MTU does not include, whether the MTU was
        // exceeded, the peer's address. All 0: none, or not supported.
        _ => 0,
    }
}

unsafe extern "C" fn destroy(bio: *mut ffi::BIO) -> c_int {
    // SAFETY: OpenSSL calls this once, with a BIO of this module, when nothing uses it any more.
    unsafe {
        let channel = channel(bio);
        if !channel.is_null() {
            ffi::BIO_set_data(bio, ptr::null_mut());
            drop(Box::from_raw(channel));
        }
    }
    1
}
