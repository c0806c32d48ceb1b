use super::*;
use crate::emulate::running::network;

const HOSTS: &str = "[[hosts]]\nname = 'a'\n[[hosts]]\nname = 'b'\n[[hosts]]\nname = 'c'\n";

fn plan(text: &str) -> Result<Plan, String> {
    let topology =
        Topology::from_toml(&format!("{HOSTS}{text}")).map_err(|error| error.to_string())?;
    topology.plan().map_err(|error| error.to_string())
}

fn link<'a>(plan: &'a Plan, from: &str, to: &str) -> &'a Conditions {
    let index = |name: &str| {
        plan.hosts
            .iter()
            .position(|host| host.name == name)
            .expect("it is there")
    };
    &plan.conditions[index(from) * plan.hosts.len() + index(to)]
}

#[test]
fn the_examples_are_topologies() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in fs::read_dir(directory).expect("examples") {
        let path = entry.expect("a file").path();
        let plan = Topology::load(&path).and_then(|topology| topology.plan());
        assert!(plan.is_ok(), "{}: {plan:?}", path.display());
        count += 1;
    }
    assert!(count >= 2);
}

#[test]
fn later_rules_change_what_they_mention_and_only_for_their_pairs() {
    let plan = plan(
        "[defaults]\ndelay_ms = 25\nloss = 0.01\n\
         [[links]]\nfrom = 'a'\nto = ['b', 'c']\nrate_mbit = 8\n\
         [[links]]\nfrom = 'b'\nto = '*'\nboth = true\nloss = 0\ndelay_ms = 2.5\n",
    )
    .expect("it is right");
    let near = link(&plan, "a", "b");
    assert_eq!((near.loss, near.rate), (0.0, Some(8_000_000)));
    assert_eq!(near.delay, Delay::Constant(2_500_000));
    let far = link(&plan, "a", "c");
    assert_eq!((far.loss, far.rate), (0.01, Some(8_000_000)));
    // What the rate sends in twice the delay.
    assert_eq!((far.queue, near.queue), (50_000, 45_000));
    let back = link(&plan, "c", "a");
    assert_eq!(
        (back.loss, back.rate, back.delay.mean()),
        (0.01, None, 25_000_000)
    );
    assert_eq!(link(&plan, "c", "b").loss, 0.0);
}

#[test]
fn everything_can_be_said_in_json_too() {
    let text = r#"{"seed": 3, "hosts": [{"name": "a", "up_mbit": 8}, {"name": "b", "address": "10.1.2.3"}],
        "links": [{"from": "a", "to": "b", "distribution": "table", "table_ms": [1, 2], "both": true,
                   "burst": {"enter": 0.1, "leave": 0.5}}]}"#;
    let topology = Topology::from_json(text).expect("it is right");
    let plan = topology.plan().expect("it is right");
    assert_eq!(plan.hosts[1].settings.address, Ipv4Addr::new(10, 1, 2, 3));
    assert_eq!(
        plan.hosts[0].up,
        Some(Limit {
            rate: 8_000_000,
            queue: 100_000
        })
    );
    assert_eq!(
        link(&plan, "b", "a").delay,
        Delay::table(vec![1_000_000, 2_000_000]).expect("not empty")
    );
    let burst = link(&plan, "a", "b").burst.expect("it is set");
    assert_eq!((burst.loss, burst.loss_good), (1.0, 0.0));
    // What was read can be written and read again.
    let again = serde_json::to_string(&topology).expect("it can be written");
    assert_eq!(
        Topology::from_json(&again).map(|t| t.links),
        Ok(topology.links)
    );
}

/// Each is refused, with a text that has these words.
#[test]
fn what_makes_no_sense_is_refused_with_what_is_wrong() {
    let cases = [
        (
            "[[links]]\nfrom = 'a'\nto = 'nobody'",
            "link 1: unknown host \"nobody\"",
        ),
        (
            "[[links]]\nfrom = ['a', 'x']\nto = 'b'",
            "unknown host \"x\"",
        ),
        ("[[links]]\nfrom = 3\nto = 'b'", "a host, a list of hosts"),
        ("[[links]]\nfrom = 'a'", "missing field `to`"),
        (
            "[[links]]\nfrom = 'a'\nto = 'b'\nlos = 0.1",
            "unknown field `los`",
        ),
        ("[defaults]\nlos = 0.1", "unknown field `los`"),
        ("[defaults]\nloss = 1.5", "loss = 1.5: from 0 to 1"),
        ("[defaults]\nloss = -0.1", "loss = -0.1"),
        ("[defaults]\nloss = nan", "loss = NaN"),
        ("[defaults]\nloss = 'much'", "invalid type"),
        ("[defaults]\ndelay_ms = -1", "delay_ms = -1"),
        ("[defaults]\ndelay_ms = inf", "delay_ms = inf"),
        ("[defaults]\ndelay_ms = 1e300", "delay_ms"),
        ("[defaults]\njitter_ms = -2", "jitter_ms = -2"),
        ("[defaults]\nrate_mbit = -5", "rate_mbit = -5"),
        ("[defaults]\nrate_mbit = 1e-9", "rate_mbit"),
        ("[defaults]\nqueue_bytes = -1", "invalid value"),
        (
            "[defaults]\nqueue_bytes = 99_999_999_999",
            "queue_bytes = 99999999999: at most",
        ),
        ("[defaults]\nreorder = 0.1", "reorder needs reorder_ms"),
        (
            "[defaults]\nmark_bytes = 1000",
            "no effect without rate_mbit",
        ),
        ("[defaults]\ndistribution = 'table'", "needs table_ms"),
        (
            "[defaults]\ndistribution = 'table'\ntable_ms = [1, -1]",
            "table_ms = -1",
        ),
        (
            "[defaults]\ndistribution = 'gamma'",
            "unknown variant `gamma`",
        ),
        (
            "[defaults]\nburst = { enter = 2, leave = 0.1 }",
            "burst: enter = 2",
        ),
        (
            "[defaults]\nburst = { enter = 0.1, leave = 0 }",
            "would never end",
        ),
        (
            "[defaults]\nburst = { enter = 0.1 }",
            "missing field `leave`",
        ),
        ("[[hosts]]\nname = 'A'", "differs only in case"),
        ("[[hosts]]\nname = 'a b'", "letters, digits"),
        ("[[hosts]]\nname = '../../x'", "letters, digits"),
        ("[[hosts]]\nname = ''", "letters, digits"),
        (
            "[[hosts]]\nname = 'd'\naddress = '192.168.1.1'",
            "within 10.0.0.0/8",
        ),
        (
            "[[hosts]]\nname = 'd'\naddress = '10.77.0.1'",
            "another host has the address",
        ),
        ("[[hosts]]\nname = 'd'\naddress = 'here'", "invalid"),
        (
            "[[hosts]]\nname = 'd'\ncongestion = 'bbr; reboot'",
            "no name of a congestion control",
        ),
        ("[[hosts]]\nname = 'd'\nup_mbit = -1", "up_mbit = -1"),
        (
            "[[hosts]]\nname = 'd'\nsysctl = { 'kernel.panic' = '1' }",
            "begin with net.",
        ),
        (
            "[[hosts]]\nname = 'd'\nsysctl = { 'net/../kernel/panic' = '1' }",
            "begin with net.",
        ),
        (
            "[[hosts]]\nname = 'd'\nsysctl = { 'net...kernel.panic' = '1' }",
            "begin with net.",
        ),
        ("[limits]\nlate_ms = -1", "late_ms = -1"),
        ("[limits]\nseconds = 0", "seconds = 0"),
    ];
    for (text, words) in cases {
        match plan(text) {
            Ok(_) => panic!("taken: {text}"),
            Err(error) => assert!(error.contains(words), "{text}: {error}"),
        }
    }
    let refused = |text: &str, words: &str| {
        let error = Topology::from_toml(text).and_then(|topology| topology.plan().map(|_| ()));
        let error = error.expect_err("refused").to_string();
        assert!(error.contains(words), "{error}");
    };
    refused("", "0 hosts");
    refused("[[hosts]]\nname = 'a'", "1 hosts");
    refused(&format!("mtu = 10\n{HOSTS}"), "mtu = 10");
    refused("hosts = 3", "invalid type");
    refused("[[hosts]\nname", "TOML");
    let many: String = (0..=MOST_HOSTS)
        .map(|n| format!("[[hosts]]\nname = 'h{n}'\n"))
        .collect();
    refused(&many, "there have to be 2 to 100");
    assert!(Topology::from_json("{\"hosts\": [").is_err());
    let missing = Topology::load(Path::new("/no/such/file.toml")).expect_err("it is not there");
    assert!(missing.to_string().contains("/no/such/file.toml"));
}

/// Which of 500 packets of a pair arrive.
fn pattern(plan: &Plan, from: usize, to: usize) -> Vec<u64> {
    let mut network = network(plan);
    let mut packet = vec![0x45; 60];
    packet[16..20].copy_from_slice(&plan.hosts[to].settings.address.octets());
    for number in 0..500 {
        network.enter(number, from, packet.clone());
    }
    std::iter::from_fn(|| network.leave(Nanos::MAX))
        .map(|arrival| arrival.at)
        .collect()
}

#[test]
fn each_pair_has_randomness_of_its_own_which_only_the_seed_and_the_names_decide() {
    let with = |seed: u64, more: &str| {
        let mut topology =
            Topology::from_toml(&format!("{HOSTS}{more}[defaults]\nloss = 0.2\n")).expect("right");
        topology.seed = seed;
        topology.plan().expect("right")
    };
    let one = with(1, "");
    let first = pattern(&one, 0, 1);
    assert_eq!(first, pattern(&one, 0, 1));
    assert_ne!(first, pattern(&one, 1, 0));
    assert_ne!(first, pattern(&one, 0, 2));
    assert_ne!(first, pattern(&with(2, ""), 0, 1));
    assert_eq!(first, pattern(&with(1, "[[hosts]]\nname = 'd'\n"), 0, 1));
}
