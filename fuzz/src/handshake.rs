//! An endpoint and a bare DTLS session, brought together without anything in between.

use std::net::SocketAddr;

use utcp::dtls::{Context, Listen, Session, SessionState};
use utcp::endpoint::{ConnectionId, Endpoint, Event};
use utcp::time::Time;

/// Takes everything off the endpoint's output.
fn drain(endpoint: &mut Endpoint) -> Vec<Vec<u8>> {
    let data: Vec<Vec<u8>> = endpoint.output().iter().map(|d| d.data.clone()).collect();
    endpoint.sent(data.len());
    data
}

/// The peer connects.
pub fn accepted(
    endpoint: &mut Endpoint,
    context: &Context,
    now: Time,
    address: SocketAddr,
) -> (ConnectionId, Session) {
    let mut session = Session::connect(context, now).expect("a session");
    let mut id = None;
    for _ in 0..10 {
        while let Some(datagram) = session.take_output() {
            endpoint.inject(now, address, &datagram, 0);
        }
        while let Some(event) = endpoint.poll_event() {
            match event {
                Event::ConnectionIncoming(incoming, _) => endpoint.accept(now, incoming, true),
                Event::ConnectionVerify(verify) => endpoint.verified(now, verify, true),
                Event::ConnectionReady(ready) => id = Some(ready),
                other => panic!("{other:?}"),
            }
        }
        if session.state() == SessionState::Established
            && let Some(id) = id
        {
            return (id, session);
        }
        for datagram in drain(endpoint) {
            session.receive(now, &datagram, &mut Vec::new());
        }
    }
    panic!("no handshake");
}

/// The endpoint connects.
pub fn connected(
    endpoint: &mut Endpoint,
    context: &Context,
    now: Time,
    address: SocketAddr,
) -> (ConnectionId, Session) {
    let id = endpoint.connect(now, address, None).expect("a connection");
    let relay = SocketAddr::from(([192, 0, 2, 8], 9_001));
    let mut session: Option<Session> = None;
    for _ in 0..10 {
        for datagram in drain(endpoint) {
            if let Some(session) = &mut session {
                session.receive(now, &datagram, &mut Vec::new());
                continue;
            }
            let mut reply = Vec::new();
            match context.listen(now, relay, &datagram, &mut reply) {
                Listen::Promoted(mut promoted) => {
                    promoted.start(now);
                    session = Some(promoted);
                }
                _ => endpoint.inject(now, address, &reply, 0),
            }
        }
        if let Some(session) = &mut session {
            while let Some(datagram) = session.take_output() {
                endpoint.inject(now, address, &datagram, 0);
            }
        }
        while let Some(event) = endpoint.poll_event() {
            match event {
                Event::ConnectionVerify(verify) => endpoint.verified(now, verify, true),
                Event::ConnectionReady(ready) => assert_eq!(ready, id),
                other => panic!("{other:?}"),
            }
        }
        if let Some(established) = session.take_if(|s| s.state() == SessionState::Established) {
            return (id, established);
        }
    }
    panic!("no handshake");
}
