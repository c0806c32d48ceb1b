//! Records of an established session.

use utcp::dtls::{Drop, Incoming, Kind, MAX_PLAINTEXT, RECORD_OVERHEAD, SessionState, classify};
use utcp::error::Error;
use utcp::time::Time;

use crate::support::{DATAGRAM, Identity, Pair, Random, drain, outcomes, seal};

const BAD: Incoming = Incoming::Dropped(Drop::BadRecord);

#[test]
fn every_size_arrives_in_both_directions() {
    let mut pair = Pair::established(&Identity::p256());
    let mut random = Random(1);
    let now = pair.now;
    for size in (1..=DATAGRAM - RECORD_OVERHEAD)
        .step_by(17)
        .chain([2, 1_394, 1_395])
    {
        let data = random.octets(size);
        let sealed = seal(&mut pair.client, &data);
        assert_eq!(sealed.len(), size + RECORD_OVERHEAD);
        assert_eq!(classify(&sealed), Kind::ApplicationData);
        assert_eq!(
            drain(pair.server(), now, &sealed),
            std::slice::from_ref(&data)
        );
        let sealed = seal(pair.server(), &data);
        assert_eq!(drain(&mut pair.client, now, &sealed), [data]);
    }
}

#[test]
fn sizes_out_of_bounds_are_refused_and_leave_the_output_alone() {
    let mut pair = Pair::established(&Identity::p256());
    let mut out = vec![1, 2, 3];
    for size in [0, 1_472 + 1, MAX_PLAINTEXT + 1, 1 << 20] {
        assert_eq!(
            pair.client.seal(&vec![0; size], &mut out),
            Err(Error::Argument),
            "{size}"
        );
        assert_eq!(out, [1, 2, 3]);
    }
    pair.client
        .seal(&[0; DATAGRAM], &mut out)
        .expect("a probe of the path may be larger than what is usual");
    assert_eq!(out.len(), 3 + DATAGRAM + RECORD_OVERHEAD);
}

/// OpenSSL has encrypted Finished with the same key: its number and its nonce are not used again.
#[test]
fn numbers_and_nonces_go_on_where_the_handshake_ended() {
    let context = || Identity::p256().context(utcp::config::ClientCertificate::None);
    let mut pair = Pair::new(&context(), context());
    let seen = pair.run();
    for from_client in [true, false] {
        let mut records = Vec::new();
        for (_, datagram) in seen.iter().filter(|(client, _)| *client == from_client) {
            let mut rest = &datagram[..];
            while let [_, _, _, 0, epoch, .., high, low] = rest[..13] {
                let (record, others) =
                    rest.split_at(13 + usize::from(high) * 256 + usize::from(low));
                if epoch == 1 {
                    records.push(record.to_vec());
                }
                rest = others;
                if rest.is_empty() {
                    break;
                }
            }
        }
        assert_eq!(records.len(), 1, "Finished");
        let mut server = pair.server.take().expect("promoted");
        let session = match from_client {
            true => &mut pair.client,
            false => &mut server,
        };
        records.extend((0..3).map(|n| seal(session, &[n])));
        if !from_client {
            session.close();
            records.push(session.take_output().expect("a close_notify"));
        }
        let number = |octets: &[u8]| u64::from_be_bytes(octets.try_into().expect("8 octets"));
        for pair in records.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            assert_eq!(number(&after[3..11]), number(&before[3..11]) + 1);
            assert_eq!(
                number(&after[13..21]),
                number(&before[13..21]).wrapping_add(1)
            );
        }
        pair.server = Some(server);
    }
}

#[test]
fn records_can_share_a_datagram() {
    let mut pair = Pair::established(&Identity::p256());
    let mut datagram = Vec::new();
    for data in [&b"one"[..], b"two", b"three"] {
        pair.client.seal(data, &mut datagram).unwrap();
    }
    let now = pair.now;
    assert_eq!(
        drain(pair.server(), now, &datagram),
        [&b"one"[..], b"two", b"three"]
    );
}

#[test]
fn what_was_not_asked_for_does_not_turn_up_later() {
    let mut pair = Pair::established(&Identity::p256());
    let mut datagram = seal(&mut pair.client, b"one");
    pair.client.seal(b"two", &mut datagram).unwrap();
    let next = seal(&mut pair.client, b"three");
    let now = pair.now;
    let mut plain = Vec::new();
    assert_eq!(
        pair.server().receive(now, &datagram, &mut plain),
        Incoming::Data
    );
    assert_eq!(drain(pair.server(), now, &next), [b"three"]);
}

#[test]
fn reordering_within_the_window_is_no_loss_and_replay_is() {
    let mut pair = Pair::established(&Identity::p256());
    let now = pair.now;
    let sealed: Vec<_> = (0..=64u8).map(|i| seal(&mut pair.client, &[i])).collect();
    assert_eq!(drain(pair.server(), now, &sealed[64]), [[64]]);
    for i in (1..64).rev() {
        assert_eq!(
            drain(pair.server(), now, &sealed[i]),
            [[i as u8]],
            "{} behind",
            64 - i
        );
    }
    assert_eq!(outcomes(pair.server(), now, &sealed[0]), [BAD], "64 behind");
    for replayed in &sealed {
        assert_eq!(outcomes(pair.server(), now, replayed), [BAD]);
    }
    assert_eq!(pair.server().state(), SessionState::Established);
}

#[test]
fn garbage_around_a_good_record_does_not_lose_it() {
    let mut pair = Pair::established(&Identity::p256());
    let now = pair.now;
    let garbage = Random(3).octets(50);
    let good = seal(&mut pair.client, b"good");
    assert_eq!(
        outcomes(pair.server(), now, &garbage),
        [Incoming::Dropped(Drop::NotDtls)]
    );
    assert_eq!(
        drain(pair.server(), now, &good),
        [b"good"],
        "behind a datagram of garbage"
    );

    let mut forged = seal(&mut pair.client, b"will be damaged");
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let good = seal(&mut pair.client, b"good");
    let datagram = [&forged[..], &good, &garbage].concat();
    let seen = outcomes(pair.server(), now, &datagram);
    assert_eq!(
        seen,
        [BAD, Incoming::Data, Incoming::Dropped(Drop::NotDtls)]
    );

    forged[last] ^= 1;
    assert_eq!(
        drain(pair.server(), now, &forged),
        [b"will be damaged"],
        "the copy had no effect"
    );
}

#[test]
fn no_single_damaged_octet_is_accepted_or_does_harm() {
    let mut pair = Pair::established(&Identity::p256());
    let now = pair.now;
    let good = seal(&mut pair.client, b"unharmed");
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut damaged = good.clone();
            damaged[at] ^= 1 << bit;
            assert_eq!(
                drain(pair.server(), now, &damaged),
                Vec::<Vec<u8>>::new(),
                "octet {at}"
            );
        }
    }
    for n in 0..good.len() {
        assert_eq!(drain(pair.server(), now, &good[..n]), Vec::<Vec<u8>>::new());
    }
    assert_eq!(drain(pair.server(), now, &good), [b"unharmed"]);
}

#[test]
fn a_close_is_told_once_and_authenticated() {
    for server_closes in [false, true] {
        let mut pair = Pair::established(&Identity::p256());
        let now = pair.now;
        let mut server = pair.server.take().unwrap();
        let (closing, other) = match server_closes {
            true => (&mut server, &mut pair.client),
            false => (&mut pair.client, &mut server),
        };
        let late = seal(other, b"late");
        closing.close();
        closing.close();
        let alert = closing.take_output().expect("a close_notify");
        assert_eq!(
            (classify(&alert), closing.take_output()),
            (Kind::Other, None)
        );
        assert_eq!(closing.state(), SessionState::Closed);
        assert_eq!(closing.seal(b"x", &mut Vec::new()), Err(Error::Closed));
        assert_eq!(
            outcomes(closing, now, &late),
            [Incoming::Dropped(Drop::NoSession)]
        );

        let mut forged = alert.clone();
        forged[14] ^= 1;
        assert_eq!(outcomes(other, now, &forged), [BAD]);
        assert_eq!(other.state(), SessionState::Established);
        assert_eq!(outcomes(other, now, &alert), []);
        assert_eq!(
            (other.state(), other.deadline()),
            (SessionState::Closed, Time::NEVER)
        );
        assert_eq!(other.seal(b"x", &mut Vec::new()), Err(Error::Closed));
    }
}

#[test]
fn closing_a_handshake_is_silent() {
    let context = Identity::p256().context(utcp::config::ClientCertificate::None);
    let mut session = utcp::dtls::Session::connect(&context, Time(0)).unwrap();
    assert!(session.take_output().is_some());
    session.close();
    assert_eq!(
        (session.state(), session.deadline()),
        (SessionState::Closed, Time::NEVER)
    );
    session.timer(Time(1 << 40));
    assert_eq!(session.take_output(), None);
}
