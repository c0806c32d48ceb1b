//! Records of an established session: keys, AEAD and the replay window (RFC 6347, section 4.1).
//!
//! The handshake is OpenSSL's, and so is the encryption (EVP). What is done here is what lies between: for a record of
//! 1,400 octets OpenSSL 3.0's SSL_write and SSL_read take about as long around the encryption as the encryption, and copy
//! everything twice. Once a session is established OpenSSL neither reads nor writes a record of it, so that no record
//! number and no nonce is used by both.

use std::ffi::{c_int, c_uchar};
use std::ptr;

use openssl_sys as ffi;

use super::MAX_PLAINTEXT;
use super::openssl::{self, CipherCtx, Ssl};
use super::record::{HEADER, Record};
use crate::endpoint::Role;
use crate::error::Error;

/// Octets of the tag, of every AEAD that is offered.
const TAG: usize = 16;
/// Octets of the nonce that AES-GCM sends with each record (RFC 5288, section 3).
const EXPLICIT: usize = 8;
/// Octets of a nonce: a part that is kept secret and the explicit one, or a secret one and the record number.
const NONCE: usize = 12;
/// Record numbers have 48 bits.
const NUMBERS: u64 = 1 << 48;
/// The epoch of all data: there is no renegotiation.
const EPOCH: u64 = 1 << 48;
const KEY_MOST: usize = 32;

/// How records are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    /// RFC 5288.
    Aes128Gcm,
    /// RFC 5288.
    Aes256Gcm,
    /// RFC 7905.
    ChaCha20Poly1305,
}

impl Suite {
    fn of(name: &str) -> Option<Suite> {
        if name.contains("AES128-GCM") {
            Some(Suite::Aes128Gcm)
        } else if name.contains("AES256-GCM") {
            Some(Suite::Aes256Gcm)
        } else if name.contains("CHACHA20-POLY1305") {
            Some(Suite::ChaCha20Poly1305)
        } else {
            None
        }
    }

    fn key(self) -> usize {
        match self {
            Suite::Aes128Gcm => 16,
            Suite::Aes256Gcm | Suite::ChaCha20Poly1305 => 32,
        }
    }

    /// Octets of each record that are nonce.
    fn explicit(self) -> usize {
        match self {
            Suite::Aes128Gcm | Suite::Aes256Gcm => EXPLICIT,
            Suite::ChaCha20Poly1305 => 0,
        }
    }

    /// Octets of the secret part of the nonce.
    fn salt(self) -> usize {
        NONCE - self.explicit()
    }

    fn cipher(self) -> *const ffi::EVP_CIPHER {
        // SAFETY: these return static tables.
        unsafe {
            match self {
                Suite::Aes128Gcm => ffi::EVP_aes_128_gcm(),
                Suite::Aes256Gcm => ffi::EVP_aes_256_gcm(),
                Suite::ChaCha20Poly1305 => ffi::EVP_chacha20_poly1305(),
            }
        }
    }
}

/// The last record that OpenSSL has encrypted.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastWritten {
    /// Its number.
    sequence: u64,
    /// What may be its explicit nonce, which starts at random and is counted up.
    explicit: u64,
}

impl LastWritten {
    /// Of an encrypted record.
    pub fn of(record: &Record<'_>) -> LastWritten {
        LastWritten {
            sequence: record.sequence,
            explicit: record
                .body
                .first_chunk()
                .map_or(0, |octets| u64::from_be_bytes(*octets)),
        }
    }
}

/// One direction: a key that is set up, and what nonces are made of.
struct Keyed {
    ctx: CipherCtx,
    suite: Suite,
    /// Secret, and zero where the explicit nonce stands.
    salt: [u8; NONCE],
    encrypts: bool,
}

impl Keyed {
    fn new(suite: Suite, key: &[u8], salt: &[u8], encrypts: bool) -> Result<Keyed, Error> {
        let mut nonce = [0; NONCE];
        nonce[..salt.len()].copy_from_slice(salt);
        // SAFETY: a new context is ours; the key has the length that the cipher wants.
        let ctx = unsafe { CipherCtx::from_raw(ffi::EVP_CIPHER_CTX_new()) }.ok_or(Error::Memory)?;
        // SAFETY: as above.
        let done = unsafe {
            ffi::EVP_CipherInit_ex(
                ctx.as_ptr(),
                suite.cipher(),
                ptr::null_mut(),
                key.as_ptr(),
                ptr::null(),
                c_int::from(encrypts),
            )
        };
        if done != 1 {
            return Err(Error::Tls);
        }
        Ok(Keyed {
            ctx,
            suite,
            salt: nonce,
            encrypts,
        })
    }

    /// Begins a record: nonce, and what is authenticated beside the plaintext (RFC 5246, section 6.2.3.3). `number`:
    /// epoch and record number.
    fn begin(
        &mut self,
        number: u64,
        explicit: u64,
        [content, major, minor]: [u8; 3],
        length: usize,
    ) -> bool {
        let mut nonce = self.salt;
        let variable = match self.suite.explicit() {
            0 => number,
            _ => explicit,
        };
        for (place, octet) in nonce[NONCE - 8..].iter_mut().zip(variable.to_be_bytes()) {
            *place ^= octet;
        }
        let mut beside = [0; 13];
        beside[..8].copy_from_slice(&number.to_be_bytes());
        beside[8..11].copy_from_slice(&[content, major, minor]);
        beside[11..].copy_from_slice(&(length as u16).to_be_bytes());
        let mut n = 0;
        // SAFETY: the context is valid and has a key; all its nonces have this length; there is no output.
        unsafe {
            ffi::EVP_CipherInit_ex(
                self.ctx.as_ptr(),
                ptr::null(),
                ptr::null_mut(),
                ptr::null(),
                nonce.as_ptr(),
                c_int::from(self.encrypts),
            ) == 1
                && ffi::EVP_CipherUpdate(
                    self.ctx.as_ptr(),
                    ptr::null_mut(),
                    &mut n,
                    beside.as_ptr(),
                    beside.len() as c_int,
                ) == 1
        }
    }

    /// Encrypts or decrypts, and appends the result to `out`, which has room for it.
    fn update(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
        if data.is_empty() {
            return true;
        }
        let spare = out.spare_capacity_mut();
        if spare.len() < data.len() {
            return false;
        }
        let mut n = 0;
        // SAFETY: the context is valid, and there is room for as much as goes in, which is what comes out.
        let done = unsafe {
            ffi::EVP_CipherUpdate(
                self.ctx.as_ptr(),
                spare.as_mut_ptr().cast(),
                &mut n,
                data.as_ptr(),
                data.len() as c_int,
            )
        };
        if done != 1 || n as usize != data.len() {
            return false;
        }
        // SAFETY: so many octets were written.
        unsafe { out.set_len(out.len() + data.len()) };
        true
    }

    fn finish(&mut self) -> bool {
        let (mut rest, mut n) = ([0; TAG], 0);
        // SAFETY: the context is valid; an AEAD leaves nothing to be written, and a block would have room.
        unsafe { openssl::EVP_CipherFinal_ex(self.ctx.as_ptr(), rest.as_mut_ptr(), &mut n) == 1 }
    }

    fn tag(&mut self, command: c_int, tag: &mut [u8; TAG]) -> bool {
        // SAFETY: the context is valid, and so are as many octets as are named.
        unsafe {
            ffi::EVP_CIPHER_CTX_ctrl(
                self.ctx.as_ptr(),
                command,
                TAG as c_int,
                tag.as_mut_ptr().cast(),
            ) == 1
        }
    }
}

/// Which records have come (RFC 6347, section 4.1.2.6). Reaches 63 records back.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// The highest number.
    latest: u64,
    /// Bit n: the one n before it has come.
    seen: u64,
}

impl Window {
    fn is_new(&self, sequence: u64) -> bool {
        match self.latest.checked_sub(sequence) {
            None => true,
            Some(behind) => behind < 64 && self.seen >> behind & 1 == 0,
        }
    }

    /// An authentic record has come.
    fn note(&mut self, sequence: u64) {
        match self.latest.checked_sub(sequence) {
            Some(behind) => self.seen |= 1u64.checked_shl(behind as u32).unwrap_or(0),
            None => {
                let ahead = u32::try_from(sequence - self.latest).unwrap_or(u32::MAX);
                self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
                self.latest = sequence;
            }
        }
    }
}

/// Encrypts and decrypts the records of a session.
pub(super) struct Protection {
    own: Keyed,
    /// The next record's.
    sequence: u64,
    explicit: u64,
    peer: Keyed,
    window: Window,
}

impl Protection {
    /// For a session whose handshake is complete. `last`: the last record that OpenSSL has encrypted, after which it
    /// encrypts no other.
    ///
    /// # Errors
    /// [`Error::Tls`]: a cipher suite that is not offered, or OpenSSL fails. [`Error::Memory`].
    pub fn new(ssl: &Ssl, role: Role, last: LastWritten) -> Result<Protection, Error> {
        let name = openssl::cipher_name(ssl).ok_or(Error::Tls)?;
        let suite = Suite::of(&name).ok_or(Error::Tls)?;
        let (key, salt) = (suite.key(), suite.salt());
        let mut block = [0; 2 * (KEY_MOST + NONCE)];
        let block = &mut block[..2 * (key + salt)];
        openssl::key_block(ssl, block)?;
        // RFC 5246, section 6.3: both keys, then both salts, the client's first.
        let (keys, salts) = block.split_at(2 * key);
        let (client_key, server_key) = keys.split_at(key);
        let (client_salt, server_salt) = salts.split_at(salt);
        let (own, peer) = match role {
            Role::Client => ((client_key, client_salt), (server_key, server_salt)),
            Role::Server => ((server_key, server_salt), (client_key, client_salt)),
        };
        let protection = Keyed::new(suite, own.0, own.1, true).and_then(|own| {
            Ok(Protection {
                own,
                sequence: last.sequence + 1,
                explicit: last.explicit.wrapping_add(1),
                peer: Keyed::new(suite, peer.0, peer.1, false)?,
                window: Window::default(),
            })
        });
        openssl::cleanse(block);
        protection
    }

    /// Octets that no authentic record's body has fewer of.
    fn overhead(&self) -> usize {
        self.peer.suite.explicit() + TAG
    }

    /// Appends a record to `out`, and nothing in case of an error.
    ///
    /// # Errors
    /// [`Error::Tls`]: OpenSSL fails, or all record numbers are used.
    pub fn seal(&mut self, content: u8, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let from = out.len();
        if self.sequence >= NUMBERS || plain.len() > MAX_PLAINTEXT {
            return Err(Error::Tls);
        }
        // Used up, whatever comes of it.
        let (number, explicit) = (EPOCH | self.sequence, self.explicit);
        self.sequence += 1;
        self.explicit = self.explicit.wrapping_add(1);
        let nonce = self.own.suite.explicit();
        let body = nonce + plain.len() + TAG;
        out.reserve(HEADER + body);
        let kind = [content, 0xfe, 0xfd];
        out.extend_from_slice(&kind);
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&(body as u16).to_be_bytes());
        out.extend_from_slice(&explicit.to_be_bytes()[..nonce]);
        let mut tag = [0; TAG];
        let done = self.own.begin(number, explicit, kind, plain.len())
            && self.own.update(plain, out)
            && self.own.finish()
            && self.own.tag(ffi::EVP_CTRL_GCM_GET_TAG, &mut tag);
        if !done {
            out.truncate(from);
            return Err(Error::Tls);
        }
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Decrypts a record to `plain`, which is empty before, and stays so unless the record is authentic and new.
    /// Returns whether it is.
    pub fn open(&mut self, record: &Record<'_>, plain: &mut Vec<u8>) -> bool {
        let explicit = self.peer.suite.explicit();
        let Some(length) = record.body.len().checked_sub(self.overhead()) else {
            return false;
        };
        if length > MAX_PLAINTEXT || !self.window.is_new(record.sequence) {
            return false;
        }
        let (nonce, rest) = record.body.split_at(explicit);
        let (data, tag) = rest.split_at(length);
        let nonce = nonce
            .first_chunk()
            .map_or(0, |octets| u64::from_be_bytes(*octets));
        let (Some(&kind), Some(&tag)) = (record.bytes.first_chunk::<3>(), tag.first_chunk::<TAG>())
        else {
            return false;
        };
        let number = u64::from(record.epoch) << 48 | record.sequence;
        let mut tag: [c_uchar; TAG] = tag;
        plain.reserve(length);
        let authentic = self.peer.begin(number, nonce, kind, length)
            && self.peer.update(data, plain)
            && self.peer.tag(ffi::EVP_CTRL_GCM_SET_TAG, &mut tag)
            && self.peer.finish();
        if !authentic {
            plain.clear();
            openssl::clear_errors();
            return false;
        }
        self.window.note(record.sequence);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_takes_each_number_once_and_reaches_63_back() {
        let mut window = Window::default();
        assert!(window.is_new(0));
        for sequence in [0, 1, 5, 3, 200, 137, 1 << 47] {
            assert!(window.is_new(sequence), "{sequence}");
            window.note(sequence);
            assert!(!window.is_new(sequence), "{sequence}");
        }
        let latest = 1u64 << 47;
        assert!(window.is_new(latest - 63));
        assert!(!window.is_new(latest - 64));
        assert!(!window.is_new(200));
        window.note(latest + 63);
        assert!(!window.is_new(latest));
        window.note(latest + 64);
        assert!(!window.is_new(latest));
        assert!(window.is_new(latest + 1));
    }
}
