//! Circuits that sleep, and wake as they were.

use super::*;
use crate::tcp::{BEDTIME, Tcp};

impl Script {
    /// Lets it sleep if it may, and wakes it; whether it slept.
    fn nap(&mut self) -> bool {
        self.tcb.take_readable();
        let empty = Tcb::open(&settings(), Seq(0), None);
        let mut tcp = Tcp::new(std::mem::replace(&mut self.tcb, empty));
        let slept = tcp.sleep(self.now);
        self.tcb = tcp.into_tcb();
        slept
    }
}

/// One of each algorithm that has sent and received, and has nothing more to do.
fn quiet() -> impl Iterator<Item = Script> {
    let all = [Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr];
    all.into_iter().map(|congestion| {
        let settings = Settings {
            congestion,
            ..settings()
        };
        let mut s = Script::established_with(&settings, RTT, syn_options());
        s.grow(60_000);
        s.data(IRS + 1, b"answer").unwrap();
        s.run(SECOND);
        assert_eq!(s.read_all(), b"answer");
        s
    })
}

#[test]
fn it_wakes_as_it_was() {
    for mut s in quiet() {
        s.run(BEDTIME);
        let before = s.tcb.info();
        assert!(s.nap(), "{before:?}");
        assert_eq!(s.tcb.info(), before);
        s.tcb.check();

        // Both directions go on where they were.
        let next = s.tcb.snd_nxt().0;
        s.write(2_500);
        let sent = s.run(RTT);
        let lens: usize = sent.iter().map(|&(_, _, len)| len).sum();
        assert_eq!((sent[0].1, lens), (next, 2_500));
        s.segment(
            ACK,
            IRS + 7,
            next + 2_500,
            2_000,
            Options::default(),
            b"more",
        )
        .unwrap();
        assert_eq!(s.read_all(), b"more");
        assert_eq!(s.tcb.info().send_queue, 0);
        s.tcb.check();
    }
}

#[test]
fn it_sleeps_again_and_again() {
    for mut s in quiet() {
        for _ in 0..3 {
            s.run(BEDTIME);
            assert!(s.nap());
            s.write(s.tcb.room());
            for _ in 0..20 {
                s.run(RTT);
                s.data(IRS + 7, b"").unwrap();
            }
            assert_eq!(s.tcb.info().send_queue, 0);
            s.tcb.check();
        }
    }
}

#[test]
fn it_does_not_sleep_early() {
    for mut s in quiet() {
        s.run(BEDTIME / 2);
        assert!(!s.nap());
    }
}

#[test]
fn it_does_not_sleep_over_something_to_do() {
    type Act = fn(&mut Script);
    let acts: [(&str, Act); 6] = [
        ("unread data", |s| s.data(IRS + 7, b"more").unwrap()),
        ("a hole", |s| s.data(IRS + 100, b"later").unwrap()),
        ("unsent data", |s| s.write(100)),
        ("data in flight", |s| {
            s.write(100);
            s.sent();
        }),
        ("half-closed", |s| s.tcb.finish()),
        ("the peer has finished", |s| {
            s.segment(
                FIN,
                IRS + 7,
                s.tcb.snd_nxt().0,
                2_000,
                Options::default(),
                &[],
            )
            .unwrap();
        }),
    ];
    for (what, act) in acts {
        for mut s in quiet() {
            act(&mut s);
            s.now = s.now + 2 * BEDTIME;
            assert!(!s.nap(), "{what}");
        }
    }
}
