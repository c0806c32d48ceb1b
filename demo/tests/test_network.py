import random
import unittest
from itertools import combinations
from pathlib import Path

from privnet import torrc
from privnet.errors import Failure
from privnet.network import claim_addresses, describe, pairs_of, paths_over_pairs


class PathsTest(unittest.TestCase):
    def test_every_pair_is_adjacent_on_some_path(self):
        for hubs in range(3, 9):
            for seed in range(20):
                names = [f"r{n}" for n in range(hubs)]
                paths = paths_over_pairs(names, ["u", "v"], random.Random(seed))
                seen = set().union(*(pairs_of(path) for path in paths))
                wanted = {frozenset(pair) for pair in combinations(names, 2)}
                wanted |= {frozenset((name, other)) for name in names for other in "uv"}
                self.assertLessEqual(wanted, seen)
                for path in paths:
                    self.assertEqual(len(set(path)), 3, path)

    def test_no_more_paths_than_pairs(self):
        paths = paths_over_pairs([f"r{n}" for n in range(5)], ["u"], random.Random(1))
        self.assertLess(len(paths), 15)

    def test_same_seed_same_paths(self):
        names = [f"r{n}" for n in range(5)]
        one, two = (paths_over_pairs(names, ["u"], random.Random(7)) for _ in range(2))
        self.assertEqual(one, two)


class DescriptionTest(unittest.TestCase):
    def test_roles(self):
        net = describe(Path("/x"), "127.1.2.")
        self.assertEqual(len(net.authorities), 3)
        self.assertEqual([n.name for n in net.utcp_relays], [f"relay{n}" for n in range(1, 6)])
        self.assertEqual([n.name for n in net.tls_relays], ["plain"])
        self.assertEqual([n.patched for n in net.clients], [True, False])
        self.assertEqual(len({n.address for n in net.nodes}), len(net.nodes))

    def test_most_relays_still_have_addresses_of_their_own(self):
        net = describe(Path("/x"), "127.1.2.", relays=100)
        self.assertEqual(len({n.address for n in net.nodes} | {net.web_address}), len(net.nodes) + 1)

    def test_vanilla_has_no_utcp(self):
        net = describe(Path("/x"), "127.1.2.", patched=False)
        self.assertEqual(net.utcp_relays, [])
        self.assertFalse(any("ORUDPPort" in torrc.torrc(node, net, 1) for node in net.nodes))

    def test_too_few_or_many_relays(self):
        for relays in (2, 101):
            with self.assertRaises(Failure):
                describe(Path("/x"), "127.1.2.", relays=relays)

    def test_claims_differ_and_end_with_the_socket(self):
        one, first = claim_addresses()
        two, second = claim_addresses()
        self.assertNotEqual(one, two)
        first.close()
        second.close()


class TorrcTest(unittest.TestCase):
    def test_only_patched_relays_have_a_udp_port(self):
        net = describe(Path("/x"), "127.1.2.")
        with_port = [n.name for n in net.nodes if "\nORUDPPort " in torrc.torrc(n, net, 1)]
        self.assertEqual(with_port, [n.name for n in net.utcp_relays])

    def test_start_leaves_time_before_the_vote(self):
        vote = torrc.FIRST_INTERVAL - 2 * torrc.FIRST_DELAY
        for tenth in range(0, 400):
            now = 1_000_000 + tenth / 10
            start = now + torrc.seconds_until_start(now, 4.5)
            left = (vote - start) % torrc.FIRST_INTERVAL
            self.assertGreaterEqual(round(left, 6), 4.5, now)
            self.assertLess(start - now, torrc.FIRST_INTERVAL)
