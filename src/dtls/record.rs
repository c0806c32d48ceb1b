//! Record and handshake headers (RFC 6347, sections 4.1 and 4.2). Pure functions, every length checked.

use super::session::Drop;
use crate::endpoint::Role;

/// Content types (RFC 5246, section 6.2.1).
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// Octets of a record header.
pub(super) const HEADER: usize = 13;
/// Octets of a handshake message header.
pub(super) const HANDSHAKE_HEADER: usize = 12;
/// The largest body of an encrypted record (RFC 5246, section 6.2.3).
const MAX_BODY: usize = 16_384 + 2_048;

const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// What a datagram seems to be, judged by the headers of its first record. Nothing of it is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A ClientHello, or the first fragment of one that reaches as far as the cookie.
    ClientHello {
        /// The client's random.
        random: [u8; 32],
        /// Whether it carries a cookie.
        has_cookie: bool,
    },
    /// Another handshake message or a ChangeCipherSpec, in plaintext or encrypted.
    Handshake,
    /// Encrypted application data.
    ApplicationData,
    /// An alert in plaintext, which anyone could have sent.
    Alert,
    /// A well-formed record of another kind: an encrypted alert, application data in plaintext.
    Other,
    /// Not a DTLS 1.0 or 1.2 record.
    NotDtls,
}

/// A record within a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub content: u8,
    pub epoch: u16,
    /// 48 bits.
    pub sequence: u64,
    pub body: &'a [u8],
    /// Header and body.
    pub bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first record of `data`; `None` unless header and body are complete and of DTLS 1.0 or 1.2.
    pub fn parse(data: &'a [u8]) -> Option<Record<'a>> {
        let (header, rest) = data.split_first_chunk::<HEADER>()?;
        let [content, 0xfe, minor, e0, e1, s0, s1, s2, s3, s4, s5, l0, l1] = *header else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if !matches!(minor, 0xff | 0xfd)
            || !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&content)
            || length > MAX_BODY
        {
            return None;
        }
        Some(Record {
            content,
            epoch: u16::from_be_bytes([e0, e1]),
            sequence: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
            body: rest.get(..length)?,
            bytes: data.get(..HEADER + length)?,
        })
    }

    /// Whether a plaintext record can be a ChangeCipherSpec, or handshake messages (or fragments) from a peer of this
    /// role: by types and lengths only.
    pub fn check_handshake(&self, sender: Role) -> Result<(), Drop> {
        if self.content == CHANGE_CIPHER_SPEC {
            return if self.body == [1] {
                Ok(())
            } else {
                Err(Drop::BadRecord)
            };
        }
        let mut rest = self.body;
        while let Some((header, body)) = rest.split_first_chunk::<HANDSHAKE_HEADER>() {
            let senders = match header[0] {
                // ClientHello, CertificateVerify, ClientKeyExchange.
                CLIENT_HELLO | 15 | 16 => Some(Role::Client),
                // ServerHello, HelloVerifyRequest, ServerKeyExchange, CertificateRequest, ServerHelloDone.
                2 | HELLO_VERIFY_REQUEST | 12..=14 => Some(Role::Server),
                // Certificate.
                11 => None,
                // HelloRequest among them; Finished is never in plaintext.
                _ => return Err(Drop::BadRecord),
            };
            if senders.is_some_and(|role| role != sender) {
                return Err(Drop::PeerHandshake);
            }
            let (length, offset, fragment) = (
                number(&header[1..4]),
                number(&header[6..9]),
                number(&header[9..12]),
            );
            if length > MAX_BODY || offset + fragment > length || (fragment == 0 && length > 0) {
                return Err(Drop::BadRecord);
            }
            rest = body.get(fragment..).ok_or(Drop::BadRecord)?;
        }
        if rest.is_empty() && !self.body.is_empty() {
            Ok(())
        } else {
            Err(Drop::BadRecord)
        }
    }

    /// The message number of a plaintext handshake record.
    pub fn message_sequence(&self) -> Option<u16> {
        if self.content != HANDSHAKE || self.epoch != 0 || self.body.len() < HANDSHAKE_HEADER {
            return None;
        }
        Some(u16::from_be_bytes([self.body[4], self.body[5]]))
    }
}

/// What is needed of a ClientHello before there is a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientHello<'a> {
    /// Record number, echoed in the answer.
    pub sequence: u64,
    pub random: [u8; 32],
    pub cookie: &'a [u8],
}

impl<'a> ClientHello<'a> {
    /// Reads a ClientHello or a first fragment that reaches as far as the cookie.
    pub fn parse(record: &Record<'a>) -> Option<ClientHello<'a>> {
        if record.content != HANDSHAKE || record.epoch != 0 {
            return None;
        }
        let (header, body) = record.body.split_first_chunk::<HANDSHAKE_HEADER>()?;
        let (length, message, offset, fragment) = (
            number(&header[1..4]),
            number(&header[4..6]),
            number(&header[6..9]),
            number(&header[9..12]),
        );
        if header[0] != CLIENT_HELLO
            || message > 1
            || offset != 0
            || fragment > length
            || fragment != body.len()
        {
            return None;
        }
        let (version, body) = body.split_first_chunk::<2>()?;
        if version[0] != 0xfe {
            return None;
        }
        let (random, body) = body.split_first_chunk::<32>()?;
        let (_, body) = split_vector(body)?;
        let (cookie, _) = split_vector(body)?;
        Some(ClientHello {
            sequence: record.sequence,
            random: *random,
            cookie,
        })
    }
}

/// A number of at most three octets.
fn number(octets: &[u8]) -> usize {
    octets
        .iter()
        .fold(0, |n, octet| n << 8 | usize::from(*octet))
}

/// Splits off a vector with a length octet.
fn split_vector(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// Sorts a datagram by its first record.
pub fn classify(datagram: &[u8]) -> Kind {
    let Some(record) = Record::parse(datagram) else {
        return Kind::NotDtls;
    };
    match (record.content, record.epoch) {
        (HANDSHAKE | CHANGE_CIPHER_SPEC, _) => match ClientHello::parse(&record) {
            Some(hello) => Kind::ClientHello {
                random: hello.random,
                has_cookie: !hello.cookie.is_empty(),
            },
            None => Kind::Handshake,
        },
        (ALERT, 0) => Kind::Alert,
        (APPLICATION_DATA, 1..) => Kind::ApplicationData,
        _ => Kind::Other,
    }
}

/// Writes a HelloVerifyRequest that answers a ClientHello with this record number. As RFC 6347, section 4.2.1 wants
/// it, it is marked DTLS 1.0 whatever version follows.
pub(super) fn hello_verify_request(sequence: u64, cookie: &[u8; 32], out: &mut Vec<u8>) {
    let body = 3 + cookie.len() as u8;
    out.extend([HANDSHAKE, 0xfe, 0xff, 0, 0]);
    out.extend(&sequence.to_be_bytes()[2..]);
    out.extend([0, HANDSHAKE_HEADER as u8 + body]);
    out.extend([HELLO_VERIFY_REQUEST, 0, 0, body, 0, 0, 0, 0, 0, 0, 0, body]);
    out.extend([0xfe, 0xff, cookie.len() as u8]);
    out.extend(cookie);
}

/// Puts another number into the header of the record at the start of `record`.
pub(super) fn renumber(record: &mut [u8], sequence: u64) {
    if let Some(field) = record.get_mut(5..11) {
        field.copy_from_slice(&sequence.to_be_bytes()[2..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_hello(cookie: &[u8]) -> Vec<u8> {
        let mut hello = vec![0xfe, 0xfd];
        hello.extend([7; 32]);
        hello.push(0);
        hello.push(cookie.len() as u8);
        hello.extend(cookie);
        hello.extend([0, 2, 0xc0, 0x2b, 1, 0]);
        let n = hello.len() as u8;
        let mut out = vec![HANDSHAKE, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 5, 0, 12 + n];
        out.extend([CLIENT_HELLO, 0, 0, n, 0, 0, 0, 0, 0, 0, 0, n]);
        out.extend(hello);
        out
    }

    #[test]
    fn a_client_hello_is_recognised_with_and_without_a_cookie() {
        for (cookie, has_cookie) in [(&[][..], false), (&[9; 32][..], true)] {
            let random = [7; 32];
            assert_eq!(
                classify(&client_hello(cookie)),
                Kind::ClientHello { random, has_cookie }
            );
        }
    }

    #[test]
    fn no_truncation_of_a_client_hello_is_taken_for_one() {
        let whole = client_hello(&[9; 32]);
        for n in 0..whole.len() {
            assert_eq!(classify(&whole[..n]), Kind::NotDtls, "{n} octets");
        }
    }

    #[test]
    fn a_client_hello_whose_lengths_disagree_is_only_a_handshake_record() {
        // Fragment length, message length, session id length, cookie length, message type.
        for at in [HEADER + 11, HEADER + 3, HEADER + 46, HEADER + 47, HEADER] {
            let mut hello = client_hello(&[9; 32]);
            hello[at] = hello[at].wrapping_sub(1).max(2);
            if at >= HEADER + 46 {
                hello[at] = 0xff;
            }
            assert_eq!(classify(&hello), Kind::Handshake, "octet {at}");
        }
    }

    #[test]
    fn every_header_falls_into_one_kind() {
        let record = |content, minor, epoch| {
            let mut bytes = vec![content, 0xfe, minor, 0, epoch, 0, 0, 0, 0, 0, 0, 0, 2];
            bytes.extend([2, 40]);
            bytes
        };
        assert_eq!(classify(&record(ALERT, 0xfd, 0)), Kind::Alert);
        assert_eq!(classify(&record(ALERT, 0xfd, 1)), Kind::Other);
        assert_eq!(
            classify(&record(APPLICATION_DATA, 0xfd, 1)),
            Kind::ApplicationData
        );
        assert_eq!(classify(&record(APPLICATION_DATA, 0xfd, 0)), Kind::Other);
        assert_eq!(classify(&record(HANDSHAKE, 0xfd, 1)), Kind::Handshake);
        assert_eq!(
            classify(&record(CHANGE_CIPHER_SPEC, 0xfd, 0)),
            Kind::Handshake
        );
        assert_eq!(classify(&record(ALERT, 0xfe, 0)), Kind::NotDtls);
        assert_eq!(classify(&record(24, 0xfd, 0)), Kind::NotDtls);
        assert_eq!(classify(b"GET / HTTP/1.1\r\n"), Kind::NotDtls);
        assert_eq!(classify(&[]), Kind::NotDtls);
    }

    #[test]
    fn a_hello_verify_request_is_a_record_with_the_number_it_answers() {
        let mut out = Vec::new();
        hello_verify_request(0x0102_0304_0506, &[3; 32], &mut out);
        let record = Record::parse(&out).expect("well-formed");
        assert_eq!(
            (record.sequence, record.bytes.len()),
            (0x0102_0304_0506, out.len())
        );
        assert_eq!(record.message_sequence(), Some(0));
        assert_eq!(
            record.body[record.body.len() - 33..],
            [&[32][..], &[3; 32]].concat()
        );
    }
}
