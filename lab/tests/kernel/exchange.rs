//! Requests and answers, the smallest things that a connection carries.

use std::io::Read as _;
use std::io::Write as _;

use crate::both;
use crate::script::{Finish, Script, Stream, request_len};
use crate::world::{Direction, Start, World, clean, receive};

const REQUESTS: u64 = 100;

fn kernel_asks(direction: Direction, loss: f64) {
    let script = Script {
        echo: true,
        finish: Finish::AfterEnd,
        ..Script::default()
    };
    let mut conditions = clean();
    conditions.loss = loss;
    let world = World::new(direction, script, Start::over(conditions));
    let mut position = 0;
    for number in 0..REQUESTS {
        let mut request = vec![0; request_len(number) as usize];
        Stream::FromKernel.fill(position, &mut request);
        world.stream().write_all(&request).expect("it takes it");
        let mut answer = vec![0; request.len()];
        world.stream().read_exact(&mut answer).expect("it answers");
        assert_eq!(request, answer);
        position += request.len() as u64;
    }
    world.kernel_finishes();
    world.kernel_sees_end();
    let report = world.wait("the end", |r| r.reason.is_some());
    assert_eq!((report.received, report.wrong), (position, false));
    world.end();
}

#[test]
fn the_kernel_asks() {
    both(|direction| kernel_asks(direction, 0.0));
}

#[test]
fn the_kernel_asks_over_a_lossy_link() {
    both(|direction| kernel_asks(direction, 0.03));
}

fn ours_asks(direction: Direction, loss: f64) {
    let script = Script {
        requests: REQUESTS,
        finish: Finish::AfterSending,
        ..Script::default()
    };
    let mut conditions = clean();
    conditions.loss = loss;
    let world = World::new(direction, script, Start::over(conditions));
    let mut position = 0;
    for number in 0..REQUESTS {
        let mut request = vec![0; request_len(number) as usize];
        world.stream().read_exact(&mut request).expect("it asks");
        assert!(Stream::FromOurs.matches(position, &request));
        world.stream().write_all(&request).expect("it takes it");
        position += request.len() as u64;
    }
    world.kernel_sees_end();
    world.kernel_finishes();
    let report = world.wait("the end", |r| r.ended);
    assert_eq!(report.answers, REQUESTS);
    assert_eq!((report.received, report.wrong), (position, false));
    world.kernel_is_done();
    world.end();
}

#[test]
fn ours_asks_the_kernel() {
    both(|direction| ours_asks(direction, 0.0));
}

#[test]
fn ours_asks_the_kernel_over_a_lossy_link() {
    both(|direction| ours_asks(direction, 0.03));
}

#[test]
fn a_single_octet_each_way() {
    both(|direction| {
        let world = World::new(direction, Script::sends(1), Start::over(clean()));
        receive(world.stream(), Stream::FromOurs, 1);
        world.kernel_sends(1).join().expect("the kernel could send");
        world.kernel_finishes();
        let report = world.wait("the end", |r| r.ended);
        assert_eq!((report.received, report.wrong), (1, false));
        world.end();
    });
}
