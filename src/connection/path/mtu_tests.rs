use super::*;

/// How long the prober waits for an answer, and what the answer takes.
const TIMER: Micros = 300_000;
const RTT: Micros = 50_000;

/// A peer at the end of a path that carries `carries` octets.
struct Path {
    mtu: PathMtu,
    now: Time,
    carries: usize,
    /// The peer answers, and answers arrive.
    answers: bool,
    tokens: u32,
    /// Sizes probed, and when.
    sent: Vec<usize>,
}

impl Path {
    fn new(start: usize, max: usize, carries: usize) -> Path {
        Path {
            mtu: PathMtu::new(start, max, true),
            now: Time(1_000 * SECOND),
            carries,
            answers: true,
            tokens: 0,
            sent: Vec::new(),
        }
    }

    fn poll(&mut self) -> Option<Probe> {
        let tokens = &mut self.tokens;
        let probe = self.mtu.poll(self.now, TIMER, || {
            *tokens += 1;
            *tokens
        });
        self.sent.extend(probe.map(|p| p.size));
        probe
    }

    /// Everything that is on its way arrives, or is lost, and the next timer fires. Returns whether anything happened.
    fn step(&mut self) -> bool {
        let mut answered = Vec::new();
        let mut any = false;
        while let Some(probe) = self.poll() {
            any = true;
            if self.answers && probe.size <= self.carries {
                answered.push(probe.token);
            }
        }
        if !answered.is_empty() {
            self.now = self.now + RTT;
            for token in answered {
                assert!(self.mtu.on_answer(self.now, token));
            }
        } else if self.mtu.deadline() != Time::NEVER {
            any = true;
            self.now = self.mtu.deadline();
        }
        self.mtu.on_timer(self.now);
        any
    }

    fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 1_000, "no end: {:?}", self.mtu);
        }
    }

    fn begin(&mut self) {
        self.mtu.begin();
    }

    /// A retransmission timeout, later.
    fn timeout(&mut self) {
        self.now = self.now + 2 * SECOND;
        self.mtu.on_timeout(self.now);
    }

    fn found(&self) -> (usize, State) {
        (self.mtu.plpmtu(), self.mtu.state())
    }
}

#[test]
fn before_the_peer_is_heard_the_base_is_used_and_then_what_was_configured() {
    let mut path = Path::new(1_432, 1_472, 1_472);
    assert_eq!(path.found(), (BASE_PLPMTU, State::Base));
    assert!(!path.mtu.has_probe());
    path.begin();
    assert_eq!(path.found(), (1_432, State::Base));
    assert_eq!(path.poll().map(|p| p.size), Some(1_432));
    assert_eq!(path.poll().map(|p| p.size), Some(0));
    assert_eq!(path.poll(), None, "one at a time");
}

#[test]
fn an_ordinary_path_takes_two_probes_and_a_control() {
    let mut path = Path::new(1_432, 1_472, 1_472);
    path.begin();
    path.settle();
    assert_eq!(path.found(), (1_472, State::SearchComplete));
    assert_eq!(path.sent, [1_432, 0, 1_472]);
    assert_eq!(path.mtu.black_holes(), 0);
}

#[test]
fn every_size_is_found_exactly_from_any_start() {
    for start in [576, 700, 1_200, 1_232, 1_432] {
        for max in [1_472, 8_972] {
            for carries in (600..=9_100).step_by(37).chain([1_232, 1_372, 1_464]) {
                let mut path = Path::new(start, max, carries);
                path.begin();
                path.settle();
                let right = carries.min(max);
                assert_eq!(path.found(), (right, State::SearchComplete), "{start}");
                assert!(path.sent.len() < 80, "{} probes", path.sent.len());
            }
        }
    }
}

#[test]
fn a_path_narrower_than_configured_is_left_after_three_probes() {
    let mut path = Path::new(1_432, 1_472, 1_232);
    path.begin();
    let begun = path.now;
    while path.mtu.plpmtu() == 1_432 {
        assert!(path.step());
    }
    assert_eq!(path.found(), (BASE_PLPMTU, State::Base));
    assert_eq!(path.sent, [1_432, 0, 1_432, 0, 1_432, 0]);
    // The answers to the controls tell soon.
    assert_eq!(path.now.since(begun), 3 * 2 * RTT);
    assert_eq!(path.mtu.black_holes(), 1);
}

#[test]
fn a_path_narrower_than_the_base_is_an_error_that_is_got_over() {
    let mut path = Path::new(1_432, 1_472, 600);
    path.begin();
    let mut states = Vec::new();
    while path.step() {
        states.push(path.mtu.state());
    }
    states.dedup();
    assert_eq!(
        states,
        [
            State::Base,
            State::Error,
            State::Searching,
            State::SearchComplete
        ]
    );
    assert_eq!(path.mtu.plpmtu(), 600);

    let mut path = Path::new(1_432, 1_472, 200);
    path.begin();
    path.settle();
    assert_eq!(path.found(), (MIN_PLPMTU, State::Error));
}

#[test]
fn a_silent_peer_or_a_dead_path_changes_nothing_and_is_asked_ever_less_often() {
    let mut path = Path::new(1_432, 1_472, 1_472);
    path.answers = false;
    path.begin();
    path.settle();
    assert_eq!(path.found(), (1_432, State::Base));
    let first = path.sent.len();
    assert_eq!(first, 6, "three probes and three controls");
    // A day of traffic and timeouts.
    let end = path.now + 86_400 * SECOND;
    let mut tries = 0;
    while path.now < end {
        path.now = path.now + SECOND;
        let before = path.sent.len();
        path.mtu.on_traffic(path.now);
        path.mtu.on_timeout(path.now);
        path.settle();
        tries += u32::from(path.sent.len() > before);
        assert_eq!(path.found(), (1_432, State::Base));
    }
    assert!((140..160).contains(&tries), "{tries}");
}

#[test]
fn a_blackout_in_the_search_does_not_make_it_give_up_sizes() {
    let mut path = Path::new(1_432, 8_972, 8_972);
    path.begin();
    path.step();
    assert_eq!(path.found(), (1_432, State::Searching));
    path.answers = false;
    path.settle();
    assert_eq!(path.found(), (1_432, State::Searching));
    path.answers = true;
    path.mtu.on_traffic(path.now);
    assert!(!path.mtu.has_probe(), "not yet");
    path.now = path.now + FIRST_RETRY;
    path.mtu.on_traffic(path.now);
    path.settle();
    assert_eq!(path.found(), (8_972, State::SearchComplete));
}

#[test]
fn a_black_hole_is_confirmed_with_a_control_and_then_measured() {
    let mut path = Path::new(1_432, 1_472, 1_472);
    path.begin();
    path.settle();
    path.sent.clear();
    path.carries = 1_372;
    path.timeout();
    path.settle();
    assert_eq!(path.sent[..6], [1_472, 0, 1_472, 0, 1_472, 0]);
    assert_eq!(path.found(), (1_372, State::SearchComplete));
    assert_eq!(path.mtu.black_holes(), 1);
}

#[test]
fn timeouts_without_a_black_hole_cost_one_probe_each_and_no_more_than_one_a_second() {
    let mut path = Path::new(1_432, 1_472, 1_472);
    path.begin();
    path.settle();
    path.sent.clear();
    let end = path.now + 10 * SECOND;
    while path.now < end {
        path.now = path.now + 10_000;
        path.mtu.on_timeout(path.now);
        while let Some(probe) = path.poll() {
            path.mtu.on_answer(path.now, probe.token);
        }
    }
    assert_eq!(path.found(), (1_472, State::SearchComplete));
    // And a control with each.
    assert!(path.sent.len() <= 20, "{:?}", path.sent);
}

#[test]
fn a_timeout_during_the_search_looks_at_what_is_in_use_first() {
    let mut path = Path::new(1_432, 8_972, 8_972);
    path.begin();
    path.step();
    assert_eq!(path.poll().map(|p| p.size), Some(8_972));
    path.carries = 1_232;
    path.timeout();
    assert_eq!(path.poll().map(|p| p.size), Some(1_432));
    path.settle();
    assert_eq!(path.found(), (1_232, State::SearchComplete));
}

#[test]
fn a_path_that_has_become_wider_is_noticed_with_one_probe_after_the_raise_timer() {
    let mut path = Path::new(1_432, 1_472, 1_400);
    path.begin();
    path.settle();
    assert_eq!(path.found(), (1_400, State::SearchComplete));
    path.sent.clear();
    path.now = path.now + PMTU_RAISE_TIMER / 2;
    path.mtu.on_traffic(path.now);
    path.settle();
    assert_eq!(path.sent, []);
    path.now = path.now + PMTU_RAISE_TIMER / 2;
    path.mtu.on_traffic(path.now);
    path.settle();
    assert_eq!(path.sent, [1_401, 1_401, 0, 1_401, 0]);
    assert_eq!(path.found(), (1_400, State::SearchComplete));

    path.carries = 1_472;
    path.sent.clear();
    path.now = path.now + PMTU_RAISE_TIMER;
    path.mtu.on_traffic(path.now);
    path.settle();
    assert_eq!(path.sent, [1_401, 1_472]);
    assert_eq!(path.found(), (1_472, State::SearchComplete));
}

#[test]
fn an_answer_that_is_late_counts_even_after_the_size_was_given_up() {
    let mut path = Path::new(1_432, 1_472, 1_000);
    path.begin();
    let token = path.poll().map(|p| p.token).expect("a probe");
    while path.mtu.plpmtu() == 1_432 {
        path.step();
    }
    assert!(path.mtu.on_answer(path.now, token));
    assert_eq!(path.found(), (1_432, State::Searching));
    assert!(!path.mtu.on_answer(path.now, token), "once");
}

#[test]
fn answers_that_nothing_waits_for_change_nothing() {
    let mut path = Path::new(1_432, 1_472, 1_472);
    for token in 0..100 {
        assert!(!path.mtu.on_answer(path.now, token));
    }
    path.begin();
    let probe = path.poll().expect("a probe");
    assert!(!path.mtu.on_answer(path.now, probe.token + 1));
    assert_eq!(path.found(), (1_432, State::Base));
    assert!(path.mtu.on_answer(path.now, probe.token));
    assert_eq!(path.found(), (1_432, State::Searching));
    let next = path.poll().expect("a probe");
    assert!(path.mtu.on_answer(path.now, probe.token), "to a repetition");
    assert_eq!(path.found(), (1_432, State::Searching));
    assert!(path.mtu.on_answer(path.now, next.token));
    assert!(!path.mtu.on_answer(path.now, probe.token), "long ago");
    assert_eq!(path.found(), (1_472, State::SearchComplete));
}

#[test]
fn timeouts_before_the_peer_is_heard_find_a_path_narrower_than_the_base() {
    let mut path = Path::new(1_432, 1_472, 1_000);
    path.timeout();
    path.settle();
    assert_eq!(path.found(), (1_000, State::SearchComplete));
    path.begin();
    assert_eq!(path.mtu.plpmtu(), 1_000, "what is known stays");
}

#[test]
fn without_probing_the_configured_size_is_used_and_nothing_is_sent() {
    let mut mtu = PathMtu::new(1_432, 1_472, false);
    mtu.begin();
    mtu.on_timeout(Time(SECOND));
    mtu.on_traffic(Time(1_000 * SECOND));
    mtu.on_timer(Time(1_000 * SECOND));
    assert!(!mtu.has_probe());
    assert_eq!((mtu.plpmtu(), mtu.state()), (1_432, State::Disabled));
    assert_eq!(mtu.deadline(), Time::NEVER);
}

#[test]
fn a_largest_below_the_configured_size_means_that_nothing_larger_is_tried() {
    let mut path = Path::new(1_400, 1_000, 9_000);
    path.begin();
    path.settle();
    assert_eq!(path.sent, [1_400, 0]);
    assert_eq!(path.found(), (1_400, State::SearchComplete));
}
