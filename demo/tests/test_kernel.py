import os
import socket
import unittest

from privnet import kernel


class LookTest(unittest.TestCase):
    """This process plays two nodes at once, each with the sockets of the process."""

    def setUp(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.outgoing = socket.create_connection(self.listener.getsockname())
        self.incoming, _ = self.listener.accept()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))

    def tearDown(self):
        for each in (self.listener, self.outgoing, self.incoming, self.udp):
            each.close()

    @staticmethod
    def name(pair):
        return f"{pair[0]}:{pair[1]}"

    def test_both_ends_are_found(self):
        sockets = kernel.look({"me": os.getpid()})
        near, far = self.name(self.outgoing.getsockname()), self.name(self.outgoing.getpeername())
        self.assertEqual(sockets.owners[near], "me")
        self.assertIn(("me", near, far, "me"), sockets.connections)
        self.assertIn(("me", far, near, "me"), sockets.connections)
        self.assertIn(self.name(self.udp.getsockname()), sockets.udp["me"])

    def test_listeners_and_closed_connections_are_none(self):
        here = self.name(self.listener.getsockname())
        self.outgoing.close()
        self.incoming.close()
        sockets = kernel.look({"me": os.getpid()})
        self.assertNotIn(here, sockets.owners)
        self.assertFalse([c for c in sockets.connections if here in c])


class AssembleTest(unittest.TestCase):
    def test_peers_and_strangers(self):
        tcp = [
            kernel.Socket("127.0.0.1:40000", "127.1.2.4:5000", "01", "1"),
            kernel.Socket("127.1.2.4:5000", "127.0.0.1:40000", "01", "2"),
            kernel.Socket("127.1.2.4:5000", "127.0.0.1:40001", "01", "3"),  # its other end is not ours
            kernel.Socket("127.0.0.1:40002", "127.1.2.4:5000", "06", "4"),  # TIME-WAIT
        ]
        sockets = kernel.assemble(tcp, [kernel.Socket("127.1.2.4:5001", "0.0.0.0:0", "07", "9")],
                                  {"a": {"1", "4"}, "b": {"2", "3", "9"}})  # fmt: skip
        self.assertEqual(sockets.connections, [
            ("a", "127.0.0.1:40000", "127.1.2.4:5000", "b"),
            ("b", "127.1.2.4:5000", "127.0.0.1:40000", "a"),
        ])  # fmt: skip
        self.assertEqual(sockets.udp, {"a": [], "b": ["127.1.2.4:5001"]})
