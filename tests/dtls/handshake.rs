//! Complete and failed handshakes, certificates, sizes.

use openssl::symm::Cipher;
use utcp::config::{ClientCertificate, Config};
use utcp::dtls::{Context, Kind, RECORD_OVERHEAD, Session, SessionState, classify};
use utcp::endpoint::Role;
use utcp::error::Error;
use utcp::time::{MILLISECOND, SECOND, Time};

use crate::support::{Identity, Pair, drain, export, seal, suite};

const BOTH: (SessionState, SessionState) = (SessionState::Established, SessionState::Established);

#[test]
fn both_kinds_of_certificate_in_every_mode() {
    let identities = [
        (
            Identity::p256(),
            Identity::p256(),
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        (
            Identity::rsa2048(0),
            Identity::rsa2048(1),
            "ECDHE-RSA-AES128-GCM-SHA256",
        ),
    ];
    for (ours, theirs, cipher) in identities {
        for mode in [
            ClientCertificate::None,
            ClientCertificate::Request,
            ClientCertificate::Require,
        ] {
            let mut pair = Pair::new(&ours.context(mode), theirs.context(mode));
            let hello = pair.client.client_random();
            pair.run();
            assert_eq!(pair.states(), BOTH, "{mode:?}");
            assert_eq!(pair.client.deadline(), Time::NEVER);
            assert_eq!(pair.server().deadline(), Time::NEVER);
            assert_eq!(
                (pair.client.role(), pair.server().role()),
                (Role::Client, Role::Server)
            );
            assert_eq!(pair.server().client_random(), hello);
            assert_eq!(
                suite(&pair.client),
                (cipher.to_owned(), "DTLSv1.2".to_owned())
            );
            assert_eq!(pair.client.peer_certificate_sha256(), Some(theirs.sha256()));
            let shown = (mode != ClientCertificate::None).then(|| ours.sha256());
            assert_eq!(pair.server().peer_certificate_sha256(), shown, "{mode:?}");
            let keys = export(&pair.client, "EXPORTER test", b"context");
            assert_eq!(export(pair.server(), "EXPORTER test", b"context"), keys);
            assert_ne!(export(pair.server(), "EXPORTER test", b"other"), keys);
            let sealed = seal(&mut pair.client, b"data");
            assert_eq!(sealed.len(), 4 + RECORD_OVERHEAD);
            let now = pair.now;
            assert_eq!(drain(pair.server(), now, &sealed), [b"data"]);
        }
    }
}

#[test]
fn a_requested_certificate_may_be_missing_and_a_required_one_not() {
    let identity = Identity::p256();
    let client = identity.context(ClientCertificate::None);
    let mut pair = Pair::new(&client, identity.context(ClientCertificate::Request));
    pair.run();
    assert_eq!(pair.states(), BOTH);
    assert_eq!(pair.server().peer_certificate_sha256(), None);

    let mut pair = Pair::new(&client, identity.context(ClientCertificate::Require));
    let seen = pair.run();
    // The client drops the alert, which is plaintext, and waits in vain.
    assert_eq!(
        pair.states(),
        (SessionState::Handshaking, SessionState::Failed)
    );
    let (from_client, alert) = seen.last().unwrap();
    assert_eq!((*from_client, classify(alert)), (false, Kind::Alert));
    assert_eq!(
        pair.server().seal(b"x", &mut Vec::new()),
        Err(Error::Closed)
    );
    assert_eq!(pair.server().deadline(), Time::NEVER);
    assert_ne!(pair.client.deadline(), Time::NEVER);
}

#[test]
fn the_security_level_binds_both_sides() {
    let weak = Identity::rsa(1_024);
    let config = |level| Config {
        security_level: level,
        ..weak.config(ClientCertificate::None)
    };
    assert_eq!(
        Context::new(&config(2), [0; 32]).err(),
        Some(Error::Certificate),
        "own key"
    );
    let listener = || Context::new(&config(1), [0; 32]).expect("a context");
    let mut pair = Pair::new(&listener(), listener());
    pair.run();
    assert_eq!(pair.states(), BOTH);
    let mut pair = Pair::new(
        &Identity::p256().context(ClientCertificate::None),
        listener(),
    );
    pair.run();
    assert_eq!(pair.client.state(), SessionState::Failed, "the peer's key");
}

#[test]
fn chain_and_key_are_read_in_every_form() {
    let (ec, rsa) = (Identity::p256(), Identity::rsa2048(0));
    let context = |chain: Vec<u8>, key: Vec<u8>| {
        let config = Config {
            chain,
            key,
            ..Config::default()
        };
        Context::new(&config, [0; 32]).map(|_| ())
    };
    for identity in [&ec, &rsa] {
        let pem = identity.certificate.to_pem().unwrap();
        let keys = [
            identity.key.private_key_to_der().unwrap(),
            identity.key.private_key_to_pkcs8().unwrap(),
            identity.key.private_key_to_pem_pkcs8().unwrap(),
        ];
        for key in keys {
            assert_eq!(context(identity.chain_der(), key.clone()), Ok(()));
            assert_eq!(context(pem.clone(), key), Ok(()));
        }
    }
    let two = [ec.chain_der(), rsa.chain_der()].concat();
    assert_eq!(context(two.clone(), ec.key_der()), Ok(()));
    assert_eq!(
        context(
            [
                ec.certificate.to_pem().unwrap(),
                rsa.certificate.to_pem().unwrap()
            ]
            .concat(),
            ec.key_der()
        ),
        Ok(())
    );
    let encrypted = ec
        .key
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"secret")
        .unwrap();
    let mut cut = two.clone();
    cut.pop();
    let broken_pem = ec.certificate.to_pem().unwrap().replace_middle();
    let bad = [
        (Vec::new(), ec.key_der()),
        (ec.chain_der(), Vec::new()),
        (ec.chain_der(), rsa.key_der()),
        (two, rsa.key_der()),
        (cut, ec.key_der()),
        (ec.chain_der(), [ec.key_der(), vec![0]].concat()),
        (ec.chain_der(), encrypted),
        (broken_pem, ec.key_der()),
        (b"nonsense".to_vec(), b"nonsense".to_vec()),
        (vec![0; 1 << 20], ec.key_der()),
    ];
    for (i, (chain, key)) in bad.into_iter().enumerate() {
        assert_eq!(context(chain, key), Err(Error::Certificate), "case {i}");
    }
}

trait Damage {
    fn replace_middle(self) -> Vec<u8>;
}

impl Damage for Vec<u8> {
    fn replace_middle(mut self) -> Vec<u8> {
        let middle = self.len() / 2;
        self[middle..middle + 4].copy_from_slice(b"!!!!");
        self
    }
}

#[test]
fn a_new_certificate_is_for_new_sessions_only() {
    let (old, new) = (Identity::p256(), Identity::p256());
    let client = Identity::p256().context(ClientCertificate::None);
    let mut pair = Pair::new(&client, old.context(ClientCertificate::None));
    pair.run();
    pair.listener
        .set_certificate(&new.chain_der(), &new.key_der())
        .expect("changed");
    assert_eq!(pair.client.peer_certificate_sha256(), Some(old.sha256()));
    let now = pair.now;
    let sealed = seal(pair.server(), b"still here");
    assert_eq!(drain(&mut pair.client, now, &sealed), [b"still here"]);

    let mut pair = Pair::new(&client, pair.listener);
    pair.run();
    assert_eq!(pair.client.peer_certificate_sha256(), Some(new.sha256()));

    let refused = pair
        .listener
        .set_certificate(&old.chain_der(), &new.key_der());
    assert_eq!(refused, Err(Error::Certificate));
    let mut pair = Pair::new(&client, pair.listener);
    pair.run();
    assert_eq!(
        pair.client.peer_certificate_sha256(),
        Some(new.sha256()),
        "stays after a failure"
    );
}

#[test]
fn the_clients_certificate_changes_too() {
    let (old, new) = (Identity::p256(), Identity::p256());
    let mut client = old.context(ClientCertificate::Require);
    client
        .set_certificate(&new.chain_der(), &new.key_der())
        .expect("changed");
    let mut pair = Pair::new(
        &client,
        Identity::p256().context(ClientCertificate::Require),
    );
    pair.run();
    assert_eq!(pair.server().peer_certificate_sha256(), Some(new.sha256()));
}

#[test]
fn flights_fit_the_datagram_size_and_fill_it() {
    let identity = Identity::rsa2048(0);
    let long: Vec<u8> = [
        identity.chain_der(),
        Identity::rsa2048(1).chain_der(),
        identity.chain_der(),
    ]
    .concat();
    for size in [576, 1_200, 1_432, 8_972, 65_507] {
        let config = Config {
            chain: long.clone(),
            datagram_size: size,
            ..identity.config(ClientCertificate::Require)
        };
        let context = || Context::new(&config, [1; 32]).expect("a context");
        let mut pair = Pair::new(&context(), context());
        let seen = pair.run();
        assert_eq!(pair.states(), BOTH, "{size}");
        let largest = seen
            .iter()
            .map(|(_, datagram)| datagram.len())
            .max()
            .unwrap();
        assert!(largest <= size, "{largest} of {size}");
        assert!(largest > size.min(4_096) / 2, "{largest} of {size}");
    }
}

#[test]
fn a_path_narrower_than_configured_is_found_out() {
    let identity = Identity::rsa2048(0);
    let config = Config {
        chain: [identity.chain_der(), Identity::rsa2048(1).chain_der()].concat(),
        ..identity.config(ClientCertificate::Require)
    };
    let context = || Context::new(&config, [1; 32]).expect("a context");
    for width in [1_232, 548] {
        let mut pair = Pair::new(&context(), context());
        let mut too_long = 0;
        while pair.states() != BOTH {
            pair.now = pair.now + 10 * MILLISECOND;
            assert!(pair.now < Time(130 * SECOND), "not within 30 s");
            let now = pair.now;
            pair.client.timer(now);
            while let Some(datagram) = pair.client.take_output() {
                match datagram.len() <= width {
                    true => {
                        let reply = pair.deliver(&datagram);
                        drain(&mut pair.client, now, &reply);
                    }
                    false => too_long += 1,
                }
            }
            let Some(server) = &mut pair.server else {
                continue;
            };
            server.timer(now);
            while let Some(datagram) = server.take_output() {
                match datagram.len() <= width {
                    true => drop(drain(&mut pair.client, now, &datagram)),
                    false => too_long += 1,
                }
            }
        }
        assert!(too_long > 0, "the path was not too narrow");
    }
}

#[test]
fn a_session_may_be_moved_at_any_time() {
    let context = Identity::p256().context(ClientCertificate::None);
    let mut pair = Pair::new(&context, Identity::p256().context(ClientCertificate::None));
    drop(context);
    let hello = pair.client.take_output().unwrap();
    let reply = pair.deliver(&hello);
    drain(&mut pair.client, pair.now, &reply);
    let mut clients = vec![pair.client];
    clients.reserve(1_000);
    pair.client = clients.swap_remove(0);
    let mut pair = Box::new(pair);
    pair.run();
    let mut pair = *std::thread::spawn(move || pair).join().unwrap();
    assert_eq!(pair.states(), BOTH);
    let mut server: Box<Session> = Box::new(pair.server.take().unwrap());
    drop(pair.listener);
    let sealed = seal(&mut pair.client, b"moved");
    assert_eq!(drain(&mut server, pair.now, &sealed), [b"moved"]);
}

#[test]
fn an_unstarted_session_takes_and_sends_nothing() {
    use utcp::dtls::{Drop, Incoming, Listen};
    let identity = Identity::p256();
    let listener = identity.context(ClientCertificate::None);
    let mut pair = Pair::new(
        &identity.context(ClientCertificate::None),
        identity.context(ClientCertificate::None),
    );
    let hello = pair.client.take_output().unwrap();
    let reply = pair.deliver(&hello);
    drain(&mut pair.client, pair.now, &reply);
    let hello = pair.client.take_output().unwrap();
    let Listen::Promoted(mut server) = listener.listen(
        pair.now,
        crate::support::address(1),
        &hello,
        &mut Vec::new(),
    ) else {
        panic!("the same secret, the same cookie");
    };
    let dropped = Incoming::Dropped(Drop::NoSession);
    assert_eq!(server.receive(pair.now, &hello, &mut Vec::new()), dropped);
    server.timer(pair.now + 100 * SECOND);
    assert_eq!(
        (server.take_output(), server.deadline()),
        (None, Time::NEVER)
    );
    assert_eq!(server.seal(b"x", &mut Vec::new()), Err(Error::State));
    server.start(pair.now);
    assert!(server.take_output().is_some());
}
