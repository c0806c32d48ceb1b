//! Forged datagrams from outside, and a peer that has the keys but does not keep to the protocol.

use utcp::config::ClientCertificate;
use utcp::dtls::{Drop, Incoming, Kind, SessionState, classify, session_lost_alert};
use utcp::error::Error;
use utcp::time::{SECOND, Time};

use crate::support::{Forger, Identity, Pair, Random, drain, outcomes, seal};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

fn plaintext_alerts() -> Vec<Vec<u8>> {
    let mut all = vec![session_lost_alert().to_vec()];
    for (minor, level, description) in [(0xfd, 2, 40), (0xff, 2, 0), (0xfd, 1, 0), (0xfd, 2, 255)] {
        let mut alert = vec![ALERT, 0xfe, minor, 0, 0];
        alert.extend([0, 0, 0, 0, 9, 9, 0, 2, level, description]);
        all.push(alert);
    }
    all
}

#[test]
fn the_session_lost_alert_is_a_plaintext_alert() {
    assert_eq!(classify(&session_lost_alert()), Kind::Alert);
}

#[test]
fn plaintext_alerts_never_matter() {
    let identity = Identity::p256();
    let context = || identity.context(ClientCertificate::None);
    let dropped = [Incoming::Dropped(Drop::PlaintextAlert)];
    // Before each step of the handshake, at both sides.
    for steps in 0..4 {
        let mut pair = Pair::new(&context(), context());
        for _ in 0..steps {
            if let Some(datagram) = pair.client.take_output() {
                let reply = pair.deliver(&datagram);
                drain(&mut pair.client, pair.now, &reply);
            } else if let Some(datagram) = pair.server().take_output() {
                drain(&mut pair.client, pair.now, &datagram);
            }
        }
        for alert in plaintext_alerts() {
            assert_eq!(outcomes(&mut pair.client, pair.now, &alert), dropped);
            if let Some(server) = &mut pair.server {
                assert_eq!(outcomes(server, pair.now, &alert), dropped);
            }
        }
        pair.run();
        assert_eq!(
            pair.states(),
            (SessionState::Established, SessionState::Established),
            "step {steps}"
        );
        for alert in plaintext_alerts() {
            assert_eq!(outcomes(&mut pair.client, pair.now, &alert), dropped);
            let now = pair.now;
            assert_eq!(outcomes(pair.server(), now, &alert), dropped);
        }
        assert_eq!(
            pair.states(),
            (SessionState::Established, SessionState::Established)
        );
    }
}

#[test]
fn broken_handshake_records_do_not_end_a_handshake() {
    let identity = Identity::p256();
    let context = || identity.context(ClientCertificate::None);
    let mut random = Random(4);
    for seed in 0..40 {
        let mut pair = Pair::new(&context(), context());
        let hello = pair.client.take_output().unwrap();
        let reply = pair.deliver(&hello);
        drain(&mut pair.client, pair.now, &reply);
        let hello = pair.client.take_output().unwrap();
        pair.deliver(&hello);
        for i in 0..50u8 {
            let n = random.below(40) as usize;
            let body = random.octets(n);
            let content = 20 + random.below(4) as u8;
            let epoch = random.below(3) as u8;
            let mut record = vec![content, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 1, i, 0, n as u8];
            record.extend(body);
            let now = pair.now;
            assert_eq!(drain(&mut pair.client, now, &record), Vec::<Vec<u8>>::new());
            assert_eq!(drain(pair.server(), now, &record), Vec::<Vec<u8>>::new());
        }
        pair.run();
        assert_eq!(
            pair.states(),
            (SessionState::Established, SessionState::Established),
            "{seed}"
        );
    }
}

#[test]
fn records_too_short_for_their_cipher_do_no_harm() {
    let identity = Identity::p256();
    let context = || identity.context(ClientCertificate::None);
    let short = |content: u8, length: usize| {
        let mut record = vec![content, 0xfe, 0xfd, 0, 1, 0, 0, 0, 1, 0, 0, 0, length as u8];
        record.resize(13 + length, 7);
        record
    };
    // In front of a Finished, and in an established session.
    let mut pair = Pair::new(&context(), context());
    while let Some(datagram) = pair.client.take_output() {
        let reply = pair.deliver(&datagram);
        drain(&mut pair.client, pair.now, &reply);
    }
    for length in 0..40 {
        let now = pair.now;
        drain(pair.server(), now, &short(HANDSHAKE, length));
        drain(&mut pair.client, now, &short(HANDSHAKE, length));
    }
    pair.run();
    let established = (SessionState::Established, SessionState::Established);
    assert_eq!(pair.states(), established);
    for content in [ALERT, HANDSHAKE, DATA] {
        for length in 0..40 {
            let now = pair.now;
            drain(pair.server(), now, &short(content, length));
            drain(&mut pair.client, now, &short(content, length));
        }
    }
    assert_eq!(pair.states(), established);
    let record = seal(&mut pair.client, b"data");
    let now = pair.now;
    assert_eq!(drain(pair.server(), now, &record), [b"data"]);
}

#[test]
fn an_established_session_is_deaf_to_handshakes() {
    let identity = Identity::p256();
    let context = || identity.context(ClientCertificate::None);
    let mut pair = Pair::new(&context(), context());
    let seen = pair.run();
    let data = seal(&mut pair.client, b"data");
    let now = pair.now;
    assert_eq!(drain(pair.server(), now, &data), [b"data"]);
    for (from_client, datagram) in &seen {
        let session = if *from_client {
            pair.server()
        } else {
            &mut pair.client
        };
        for outcome in outcomes(session, now, datagram) {
            assert_eq!(outcome, Incoming::Dropped(Drop::Stale));
        }
    }
    assert_eq!(
        pair.states(),
        (SessionState::Established, SessionState::Established)
    );
    assert_eq!(
        (pair.client.take_output(), pair.server().take_output()),
        (None, None)
    );
}

#[test]
fn forged_repetitions_of_finished_draw_no_more_than_they_bring() {
    let mut pair = Pair::established(&Identity::p256());
    let now = pair.now;
    let (mut brought, mut drawn) = (0, 0);
    for i in 0..10_000u32 {
        let mut record = vec![HANDSHAKE, 0xfe, 0xfd, 0, 1, 0, 0];
        record.extend(i.to_be_bytes());
        record.extend([0, 4, 1, 2, 3, 4]);
        brought += record.len();
        drain(pair.server(), now, &record);
        while let Some(datagram) = pair.server().take_output() {
            drawn += datagram.len();
        }
        assert!(drawn <= brought);
    }
    assert!(drawn > 0 && drawn < 5_000, "{drawn}");
    assert_eq!(pair.server().state(), SessionState::Established);
}

#[test]
fn a_peer_with_the_keys_can_send_empty_records() {
    let mut pair = Pair::established(&Identity::p256());
    let mut forger = Forger::of(&pair.client);
    let now = pair.now;
    let empty = forger.record(DATA, b"");
    let full = forger.record(DATA, b"full");
    // OpenSSL 3.0 reports an empty record, later ones swallow it.
    assert_eq!(drain(pair.server(), now, &empty), Vec::<Vec<u8>>::new());
    assert_eq!(drain(pair.server(), now, &full), [b"full"]);
    assert_eq!(pair.server().state(), SessionState::Established);
}

#[test]
fn a_fatal_alert_of_the_peer_ends_the_session() {
    let mut pair = Pair::established(&Identity::p256());
    let alert = Forger::of(&pair.client).record(ALERT, &[2, 10]);
    let now = pair.now;
    assert_eq!(outcomes(pair.server(), now, &alert), []);
    assert_eq!(pair.server().state(), SessionState::Closed);
    assert_eq!(
        pair.server().seal(b"x", &mut Vec::new()),
        Err(Error::Closed)
    );
}

#[test]
fn a_malformed_alert_of_the_peer_fails_the_session_and_only_that() {
    let mut pair = Pair::established(&Identity::p256());
    let alert = Forger::of(&pair.client).record(ALERT, &[2, 10, 3]);
    let now = pair.now;
    outcomes(pair.server(), now, &alert);
    assert_eq!(pair.server().state(), SessionState::Failed);
    assert_eq!(pair.server().deadline(), Time::NEVER);
    // The error it left behind does not spoil another session on the same thread.
    let mut other = Pair::established(&Identity::p256());
    let sealed = seal(&mut other.client, b"fine");
    assert_eq!(drain(other.server(), now, &sealed), [b"fine"]);
}

#[test]
fn the_peer_cannot_renegotiate() {
    for from_server in [false, true] {
        let mut pair = Pair::established(&Identity::p256());
        let now = pair.now + SECOND;
        let mut server = pair.server.take().unwrap();
        let (from, to) = match from_server {
            true => (&mut server, &mut pair.client),
            false => (&mut pair.client, &mut server),
        };
        let mut forger = Forger::of(from);
        // HelloRequest, and the beginning of a ClientHello.
        for kind in [0, 1] {
            let request = forger.record(HANDSHAKE, &[kind, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0]);
            assert_eq!(
                outcomes(to, now, &request),
                [Incoming::Dropped(Drop::Stale)]
            );
        }
        let data = forger.record(DATA, b"data");
        assert_eq!(drain(to, now, &data), [b"data"]);
        assert_eq!(to.state(), SessionState::Established);
    }
}

#[test]
fn messages_of_a_handshake_in_the_other_direction_do_not_end_one() {
    let identity = Identity::p256();
    let context = || identity.context(ClientCertificate::None);
    let both = (SessionState::Established, SessionState::Established);
    // All plaintext that two sides have sent.
    let mut other = Pair::new(&context(), context());
    let seen = other.run();
    assert_eq!(other.states(), both);
    for steps in 0..3 {
        let mut pair = Pair::new(&context(), context());
        for _ in 0..steps {
            if let Some(datagram) = pair.client.take_output() {
                let reply = pair.deliver(&datagram);
                drain(&mut pair.client, pair.now, &reply);
            }
        }
        for (from_client, datagram) in &seen {
            let session = match from_client {
                true => Some(&mut pair.client),
                false => pair.server.as_mut(),
            };
            if let Some(session) = session {
                drain(session, pair.now, datagram);
                assert_eq!(session.state(), SessionState::Handshaking);
            }
        }
        // Their Finished is taken for ours at first, and found to be forged.
        loop {
            pair.run();
            if pair.states() == both {
                break;
            }
            let deadline = pair.client.deadline().min(pair.server().deadline());
            assert!(deadline < Time(130 * SECOND), "step {steps}");
            pair.now = deadline;
            pair.client.timer(deadline);
            pair.server().timer(deadline);
        }
    }
}

#[test]
fn a_failure_is_told_to_the_log_once() {
    use std::cell::Cell;
    thread_local!(static LINES: Cell<Vec<String>> = const { Cell::new(Vec::new()) });
    struct Logger;
    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            let mut lines = LINES.take();
            lines.push(record.args().to_string());
            LINES.set(lines);
        }
        fn flush(&self) {}
    }
    log::set_logger(&Logger).expect("the only logger of these tests");
    log::set_max_level(log::LevelFilter::Trace);

    let identity = Identity::p256();
    let client = identity.context(ClientCertificate::None);
    let mut pair = Pair::new(&client, identity.context(ClientCertificate::Require));
    let mut seen = pair.run();
    assert_eq!(pair.server().state(), SessionState::Failed);
    seen.extend(seen.clone());
    let now = pair.now;
    for (_, datagram) in seen {
        assert_eq!(
            outcomes(pair.server(), now, &datagram)[0],
            Incoming::Dropped(Drop::NoSession)
        );
    }
    pair.server().close();
    assert_eq!(pair.server().state(), SessionState::Failed);
    assert_eq!(
        LINES.take(),
        ["DTLS handshake failed: peer did not return a certificate"]
    );
    // Neither garbage nor good sessions are worth a line.
    let mut pair = Pair::established(&identity);
    for record in [&[0; 40][..], &session_lost_alert()] {
        drain(pair.server(), now, record);
    }
    assert_eq!(LINES.take(), Vec::<String>::new());
}

#[test]
fn forged_record_numbers_do_not_block_a_handshake() {
    let identity = Identity::p256();
    let context = || identity.context(ClientCertificate::None);
    for steps in 0..3 {
        let mut pair = Pair::new(&context(), context());
        for _ in 0..steps {
            if let Some(datagram) = pair.client.take_output() {
                let reply = pair.deliver(&datagram);
                drain(&mut pair.client, pair.now, &reply);
            }
        }
        // A ChangeCipherSpec with the last number there is; far ahead of its time, so that it does nothing else.
        let forged = [
            20, 0xfe, 0xfd, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1, 1,
        ];
        drain(&mut pair.client, pair.now, &forged);
        if let Some(server) = &mut pair.server {
            drain(server, pair.now, &forged);
        }
        pair.run();
        let both = (SessionState::Established, SessionState::Established);
        assert_eq!(pair.states(), both, "step {steps}");
    }
}
