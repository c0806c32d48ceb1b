//! The stateless cookie exchange.

use utcp::config::ClientCertificate;
use utcp::dtls::{Context, Kind, Listen, Session, SessionState, classify};
use utcp::time::{SECOND, Time};

use crate::support::{Identity, Pair, Random, address, drain};

const NOW: Time = Time(1_000 * SECOND);

fn listener() -> Context {
    Identity::p256().context(ClientCertificate::None)
}

/// A ClientHello without cookie, and that with the cookie which `listener` gave to port 1 at `NOW`.
fn hellos(listener: &Context) -> (Vec<u8>, Vec<u8>) {
    let mut client =
        Session::connect(&Identity::p256().context(ClientCertificate::None), NOW).unwrap();
    let first = client.take_output().unwrap();
    let mut reply = Vec::new();
    assert!(matches!(
        listener.listen(NOW, address(1), &first, &mut reply),
        Listen::Reply
    ));
    drain(&mut client, NOW, &reply);
    (first, client.take_output().unwrap())
}

#[test]
fn a_first_hello_is_answered_with_less_and_promotes_nothing() {
    let listener = listener();
    let (first, second) = hellos(&listener);
    let Kind::ClientHello {
        random,
        has_cookie: false,
    } = classify(&first)
    else {
        panic!("no ClientHello");
    };
    assert_eq!(
        classify(&second),
        Kind::ClientHello {
            random,
            has_cookie: true
        }
    );
    let mut replies = Vec::new();
    for _ in 0..3 {
        let mut reply = vec![1, 2, 3];
        assert!(matches!(
            listener.listen(NOW, address(1), &first, &mut reply),
            Listen::Reply
        ));
        assert!(reply.len() <= first.len() && !reply.is_empty());
        replies.push(reply);
    }
    assert!(replies.windows(2).all(|two| two[0] == two[1]), "no state");
}

#[test]
fn a_cookie_is_good_for_its_address_and_a_while() {
    let listener = listener();
    let (_, second) = hellos(&listener);
    let mut reply = Vec::new();
    let mut at = |now, port| match listener.listen(now, address(port), &second, &mut reply) {
        Listen::Promoted(session) => {
            assert!(reply.is_empty());
            assert_eq!(session.state(), SessionState::Handshaking);
            true
        }
        Listen::BadCookie => {
            assert!(reply.len() <= second.len() && !reply.is_empty());
            false
        }
        _ => panic!("neither good nor bad"),
    };
    assert!(at(NOW, 1));
    assert!(at(NOW + 60 * SECOND, 1));
    assert!(!at(NOW + 120 * SECOND, 1), "too old");
    assert!(!at(NOW, 2), "another port");
}

#[test]
fn a_changed_cookie_is_bad() {
    let listener = listener();
    let (first, second) = hellos(&listener);
    // Record header, message header, version, random, session id, cookie length.
    let cookie = 13 + 12 + 2 + 32 + 1 + 1;
    assert_eq!(second.len(), first.len() + 32);
    let mut reply = Vec::new();
    for at in cookie..cookie + 32 {
        let mut forged = second.clone();
        forged[at] ^= 1;
        let listen = listener.listen(NOW, address(1), &forged, &mut reply);
        assert!(matches!(listen, Listen::BadCookie), "octet {at}");
    }
}

#[test]
fn garbage_and_every_truncation_promote_nothing() {
    let listener = listener();
    let (first, second) = hellos(&listener);
    let mut random = Random(1);
    let mut reply = Vec::new();
    for n in 0..second.len() {
        let listen = listener.listen(NOW, address(1), &second[..n], &mut reply);
        assert!(matches!(listen, Listen::NotClientHello) && reply.is_empty());
    }
    for _ in 0..20_000 {
        let mut datagram = match random.below(3) {
            0 => {
                let n = random.below(200) as usize;
                random.octets(n)
            }
            _ => first.clone(),
        };
        for _ in 0..random.below(4) {
            if !datagram.is_empty() {
                let at = random.below(datagram.len() as u64) as usize;
                datagram[at] = random.next() as u8;
            }
        }
        datagram.truncate(random.below(300) as usize);
        let listen = listener.listen(NOW, address(1), &datagram, &mut reply);
        assert!(!matches!(listen, Listen::Promoted(_)));
        assert!(reply.len() <= datagram.len());
    }
}

#[test]
fn a_malformed_hello_behind_a_good_cookie_costs_only_itself() {
    let listener = listener();
    let (_, second) = hellos(&listener);
    let mut random = Random(2);
    let body = 13 + 12 + 2 + 32 + 1 + 1 + 32;
    for _ in 0..300 {
        let mut forged = second.clone();
        let at = body + random.below((second.len() - body) as u64) as usize;
        forged[at] = random.next() as u8;
        if let Listen::Promoted(mut session) =
            listener.listen(NOW, address(1), &forged, &mut Vec::new())
        {
            session.start(NOW);
        }
    }
    let context = Identity::p256().context(ClientCertificate::None);
    let mut pair = Pair::new(&context, listener);
    pair.run();
    assert_eq!(
        pair.states(),
        (SessionState::Established, SessionState::Established)
    );
}
