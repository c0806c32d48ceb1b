//! TUN devices: IP packets out of and into the kernel.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

/// `struct ifreq` with the members that TUNSETIFF looks at.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

nix::ioctl_readwrite_bad!(
    tun_set_iff,
    nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
    Request
);

/// A TUN device without packet information, checksum or segmentation offload; it is gone when this is dropped.
#[derive(Debug)]
pub struct Tun(File);

impl Tun {
    /// Makes the device in the calling thread's network namespace.
    ///
    /// # Errors
    /// Those of the system: no permission, no such driver.
    pub fn new(name: &str) -> io::Result<Tun> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")?;
        let mut request = Request {
            name: [0; libc::IFNAMSIZ],
            flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short,
            rest: [0; 22],
        };
        // The name stays terminated: a longer one is cut off.
        for (to, from) in request.name[..libc::IFNAMSIZ - 1]
            .iter_mut()
            .zip(name.bytes())
        {
            *to = from;
        }
        #[allow(unsafe_code)] // no library opens a TUN device without one
        // SAFETY: the descriptor is open, and the kernel reads and writes a `struct ifreq` at the pointer, which
        // `request` is in size and in the members used, and which lives until the call returns.
        unsafe { tun_set_iff(file.as_raw_fd(), &raw mut request) }?;
        Ok(Tun(file))
    }

    /// The next packet that the kernel sends, if there is one.
    ///
    /// # Errors
    /// Those of the system, except that there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.0).read(buffer) {
            Ok(n) => Ok(Some(n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands the kernel a packet; it deals with it before this returns.
    ///
    /// # Errors
    /// Those of the system.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write(packet).map(|_| ())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
