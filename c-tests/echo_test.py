#!/usr/bin/env python3
"""Drives utcp-echo and utcp-lossy over real UDP sockets on loopback.

usage: echo_test.py BUILD_DIRECTORY [NAME...]

With UTCP_ECHO_UNDER="valgrind ..." in the environment, utcp-echo runs under that command.

Nothing here asserts how long something takes. PATIENCE only ends a test that hangs.
"""
import os
import random
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

PATIENCE = 300  # seconds, of a whole test
LOOPBACK = "127.0.0.1"


class Failure(Exception):
    """A test did not see what it should."""


def expect(condition, what):
    if not condition:
        raise Failure(what)


class Program:
    """A running program whose output lines are kept."""

    running = []

    def __init__(self, *command):
        self.command = " ".join(os.path.basename(command[0]) if i == 0 else c for i, c in enumerate(command))
        self.lines = []
        self.changed = threading.Condition()
        self.ended = False
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        Program.running.append(self)

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_for(self, pattern, count=1):
        """The `count`th line that matches."""
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                found = [m for m in (re.search(pattern, line) for line in self.lines) if m]
                if len(found) >= count:
                    return found[count - 1]
                expect(not self.ended, f"{self.command} ended without: {pattern}")
                expect(self.changed.wait(deadline - time.monotonic()), f"{self.command} hangs before: {pattern}")

    def address(self):
        match = self.wait_for(r"^listening ([\d.]+):(\d+)$")
        return match.group(1), int(match.group(2))

    def wait(self):
        """The exit status."""
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.command} hangs") from None
        self.reader.join(10)
        return status

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()

    def fields(self, first):
        """The numbers of the last line that starts with a word."""
        for line in reversed(self.lines):
            if line.split(" ", 1)[0] == first:
                return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)\b(?![.:/])", line)}
        raise Failure(f"{self.command} printed no line {first}")

    @classmethod
    def end_all(cls):
        for program in cls.running:
            if program.process.poll() is None:
                program.process.kill()
                program.process.wait()
        cls.running.clear()


class Tests:
    def __init__(self, build):
        self.echo = [*shlex.split(os.environ.get("UTCP_ECHO_UNDER", "")), os.path.join(build, "utcp-echo")]
        self.lossy = os.path.join(build, "utcp-lossy")

    def serve(self, address=(LOOPBACK, 0), *options):
        return Program(*self.echo, "serve", "%s:%d" % tuple(address), *map(str, options))

    def send(self, address, *options):
        return Program(*self.echo, "send", "%s:%d" % tuple(address), *map(str, options))

    @staticmethod
    def succeeded(client, circuits, octets):
        expect(client.wait() == 0, f"{client.command} failed")
        f = client.fields("ok")
        expect(f["bytes"] == circuits * octets and f["mismatches"] == 0, f"wrong octets: {f}")
        return f

    @staticmethod
    def served(server):
        """Stops the server; its summary."""
        expect(server.stop() == 0, f"{server.command} did not end well")
        f = server.fields("served")
        expect(f["memory"] == 0, f"memory left: {f}")
        return f

    # ---- tests ----

    def clean(self):
        """200 circuits of 100 kB."""
        server = self.serve()
        pin = server.wait_for(r"^pin ([0-9a-f]{64})$").group(1)
        client = self.send(server.address(), "--circuits", 200, "--bytes", 100000, "--parallel", 64, "--seed", 7,
                           "--pin", pin)
        self.succeeded(client, 200, 100000)
        server.wait_for(r"^closed .*reason=3 circuits_accepted=200 payload_sent=20000000 payload_received=20000000 ")
        f = self.served(server)
        expect(f["handshakes_completed"] == 1 and f["handshakes_failed"] == 0, f"handshakes: {f}")
        f = server.fields("socket")
        expect(f["lost"] == f["dropped"] == 0, f"datagrams lost: {f}")
        expect(f["segmented_sent"] > 0 and f["send_calls"] < f["datagrams_sent"], f"nothing was batched: {f}")

    def small(self):
        """What can be done under a slow checker: a transfer, a second client that is interrupted, clean ends."""
        server = self.serve()
        self.succeeded(self.send(server.address(), "--circuits", 10, "--bytes", 30000), 10, 30000)
        client = self.send(server.address(), "--circuits", 10000, "--bytes", 10000, "--progress")
        client.wait_for(r"^done 2$")
        expect(client.stop(signal.SIGINT) == 1, "the interrupted client did not end well")
        self.served(server)

    def wrong_pin(self):
        """A client that wants somebody else does not talk to this server."""
        server = self.serve()
        client = self.send(server.address(), "--pin", "00" * 32)
        expect(client.wait() == 1, "a wrong pin was accepted")
        self.served(server)

    def one_octet_and_none(self):
        """Circuits that carry next to nothing."""
        server = self.serve()
        self.succeeded(self.send(server.address(), "--circuits", 300, "--bytes", 1, "--parallel", 300), 300, 1)
        self.succeeded(self.send(server.address(), "--circuits", 50, "--bytes", 0), 50, 0)
        self.served(server)

    def impaired(self):
        """50 circuits of 200 kB through loss, reordering, duplication and corruption."""
        server = self.serve()
        lossy = Program(self.lossy, f"{LOOPBACK}:0", "--to", "%s:%d" % server.address(), "--seed", "3", "--delay", "2",
                        "--loss", "3", "--reorder", "2", "--duplicate", "1", "--corrupt", "1")
        client = self.send(lossy.address(), "--circuits", 50, "--bytes", 200000, "--parallel", 25, "--retry")
        f = self.succeeded(client, 50, 200000)
        expect(f["segments_retransmitted"] > 0, "loss without retransmission")
        # A handshake can fail under loss, an established connection cannot.
        ready = [line for line in server.lines if line.startswith("ready ")]
        expect(len(ready) >= 1 and f["reconnects"] <= 2, f"connection lost: {f}")
        expect(lossy.stop() == 0, "the forwarder did not end well")
        harmed = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", lossy.lines[-1])}
        expect(min(harmed[k] for k in ("lost", "reordered", "duplicated", "corrupted")) > 50, f"no harm done: {harmed}")
        self.served(server)

    def restart(self, number, dead_timeout):
        server = self.serve((LOOPBACK, 0), "--dead-timeout", dead_timeout)
        address = server.address()
        client = self.send(address, "--circuits", 60, "--bytes", 300000, "--parallel", 10, "--retry", "--progress",
                           "--dead-timeout", dead_timeout)
        client.wait_for(r"^done 10$")
        server.process.send_signal(number)
        server.wait()
        again = self.serve(address, "--dead-timeout", dead_timeout)
        again.address()
        f = self.succeeded(client, 60, 300000)
        expect(f["reconnects"] >= 1, "the restart went unnoticed")
        again.wait_for(r"^ready ")
        self.served(again)
        return int(client.wait_for(r"^reconnecting reason=(\d+)$").group(1))

    def restart_after_crash(self):
        """The server is killed and started again: the client finds out, reconnects and completes."""
        reason = self.restart(signal.SIGKILL, 5)
        # Timeout, restarted, or closed by this side because circuits timed out.
        expect(reason in (2, 5, 8), f"reason {reason}")

    def restart_in_good_order(self):
        """The server says goodbye before it goes."""
        reason = self.restart(signal.SIGTERM, 180)
        expect(reason == 3, f"reason {reason}")

    def two_clients(self):
        """Two at once, and neither is in the other's way."""
        server = self.serve()
        a = self.send(server.address(), "--circuits", 60, "--bytes", 100000, "--seed", 1)
        b = self.send(server.address(), "--circuits", 60, "--bytes", 100000, "--seed", 2)
        self.succeeded(a, 60, 100000)
        self.succeeded(b, 60, 100000)
        f = self.served(server)
        expect(f["handshakes_completed"] == 2, f"handshakes: {f}")

    def interrupted(self):
        """SIGINT in the middle of work: both sides go in good order, the server stays for others."""
        server = self.serve()
        client = self.send(server.address(), "--circuits", 10000, "--bytes", 100000, "--progress")
        client.wait_for(r"^done 5$")
        expect(client.stop(signal.SIGINT) == 1, "an interrupted client reports success")
        server.wait_for(r"^closed .*reason=3 ")
        self.succeeded(self.send(server.address(), "--circuits", 5, "--bytes", 50000), 5, 50000)
        other = self.send(server.address(), "--circuits", 10000, "--bytes", 100000, "--progress")
        other.wait_for(r"^done 5$")
        expect(server.stop(signal.SIGINT) == 0, "the server did not end well")
        expect(other.wait() == 1, "a client without a server reports success")

    def hostile(self):
        """Datagrams of all bad kinds during a transfer: nothing established is harmed, and all are counted."""
        server = self.serve()
        address = server.address()
        client_options = ("--circuits", 40, "--bytes", 200000, "--parallel", 8)
        with Attacker(address) as attacker:
            client = self.send(attacker.address, *client_options)
            self.succeeded(client, 40, 200000)
        expect(attacker.thrown > 2000, f"only {attacker.thrown} hostile datagrams")
        server.wait_for(r"^closed .*reason=3 circuits_accepted=40 ")
        # It still takes new peers.
        self.succeeded(self.send(address, "--circuits", 5, "--bytes", 50000), 5, 50000)
        server.wait_for(r"^closed .*reason=3 circuits_accepted=5 ")
        closed = [line for line in server.lines if line.startswith("closed ")]
        expect(len(closed) == 2, f"connections that nobody made: {closed}")
        first = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)\b", closed[0])}
        expect(first["dropped_record"] > 100, f"replays and bent records: {first}")
        expect(first["dropped_plaintext_alert"] >= attacker.alerts * 9 // 10, f"plaintext alerts: {first}")
        expect(first["dropped_malformed"] == 0, f"behind authentication: {first}")
        f = self.served(server)
        expect(f["dropped_not_dtls"] > 100, f"random: {f}")
        expect(f["dropped_unknown_peer"] > 100, f"records of strangers: {f}")
        expect(f["cookies_sent"] > 100, f"forged hellos: {f}")
        expect(f["handshakes_completed"] == 2, f"handshakes: {f}")


class Attacker(threading.Thread):
    """Forwards between one client and the server, and throws datagrams at the server from the client's address (as the
    server sees it) and from others: random, truncated, bent, replayed, plaintext alerts, ClientHellos."""

    ALERT = bytes([21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40])

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.front = self._socket()
        self.address = self.front.getsockname()
        self.strangers = [self._socket() for _ in range(8)]
        self.random = random.Random(5)
        self.recorded = []
        self.hello = None
        self.thrown = self.alerts = 0
        self.answered = self.asked = 0
        self.stopping = False

    @staticmethod
    def _socket():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.bind((LOOPBACK, 0))
        s.setblocking(False)
        return s

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.join(PATIENCE)
        for s in self.strangers:
            self._count_answers(s)
            s.close()
        self.front.close()
        expect(self.answered <= self.asked, f"more octets came back to strangers ({self.answered}) than they sent")

    def _count_answers(self, s):
        while True:
            try:
                self.answered += len(s.recv(65536))
            except BlockingIOError:
                return

    def run(self):
        client = None
        while not self.stopping:
            readable, _, _ = select.select([self.front, *self.strangers], [], [], 0.05)
            for s in readable:
                if s is not self.front:
                    self._count_answers(s)
                    continue
                for _ in range(64):
                    try:
                        data, source = s.recvfrom(65536)
                    except BlockingIOError:
                        break
                    if source == self.server:
                        if client:
                            s.sendto(data, client)
                        continue
                    client = source
                    if self.hello is None:
                        self.hello = data
                    s.sendto(data, self.server)
                    if data[0] == 23:
                        self.recorded = self.recorded[-200:] + [data]
                        self._attack()

    def _throw(self, data, own):
        s = self.front if own else self.random.choice(self.strangers)
        s.sendto(data, self.server)
        self.thrown += 1
        if not own:
            self.asked += len(data)

    def _attack(self):
        r = self.random
        own = r.random() < 0.5
        record = bytearray(r.choice(self.recorded))
        kind = r.randrange(6)
        if kind == 0:
            self._throw(r.randbytes(r.randrange(1, 1400)), own)
        elif kind == 1:
            self._throw(bytes(record[:r.randrange(1, len(record))]), own)
        elif kind == 2:
            record[r.randrange(len(record))] ^= 1 + r.randrange(255)
            self._throw(bytes(record), own)
        elif kind == 3:
            self._throw(bytes(record), own)
        elif kind == 4:
            self._throw(self.ALERT, own)
            self.alerts += own
        else:
            self._throw(self.hello, False)


NAMES = ["clean", "wrong_pin", "one_octet_and_none", "impaired", "restart_after_crash", "restart_in_good_order",
         "two_clients", "interrupted", "hostile"]


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    tests = Tests(sys.argv[1])
    failed = []
    for name in sys.argv[2:] or NAMES:
        test = getattr(tests, name)
        try:
            test()
            print(f"[       OK ] {name}: {test.__doc__}", flush=True)
        except Exception as error:  # pylint: disable=broad-except
            failed.append(name)
            print(f"[  FAILED  ] {name}: {error}", flush=True)
            if not isinstance(error, Failure):
                traceback.print_exc()
            for program in Program.running:
                print(f"--- {program.command}")
                print("\n".join(program.lines[-20:]))
        finally:
            Program.end_all()
    print(f"{'FAILED: ' + ' '.join(failed) if failed else 'all tests of the examples passed'}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
