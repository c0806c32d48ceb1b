import unittest
from pathlib import Path

from privnet import links
from privnet.errors import Failure
from privnet.kernel import Sockets
from privnet.network import describe

A, B, U, AUTH = "A" * 40, "B" * 40, "C" * 40, "D" * 40


def network():
    """Three patched relays (the third has no fingerprint yet), one unpatched, addresses 127.1.2.x."""
    net = describe(Path("/x"), "127.1.2.", relays=3)
    names = {"relay1": A, "relay2": B, "plain": U, "auth1": AUTH}
    for node in net.nodes:
        node.fingerprint = names.get(node.name, "")
    return net


def line(fingerprint, transport="utcp", direction="out", circuits=2, sent=100, received=50, again=3, host=99):
    return f"{fingerprint} 127.1.2.{host}:5000 {transport} {direction} {circuits} {sent} {received} {again} open"


class ParseTest(unittest.TestCase):
    def test_line(self):
        report = links.parse(line(A) + "\n\n")[0]
        self.assertEqual((report.fingerprint, report.transport, report.direction), (A, "utcp", "out"))
        self.assertEqual((report.circuits, report.sent, report.received, report.retransmits), (2, 100, 50, 3))

    def test_nothing(self):
        self.assertEqual(links.parse(""), [])

    def test_garbage_is_named(self):
        for text in ("x y", line(A, transport="quic"), line(A, direction="up"), line(A, circuits="many")):
            with self.assertRaisesRegex(Failure, "not understood"):
                links.parse(text)


class MergeTest(unittest.TestCase):
    def test_two_ends_are_one_link(self):
        rows = links.merge(network(), {
            "relay1": links.parse(line(B)),
            "relay2": links.parse(line(A, direction="in", sent=50, received=100, again=4)),
        }, {})  # fmt: skip
        self.assertEqual(len(rows), 1)
        row = rows[0]
        self.assertEqual((row.start, row.end, row.transport), ("relay1", "relay2", "utcp"))
        self.assertEqual((row.connections, row.circuits, row.bytes, row.retransmits), (1, 2, 150, 7))

    def test_a_client_is_known_by_its_socket(self):
        reports = {"relay1": links.parse(line("-", "tls", "in", host=9))}
        rows = links.merge(network(), reports, {"127.1.2.9:5000": "client2"})
        self.assertEqual((rows[0].start, rows[0].end, rows[0].bytes), ("client2", "relay1", 150))

    def test_vanilla_pairs_are_listed_once(self):
        net = network()
        status = "${}~relay{} CONNECTED\n"
        rows = links.merge(net, {
            "relay1": links.from_orconn_status(status.format(B, 2)),
            "relay2": links.from_orconn_status(status.format(A, 1) + "127.0.0.1:9 LAUNCHED\n"),
        }, {})  # fmt: skip
        self.assertEqual([(row.start, row.end) for row in rows], [("relay1", "relay2")])
        self.assertIn("-", links.table(rows).splitlines()[-1])


class ProblemsTest(unittest.TestCase):
    def setUp(self):
        self.net = network()
        self.net.nodes = [n for n in self.net.nodes if n.name != "relay3"]
        self.right = {
            "relay1": [line(B), line(U, "tls"), line(AUTH, "tls", "in")],
            "relay2": [line(A, direction="in"), line(U, "tls", "in")],
        }

        self.used = {frozenset(pair) for pair in (("relay1", "relay2"), ("relay1", "plain"), ("relay2", "plain"))}
        self.sockets = Sockets({}, [], {"relay1": ["127.1.2.3:5001", "0.0.0.0:53"], "relay2": ["127.1.2.4:5001"]})

    def problems(self, reports):
        parsed = {name: links.parse("\n".join(lines)) for name, lines in reports.items()}
        return links.problems(self.net, links.merge(self.net, parsed, {}), self.sockets, self.used)

    def test_right(self):
        self.assertEqual(self.problems(self.right), [])

    def test_patched_pair_without_link(self):
        del self.right["relay1"][0], self.right["relay2"][0]
        self.assertRegex("\n".join(self.problems(self.right)), "no utcp link between them has carried")

    def test_patched_pair_with_an_idle_link_only(self):
        self.right["relay1"][0] = line(B, circuits=0)
        self.assertRegex("\n".join(self.problems(self.right)), "has carried a circuit")

    def test_links_that_are_not_used_now_may_be_idle_or_gone(self):
        self.used = set()
        self.right["relay1"][0] = line(B, circuits=0)
        del self.right["relay2"][1]
        self.assertEqual(self.problems(self.right), [])

    def test_patched_pair_on_tls_beside_utcp(self):
        self.right["relay1"].append(line(B, "tls"))
        self.assertRegex("\n".join(self.problems(self.right)), "have a link over TLS")

    def test_kernel_connection_between_patched_relays(self):
        for local, remote in (("127.0.0.1:40000", "127.1.2.4:5000"), ("127.1.2.3:5000", "127.0.0.1:40000")):
            self.sockets.connections = [("relay1", local, remote, "relay2")]
            self.assertRegex("\n".join(self.problems(self.right)), "kernel has a TCP connection")

    def test_directory_connection_between_patched_relays_is_no_link(self):
        self.sockets.connections = [("relay1", "127.0.0.1:40000", "127.1.2.4:7000", "relay2")]
        self.assertEqual(self.problems(self.right), [])

    def test_one_udp_socket(self):
        for bound in ([], ["127.1.2.3:5001", "127.1.2.9:5001"]):
            self.sockets.udp["relay1"] = bound
            self.assertRegex("\n".join(self.problems(self.right)), f"{len(bound)} UDP sockets")

    def test_unpatched_relay_on_utcp(self):
        self.right["relay1"][1] = line(U, "utcp")
        self.assertRegex("\n".join(self.problems(self.right)), "not both patched")

    def test_unpatched_relay_not_reached(self):
        del self.right["relay2"][1]
        self.assertRegex("\n".join(self.problems(self.right)), "relay2 and plain should have a link over TLS")
