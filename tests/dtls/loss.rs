//! Handshakes over a path that loses, repeats and reorders, in virtual time.

use std::collections::BTreeMap;

use utcp::config::ClientCertificate;
use utcp::dtls::{Context, Listen, RECORD_OVERHEAD, Session, SessionState};
use utcp::time::{MILLISECOND, Micros, SECOND, Time};

use crate::support::{Identity, Random, address, drain};

/// What the path does to the n-th datagram: when its copies arrive, in milliseconds from now.
type Fate<'a> = Box<dyn FnMut(usize, &[u8]) -> Vec<u64> + 'a>;

/// Two sides and a path between. Both send data as soon as they may.
struct Path<'a> {
    now: Time,
    client: Session,
    listener: &'a Context,
    server: Option<Session>,
    fate: Fate<'a>,
    sent: usize,
    /// By time of arrival and order of sending; true: to the server.
    flying: BTreeMap<(Time, usize), (bool, Vec<u8>)>,
    /// Records of data that the server sends at once when it is established.
    burst: usize,
    /// Data that arrived at client and server.
    arrived: (usize, usize),
}

impl<'a> Path<'a> {
    fn new(client: &Context, listener: &'a Context, start: Time, fate: Fate<'a>) -> Path<'a> {
        Path {
            now: start,
            client: Session::connect(client, start).expect("a session"),
            listener,
            server: None,
            fate,
            sent: 0,
            flying: BTreeMap::new(),
            burst: 1,
            arrived: (0, 0),
        }
    }

    fn send(&mut self, to_server: bool, datagram: Vec<u8>) {
        assert!(datagram.len() <= 1_432 + RECORD_OVERHEAD);
        for (copy, delay) in (self.fate)(self.sent, &datagram).into_iter().enumerate() {
            let at = self.now + delay * MILLISECOND;
            self.flying
                .insert((at, self.sent * 8 + copy), (to_server, datagram.clone()));
        }
        self.sent += 1;
    }

    fn flush(&mut self) {
        while let Some(datagram) = self.client.take_output() {
            self.send(true, datagram);
        }
        while let Some(datagram) = self.server.as_mut().and_then(Session::take_output) {
            self.send(false, datagram);
        }
    }

    fn arrive(&mut self, to_server: bool, datagram: &[u8]) {
        let now = self.now;
        if !to_server {
            self.arrived.0 += drain(&mut self.client, now, datagram).len();
            return;
        }
        let Some(server) = &mut self.server else {
            let mut reply = Vec::new();
            if let Listen::Promoted(mut session) =
                self.listener.listen(now, address(1), datagram, &mut reply)
            {
                session.start(now);
                self.server = Some(session);
            } else if !reply.is_empty() {
                self.send(false, reply);
            }
            return;
        };
        let before = server.state();
        self.arrived.1 += drain(server, now, datagram).len();
        if before == SessionState::Handshaking && server.state() == SessionState::Established {
            // The final flight leaves first, as the endpoint would have it.
            self.flush();
            for i in 0..self.burst {
                let mut sealed = Vec::new();
                self.server
                    .as_mut()
                    .unwrap()
                    .seal(&[i as u8], &mut sealed)
                    .expect("sealed");
                self.send(false, sealed);
            }
        }
    }

    fn done(&self) -> bool {
        let server = self.server.as_ref().map(Session::state);
        self.client.state() == SessionState::Established
            && server == Some(SessionState::Established)
    }

    /// Runs until both are established. Returns how long it took.
    fn run(&mut self, limit: Micros) -> Option<Micros> {
        let start = self.now;
        loop {
            self.flush();
            if self.done() {
                return Some(self.now.since(start));
            }
            let timers = [Some(&self.client), self.server.as_ref()];
            let timer = timers
                .into_iter()
                .flatten()
                .map(Session::deadline)
                .min()
                .unwrap();
            let arrival = self.flying.keys().next().map_or(Time::NEVER, |(at, _)| *at);
            self.now = timer.min(arrival).max(self.now);
            if self.now.since(start) > limit {
                return None;
            }
            if arrival <= self.now {
                let (_, (to_server, datagram)) = self.flying.pop_first().unwrap();
                self.arrive(to_server, &datagram);
            }
            let now = self.now;
            self.client.timer(now);
            if let Some(server) = &mut self.server {
                server.timer(now);
            }
        }
    }

    /// Afterwards: what still flies arrives, then data passes both ways.
    fn check_data(&mut self) {
        while let Some(((at, _), (to_server, datagram))) = self.flying.pop_first() {
            self.now = at;
            self.arrive(to_server, &datagram);
            self.flush();
        }
        assert!(self.done(), "late datagrams did harm");
        let now = self.now;
        let server = self.server.as_mut().unwrap();
        let mut sealed = Vec::new();
        self.client.seal(b"to the server", &mut sealed).unwrap();
        assert_eq!(drain(server, now, &sealed), [b"to the server"]);
        sealed.clear();
        server.seal(b"to the client", &mut sealed).unwrap();
        assert_eq!(drain(&mut self.client, now, &sealed), [b"to the client"]);
    }
}

fn contexts(identity: &Identity, mode: ClientCertificate) -> (Context, Context) {
    (identity.context(mode), identity.context(mode))
}

/// A certificate that makes flights of several datagrams, and one that does not.
fn identities() -> [(Identity, ClientCertificate); 2] {
    [
        (Identity::p256(), ClientCertificate::None),
        (Identity::rsa2048(0), ClientCertificate::Require),
    ]
}

#[test]
fn without_loss_it_takes_two_round_trips_and_six_flights() {
    for (identity, mode) in identities() {
        let (client, listener) = contexts(&identity, mode);
        let mut path = Path::new(&client, &listener, Time(0), Box::new(|_, _| vec![50]));
        assert_eq!(path.run(SECOND), Some(6 * 50 * MILLISECOND));
        path.check_data();
    }
}

#[test]
fn any_one_or_two_datagrams_may_be_lost() {
    for (identity, mode) in identities() {
        let (client, listener) = contexts(&identity, mode);
        for first in 0..10 {
            for second in first..10 {
                let fate: Fate = Box::new(move |n, _| match n == first || n == second {
                    true => vec![],
                    false => vec![20],
                });
                let mut path = Path::new(&client, &listener, Time(0), fate);
                let took = path.run(60 * SECOND);
                assert!(
                    took.is_some_and(|took| took < 4 * SECOND),
                    "{first} and {second} lost: {took:?}"
                );
                path.check_data();
            }
        }
    }
}

#[test]
fn any_run_of_datagrams_may_be_lost() {
    let (identity, mode) = &identities()[1];
    let (client, listener) = contexts(identity, *mode);
    for first in 0..12 {
        for length in 1..12 {
            let fate: Fate = Box::new(move |n, _| match (first..first + length).contains(&n) {
                true => vec![],
                false => vec![20],
            });
            let mut path = Path::new(&client, &listener, Time(0), fate);
            assert!(
                path.run(60 * SECOND).is_some(),
                "{length} lost from {first}"
            );
            path.check_data();
        }
    }
}

#[test]
fn every_handshake_completes_over_a_bad_path() {
    for (identity, mode) in identities() {
        let (client, listener) = contexts(&identity, mode);
        let mut worst = 0;
        for seed in 0..400 {
            let mut random = Random(seed);
            // Anywhere within the minute of a cookie.
            let start = Time(random.below(60) * SECOND);
            let fate: Fate = Box::new(move |_, _| {
                let mut copies = Vec::new();
                if random.below(10) >= 3 {
                    copies.push(random.below(120));
                }
                if random.below(10) < 3 {
                    copies.push(random.below(1_500));
                }
                copies
            });
            let mut path = Path::new(&client, &listener, start, fate);
            path.burst = (seed % 7 * 20) as usize;
            let took = path.run(120 * SECOND);
            assert!(
                took.is_some(),
                "seed {seed} did not complete: {:?}",
                path.client.state()
            );
            worst = worst.max(took.unwrap());
            path.check_data();
        }
        println!("slowest of 400: {} ms", worst / MILLISECOND);
    }
}

#[test]
fn heavier_loss_takes_longer_and_still_completes() {
    let (identity, mode) = &identities()[0];
    let (client, listener) = contexts(identity, *mode);
    let mut completed = 0;
    for seed in 0..60 {
        let mut random = Random(1_000 + seed);
        let fate: Fate = Box::new(move |_, _| match random.below(10) < 6 {
            true => vec![],
            false => vec![random.below(300)],
        });
        let mut path = Path::new(&client, &listener, Time(0), fate);
        // While no cookie has come back there is no server; a cookie that took more than a minute is too old, and a
        // caller would have begun anew long before.
        let took = path.run(600 * SECOND);
        assert!(took.is_some() || path.server.is_none(), "seed {seed}");
        completed += u32::from(took.is_some());
    }
    assert!(completed > 55, "{completed} of 60");
}

/// The final flight is lost again and again while the server's data gets through: the data must not move the
/// client's replay window past the repeated Finished.
#[test]
fn data_ahead_of_a_lost_finished_does_not_block_the_handshake() {
    for (identity, mode) in identities() {
        let (client, listener) = contexts(&identity, mode);
        for losses in 1..4 {
            for burst in [1, 10, 63, 64, 65, 200, 1_000] {
                let mut lost = 0;
                let fate: Fate = Box::new(move |_, datagram| {
                    let last_flight = datagram[0] == 20 && datagram.len() < 100;
                    if last_flight && lost < losses {
                        lost += 1;
                        return vec![];
                    }
                    vec![20]
                });
                let mut path = Path::new(&client, &listener, Time(0), fate);
                path.burst = burst;
                assert!(
                    path.run(30 * SECOND).is_some(),
                    "{losses} losses, {burst} records"
                );
                path.check_data();
                assert!(path.arrived.0 >= burst.min(16), "early data is kept");
            }
        }
    }
}

#[test]
fn data_that_overtakes_the_final_flight_arrives() {
    let (identity, mode) = &identities()[0];
    let (client, listener) = contexts(identity, *mode);
    let fate: Fate = Box::new(|_, datagram| vec![if datagram[0] == 20 { 60 } else { 20 }]);
    let mut path = Path::new(&client, &listener, Time(0), fate);
    path.burst = 10;
    assert_eq!(
        path.run(SECOND),
        Some((5 * 20 + 60) * MILLISECOND),
        "no repetition was needed"
    );
    path.check_data();
    assert_eq!(path.arrived.0, 10);
}

/// Lets the client's last flight arrive in pieces, each lost in turn.
#[test]
fn a_flight_in_pieces_survives_the_loss_of_each() {
    let identity = Identity::rsa2048(0);
    let config = utcp::config::Config {
        datagram_size: 576,
        ..identity.config(ClientCertificate::Require)
    };
    let context = || Context::new(&config, [1; 32]).expect("a context");
    let (client, listener) = (context(), context());
    for lost in 0..30 {
        let fate: Fate = Box::new(move |n, _| if n == lost { vec![] } else { vec![20] });
        let mut path = Path::new(&client, &listener, Time(0), fate);
        let took = path.run(60 * SECOND);
        assert!(
            took.is_some_and(|took| took < 2 * SECOND),
            "{lost} lost: {took:?}"
        );
        path.check_data();
    }
}

#[test]
fn the_timer_is_harmless_early_late_and_repeatedly() {
    let (client, _) = contexts(&Identity::p256(), ClientCertificate::None);
    let start = Time(5 * SECOND);
    let mut session = Session::connect(&client, start).unwrap();
    assert_eq!(session.deadline(), start + 400 * MILLISECOND);
    assert!(session.take_output().is_some());
    session.timer(start + 399 * MILLISECOND);
    assert!(session.take_output().is_none(), "early");
    let mut waits = Vec::new();
    for _ in 0..6 {
        let at = session.deadline();
        session.timer(at);
        session.timer(at);
        assert!(session.take_output().is_some());
        assert!(session.take_output().is_none(), "once");
        waits.push(session.deadline().since(at) / MILLISECOND);
    }
    assert_eq!(waits, [800, 1_600, 3_200, 3_200, 3_200, 3_200]);
    let late = session.deadline() + 1_000 * SECOND;
    session.timer(late);
    assert_eq!(session.deadline(), late + 3_200 * MILLISECOND);
}

#[test]
fn output_that_is_not_taken_does_not_grow_for_ever() {
    let (client, _) = contexts(&Identity::p256(), ClientCertificate::None);
    let mut session = Session::connect(&client, Time(0)).unwrap();
    for _ in 0..10_000 {
        session.timer(session.deadline());
    }
    let mut count = 0;
    while session.take_output().is_some() {
        count += 1;
    }
    assert!(count <= 64, "{count}");
}
