//! quinn as its users have it: its own sockets (quinn-udp, with segmentation offload) and tokio, one thread of it for
//! both ends, or one for each. Otherwise as [`super::quinn`].

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ::quinn::{Endpoint, EndpointConfig, TokioRuntime};
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::quinn::{client, server};
use super::{CHUNK, Meter, Progress, Span, Threads};
use crate::datapath::{SERVER_NAME, udp};

/// Until the other thread has seen the end, too.
const LOOK: Duration = Duration::from_millis(5);

type Shared = Arc<Mutex<Meter>>;

fn is_over(meter: &Shared, progress: &Progress) -> bool {
    let mut meter = meter.lock().expect("no panic");
    meter.look(progress.load(Ordering::Relaxed));
    meter.nanos.is_some()
}

fn endpoint(socket: UdpSocket, streams: Option<u32>) -> Endpoint {
    let server = streams.map(server);
    let config = EndpointConfig::default();
    Endpoint::new(config, server, socket, Arc::new(TokioRuntime)).expect("an endpoint")
}

async fn receive(socket: UdpSocket, streams: u32, progress: Progress, meter: Shared) {
    let endpoint = endpoint(socket, Some(streams));
    let connection = endpoint.accept().await.expect("a peer");
    let connection = connection.await.expect("a handshake");
    for _ in 0..streams {
        let mut stream = connection.accept_uni().await.expect("a stream");
        let (progress, meter) = (progress.clone(), meter.clone());
        tokio::spawn(async move {
            while !is_over(&meter, &progress) {
                let Ok(Some(chunk)) = stream.read_chunk(CHUNK, true).await else {
                    return;
                };
                progress.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
            }
        });
    }
    while !is_over(&meter, &progress) {
        sleep(LOOK).await;
    }
    // The sender sees it too before the connection ends.
    sleep(4 * LOOK).await;
}

async fn send(socket: UdpSocket, to: SocketAddr, streams: u32, progress: Progress, meter: Shared) {
    let endpoint = endpoint(socket, None);
    let connecting = endpoint.connect_with(client(streams), to, SERVER_NAME);
    let connection = connecting.expect("possible").await.expect("a handshake");
    for _ in 0..streams {
        let mut stream = connection.open_uni().await.expect("a stream");
        let (progress, meter) = (progress.clone(), meter.clone());
        tokio::spawn(async move {
            let data = vec![7; CHUNK];
            while !is_over(&meter, &progress) && stream.write_all(&data).await.is_ok() {}
        });
    }
    while !is_over(&meter, &progress) {
        sleep(LOOK).await;
    }
}

/// Payload octets per CPU second of one run.
pub fn run(streams: u32, threads: Threads, span: Span) -> f64 {
    let progress = Progress::default();
    let [a, b] = [udp(), udp()];
    let to = b.local_addr().expect("bound");
    for socket in [&a, &b] {
        socket.set_nonblocking(true).expect("a socket");
    }
    let runtime = || {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime")
    };
    let meter = || Arc::new(Mutex::new(Meter::new(span)));
    let taken = |meter: &Shared| meter.lock().expect("no panic").nanos.unwrap_or(u64::MAX);
    let nanos = match threads {
        Threads::One => {
            let meter = meter();
            runtime().block_on(async {
                let receiver = receive(b, streams, progress.clone(), meter.clone());
                let receiver = tokio::spawn(receiver);
                send(a, to, streams, progress.clone(), meter.clone()).await;
                receiver.await.expect("no panic");
            });
            taken(&meter)
        }
        Threads::Two => thread::scope(|scope| {
            let other = scope.spawn(|| {
                let meter = meter();
                runtime().block_on(receive(b, streams, progress.clone(), meter.clone()));
                taken(&meter)
            });
            let meter = meter();
            runtime().block_on(send(a, to, streams, progress.clone(), meter.clone()));
            taken(&meter) + other.join().expect("no panic")
        }),
    };
    span.rate(nanos)
}
