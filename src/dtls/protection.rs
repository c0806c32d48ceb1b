//! Records of an established session: keys, AEAD and the replay window (RFC 6347, section 4.1).
//!
//! The handshake is OpenSSL's, and so is the encryption (EVP). What is done here is what lies between: for a record of
//! 1,400 octets OpenSSL 3.0's SSL_write and SSL_read take about as long around the encryption as the encryption, and copy
//! everything twice. Once a session is established OpenSSL neither reads nor writes a record of it, so that no record
//! number and no nonce is used by both.

use std::ffi::{c_int, c_uchar, c_uint};
use std::ptr;

use openssl_sys as ffi;

use super::MAX_PLAINTEXT;
use super::openssl::{self, CipherCtx, Param, Ssl};
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
    /// Secret; zero where the explicit nonce stands.
    salt: [u8; NONCE],
}

impl Keyed {
    /// `first`: the explicit nonce of the first record that is encrypted; `None` to decrypt.
    fn new(suite: Suite, key: &[u8], salt: &[u8], first: Option<u64>) -> Result<Keyed, Error> {
        let mut nonce = [0; NONCE];
        nonce[..salt.len()].copy_from_slice(salt);
        // SAFETY: a new context is ours; the key has the length that the cipher wants.
        let ctx = unsafe { CipherCtx::from_raw(ffi::EVP_CIPHER_CTX_new()) }.ok_or(Error::Memory)?;
        // SAFETY: as above.
        let mut done = unsafe {
            ffi::EVP_CipherInit_ex(
                ctx.as_ptr(),
                suite.cipher(),
                ptr::null_mut(),
                key.as_ptr(),
                ptr::null(),
                c_int::from(first.is_some()),
            ) == 1
        };
        if suite.explicit() > 0 {
            // All of the nonce with which counting begins, which is said by a length of -1, or the part that stays.
            let mut whole = nonce;
            whole[NONCE - EXPLICIT..].copy_from_slice(&first.unwrap_or(0).to_be_bytes());
            let length = if first.is_some() {
                -1
            } else {
                salt.len() as c_int
            };
            // SAFETY: the context is valid, and there are as many octets as a nonce has.
            done &= unsafe {
                ffi::EVP_CIPHER_CTX_ctrl(
                    ctx.as_ptr(),
                    openssl::EVP_CTRL_GCM_SET_IV_FIXED,
                    length,
                    whole.as_mut_ptr().cast(),
                ) == 1
            };
        }
        if !done {
            return Err(Error::Tls);
        }
        Ok(Keyed {
            ctx,
            suite,
            salt: nonce,
        })
    }

    /// Encrypts a record in place: nonce, plaintext, and room for the tag.
    fn seal(&mut self, beside: &Beside, body: &mut [u8]) -> bool {
        let explicit = self.suite.explicit();
        if explicit == 0 {
            return self.seal_in_steps(beside, body);
        }
        // What TLS itself uses: the nonce is counted up and written, and the tag too, in one call.
        let beside = beside.with(body.len() - TAG);
        let params = [Param::octets(c"tlsaad", &beside), Param::END];
        let length = body.len() as c_uint;
        let body = body.as_mut_ptr();
        // SAFETY: the context is valid; what the list names outlives the call, and it has an end. As much is encrypted as
        // the body has octets, in place.
        unsafe {
            openssl::EVP_CIPHER_CTX_set_params(self.ctx.as_ptr(), params.as_ptr()) == 1
                && openssl::EVP_Cipher(self.ctx.as_ptr(), body, body, length) >= 0
        }
    }

    fn seal_in_steps(&mut self, beside: &Beside, body: &mut [u8]) -> bool {
        let length = body.len() - TAG;
        let (data, tag) = body.split_at_mut(length);
        let out = data.as_mut_ptr();
        self.set_nonce(beside.number, true)
            && self.authenticate(&beside.with(length))
            // SAFETY: in place.
            && unsafe { self.update(out, out, length) }
            && self.finish()
            && self.get_tag(tag)
    }

    /// Decrypts `data` to the end of `out`, which is not to be looked at if it returns false.
    fn open(
        &mut self,
        beside: &Beside,
        nonce: &[u8],
        data: &[u8],
        tag: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        out.reserve(data.len());
        let begun = if nonce.is_empty() {
            self.set_nonce(beside.number, false)
                && self.set(&[Param::octets(c"tag", tag), Param::END])
        } else {
            self.set(&[
                Param::octets(c"tag", tag),
                Param::octets(c"tlsivinv", nonce),
                Param::END,
            ])
        };
        let to = out.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: there is room for as much as goes in.
        let done = begun
            && self.authenticate(&beside.with(data.len()))
            && unsafe { self.update(to, data.as_ptr(), data.len()) }
            && self.finish();
        if done {
            // SAFETY: so many octets were written.
            unsafe { out.set_len(out.len() + data.len()) };
        }
        done
    }

    fn set(&mut self, params: &[Param]) -> bool {
        // SAFETY: the context is valid; the list has an end, and what it names outlives the call.
        unsafe { openssl::EVP_CIPHER_CTX_set_params(self.ctx.as_ptr(), params.as_ptr()) == 1 }
    }

    /// RFC 7905, section 2.
    fn set_nonce(&mut self, number: u64, encrypts: bool) -> bool {
        let mut nonce = self.salt;
        for (place, octet) in nonce[NONCE - 8..].iter_mut().zip(number.to_be_bytes()) {
            *place ^= octet;
        }
        // SAFETY: the context is valid and has a key; all its nonces have this length.
        unsafe {
            ffi::EVP_CipherInit_ex(
                self.ctx.as_ptr(),
                ptr::null(),
                ptr::null_mut(),
                ptr::null(),
                nonce.as_ptr(),
                c_int::from(encrypts),
            ) == 1
        }
    }

    fn authenticate(&mut self, beside: &[u8; BESIDE]) -> bool {
        let mut n = 0;
        // SAFETY: the context is valid; there is no output.
        unsafe {
            ffi::EVP_CipherUpdate(
                self.ctx.as_ptr(),
                ptr::null_mut(),
                &mut n,
                beside.as_ptr(),
                beside.len() as c_int,
            ) == 1
        }
    }

    /// # Safety
    /// Both are valid for the length, and are the same or apart.
    unsafe fn update(&mut self, out: *mut c_uchar, data: *const c_uchar, length: usize) -> bool {
        let mut n = 0;
        // SAFETY: the context is valid; an AEAD writes as much as goes in.
        length == 0
            || unsafe {
                ffi::EVP_CipherUpdate(self.ctx.as_ptr(), out, &mut n, data, length as c_int) == 1
                    && n as usize == length
            }
    }

    fn finish(&mut self) -> bool {
        let (mut rest, mut n) = ([0; TAG], 0);
        // SAFETY: the context is valid; an AEAD leaves nothing to be written, and a block would have room.
        unsafe { openssl::EVP_CipherFinal_ex(self.ctx.as_ptr(), rest.as_mut_ptr(), &mut n) == 1 }
    }

    fn get_tag(&mut self, tag: &mut [u8]) -> bool {
        // SAFETY: the context is valid, and so are as many octets as are named.
        unsafe {
            ffi::EVP_CIPHER_CTX_ctrl(
                self.ctx.as_ptr(),
                ffi::EVP_CTRL_GCM_GET_TAG,
                tag.len() as c_int,
                tag.as_mut_ptr().cast(),
            ) == 1
        }
    }
}

/// What is authenticated beside the plaintext (RFC 5246, section 6.2.3.3).
struct Beside {
    /// Epoch and record number.
    number: u64,
    /// Content type and version.
    kind: [u8; 3],
}

const BESIDE: usize = 13;

impl Beside {
    fn with(&self, length: usize) -> [u8; BESIDE] {
        let mut octets = [0; BESIDE];
        octets[..8].copy_from_slice(&self.number.to_be_bytes());
        octets[8..11].copy_from_slice(&self.kind);
        octets[11..].copy_from_slice(&(length as u16).to_be_bytes());
        octets
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
        let first = last.explicit.wrapping_add(1);
        let protection = Keyed::new(suite, own.0, own.1, Some(first)).and_then(|own| {
            Ok(Protection {
                own,
                sequence: last.sequence + 1,
                peer: Keyed::new(suite, peer.0, peer.1, None)?,
                window: Window::default(),
            })
        });
        openssl::cleanse(block);
        protection
    }

    /// Octets of a record before its plaintext.
    pub fn ahead(&self) -> usize {
        HEADER + self.own.suite.explicit()
    }

    /// Makes a record of what stands in `record` from `from` on: room for as many octets as [`Protection::ahead`] says,
    /// then the plaintext, which is encrypted where it is.
    ///
    /// # Errors
    /// [`Error::Tls`]: OpenSSL fails, or all record numbers are used. The plaintext may be gone.
    pub fn seal(&mut self, content: u8, record: &mut Vec<u8>, from: usize) -> Result<(), Error> {
        record.extend_from_slice(&[0; TAG]);
        let record = record.get_mut(from..).unwrap_or(&mut []);
        let Some((header, body)) = record.split_first_chunk_mut::<HEADER>() else {
            return Err(Error::Tls);
        };
        let explicit = self.own.suite.explicit();
        if self.sequence >= NUMBERS || body.len() > explicit + MAX_PLAINTEXT + TAG {
            return Err(Error::Tls);
        }
        let beside = Beside {
            number: EPOCH | self.sequence,
            kind: [content, 0xfe, 0xfd],
        };
        // Used up, whatever comes of it.
        self.sequence += 1;
        header[..3].copy_from_slice(&beside.kind);
        header[3..11].copy_from_slice(&beside.number.to_be_bytes());
        header[11..].copy_from_slice(&(body.len() as u16).to_be_bytes());
        if self.own.seal(&beside, body) {
            Ok(())
        } else {
            Err(Error::Tls)
        }
    }

    /// Decrypts a record to `plain`, which is empty before, and stays so unless the record is authentic and new.
    /// Returns whether it is.
    pub fn open(&mut self, record: &Record<'_>, plain: &mut Vec<u8>) -> bool {
        let parts = record.body.split_at_checked(self.peer.suite.explicit());
        let Some((nonce, rest)) = parts else {
            return false;
        };
        let (Some((data, tag)), Some(&kind)) = (
            rest.split_last_chunk::<TAG>(),
            record.bytes.first_chunk::<3>(),
        ) else {
            return false;
        };
        if data.len() > MAX_PLAINTEXT || !self.window.is_new(record.sequence) {
            return false;
        }
        let beside = Beside {
            number: u64::from(record.epoch) << 48 | record.sequence,
            kind,
        };
        if !self.peer.open(&beside, nonce, data, tag, plain) {
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
