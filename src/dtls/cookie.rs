//! Stateless cookies (RFC 6347, section 4.2.1): HMAC-SHA256 over the peer's address and port, its
//! client random, and the minute. The random is in it so that a captured cookie serves no other ClientHello.

use std::net::{IpAddr, SocketAddr};

use super::openssl;
use crate::time::{SECOND, Time};

/// A cookie is good in the period it was made in and in the next.
const PERIOD: u64 = 60 * SECOND;

/// Makes and checks cookies.
pub(super) struct Cookies {
    secret: [u8; 32],
}

impl Cookies {
    pub fn new(secret: [u8; 32]) -> Cookies {
        Cookies { secret }
    }

    /// The cookie for a peer now; `None` only if OpenSSL has no HMAC-SHA256.
    pub fn make(&self, now: Time, peer: SocketAddr, random: &[u8; 32]) -> Option<[u8; 32]> {
        self.of_period(now.0 / PERIOD, peer, random)
    }

    /// Whether this peer was given this cookie in this period or the one before.
    pub fn check(&self, now: Time, peer: SocketAddr, random: &[u8; 32], cookie: &[u8]) -> bool {
        // Nothing is computed for a ClientHello that has none.
        if cookie.len() != 32 {
            return false;
        }
        let period = now.0 / PERIOD;
        [Some(period), period.checked_sub(1)]
            .into_iter()
            .flatten()
            .filter_map(|period| self.of_period(period, peer, random))
            .any(|good| equal(&good, cookie))
    }

    fn of_period(&self, period: u64, peer: SocketAddr, random: &[u8; 32]) -> Option<[u8; 32]> {
        // IPv4 in one form only, whether the socket is IPv4 or dual-stack.
        let address = match peer.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut message = [0; 58];
        message[..8].copy_from_slice(&period.to_be_bytes());
        message[8..24].copy_from_slice(&address.octets());
        message[24..26].copy_from_slice(&peer.port().to_be_bytes());
        message[26..].copy_from_slice(random);
        openssl::hmac_sha256(&self.secret, &message)
    }
}

/// Equality in a time that does not depend on where the difference is.
fn equal(good: &[u8; 32], given: &[u8]) -> bool {
    given.len() == good.len() && good.iter().zip(given).fold(0, |d, (a, b)| d | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_hmac_is_that_of_rfc_4231() {
        // Section 4.2.
        let mac = openssl::hmac_sha256(&[0x0b; 20], b"Hi There").expect("SHA-256");
        let text: String = mac.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(
            text,
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    const RANDOM: [u8; 32] = [1; 32];

    #[test]
    fn a_cookie_holds_for_its_peer_and_for_at_most_two_periods() {
        let cookies = Cookies::new([5; 32]);
        let (a, b) = (peer("192.0.2.1:9001"), peer("192.0.2.1:9002"));
        let made = Time(10 * PERIOD + 1);
        let cookie = cookies.make(made, a, &RANDOM).expect("a cookie");
        assert!(cookies.check(made, a, &RANDOM, &cookie));
        assert!(cookies.check(Time(12 * PERIOD - 1), a, &RANDOM, &cookie));
        assert!(!cookies.check(Time(12 * PERIOD), a, &RANDOM, &cookie));
        assert!(
            !cookies.check(Time(9 * PERIOD), a, &RANDOM, &cookie),
            "not before it was made"
        );
        assert!(!cookies.check(made, b, &RANDOM, &cookie));
        assert!(!cookies.check(made, a, &[2; 32], &cookie), "another hello");
        assert!(!cookies.check(made, peer("192.0.2.2:9001"), &RANDOM, &cookie));
        assert!(!cookies.check(made, a, &RANDOM, &cookie[..31]));
        assert!(!cookies.check(made, a, &RANDOM, &[]));
        assert!(
            !Cookies::new([6; 32]).check(made, a, &RANDOM, &cookie),
            "another secret"
        );
        assert!(cookies.check(made, peer("[::ffff:192.0.2.1]:9001"), &RANDOM, &cookie));
    }

    #[test]
    fn the_first_period_has_no_earlier_one() {
        let cookies = Cookies::new([5; 32]);
        let a = peer("[2001:db8::1]:1");
        let cookie = cookies.make(Time(0), a, &RANDOM).expect("a cookie");
        assert!(cookies.check(Time(0), a, &RANDOM, &cookie));
    }
}
