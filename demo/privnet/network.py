"""Which nodes exist, where they listen, and which paths through them reach every link."""

import random
import socket
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from .errors import Failure

AUTHORITY, RELAY, CLIENT = "authority", "relay", "client"

# Every node has an address of its own, so ports are the same everywhere.
OR_PORT = 5000
OR_UDP_PORT = 5001
DIR_PORT = 7000
CONTROL_PORT = 9051
SOCKS_PORT = 9050
WEB_PORT = 8080
LOCK_PORT = 6999

FIRST_HOST = {AUTHORITY: 1, RELAY: 11, CLIENT: 201}
WEB_HOST, LOCK_HOST = 250, 254
MIN_RELAYS, MAX_RELAYS = 3, 100


@dataclass
class Node:
    """One Tor process."""

    name: str
    role: str
    patched: bool
    address: str
    directory: Path
    fingerprint: str = ""  # RSA identity, 40 upper-case hex digits; known once the node has run
    v3ident: str = ""  # authorities: fingerprint of the voting key


@dataclass
class Network:
    """All nodes of a run, in starting order."""

    prefix: str  # first three octets and a dot
    nodes: list[Node] = field(default_factory=list)

    def of_role(self, role: str) -> list[Node]:
        return [node for node in self.nodes if node.role == role]

    @property
    def authorities(self) -> list[Node]:
        return self.of_role(AUTHORITY)

    @property
    def clients(self) -> list[Node]:
        return self.of_role(CLIENT)

    @property
    def utcp_relays(self) -> list[Node]:
        """The relays that are to speak utcp with each other."""
        return [node for node in self.of_role(RELAY) if node.patched]

    @property
    def tls_relays(self) -> list[Node]:
        return [node for node in self.of_role(RELAY) if not node.patched]

    @property
    def listed(self) -> list[Node]:
        """The nodes that a complete consensus lists."""
        return self.authorities + self.of_role(RELAY)

    @property
    def web_address(self) -> str:
        return f"{self.prefix}{WEB_HOST}"

    def name_of(self, fingerprint: str) -> str | None:
        """The node with this fingerprint. Clients have none."""
        return next((node.name for node in self.nodes if node.fingerprint and node.fingerprint == fingerprint), None)


def describe(directory: Path, prefix: str, relays: int = 5, patched: bool = True) -> Network:
    """Three authorities, `relays` patched relays, one unpatched relay, a client of each kind.

    With `patched` false every node runs Tor as it comes; names and numbers stay.
    """
    if not MIN_RELAYS <= relays <= MAX_RELAYS:
        raise Failure(f"--relays {relays}: between {MIN_RELAYS} and {MAX_RELAYS} are possible")
    network = Network(prefix)

    def add(name: str, role: str, is_patched: bool) -> None:
        host = FIRST_HOST[role] + len(network.of_role(role))
        network.nodes.append(
            Node(name, role, is_patched and patched, f"{prefix}{host}", directory / name)
        )

    for number in range(1, 4):
        add(f"auth{number}", AUTHORITY, False)
    for number in range(1, relays + 1):
        add(f"relay{number}", RELAY, True)
    add("plain", RELAY, False)
    add("client1", CLIENT, True)
    add("client2", CLIENT, False)
    return network


def claim_addresses() -> tuple[str, socket.socket]:
    """A /24 of loopback that no other run uses, and the socket that keeps it claimed.

    The claim is a listening socket, so that it ends with the process, however that ends. From
    127.192.0.0 on Tor gives addresses a meaning of its own (VirtualAddrNetworkIPv4).
    """
    for _ in range(200):
        prefix = f"127.{random.randint(1, 191)}.{random.randint(0, 255)}."
        lock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            lock.bind((f"{prefix}{LOCK_HOST}", LOCK_PORT))
            lock.listen(1)
            return prefix, lock
        except OSError:
            lock.close()
    raise Failure("no free range of loopback addresses (127.x.y.0/24) was found in 200 attempts")


Pair = frozenset[str]


def paths_over_pairs(hubs: list[str], others: list[str], rng: random.Random) -> list[list[str]]:
    """Paths of three hops such that each pair of `hubs` is adjacent on at least one of them, and so
    is each pair of a hub with one of `others`.

    Greedy: each path starts at a pair not seen yet and goes on over another one where there is one.
    """
    nodes = hubs + others
    wanted: set[Pair] = {frozenset(pair) for pair in combinations(hubs, 2)}
    paths = _cover(wanted, hubs, rng)
    wanted = {frozenset((hub, other)) for hub in hubs for other in others}
    return paths + _cover(wanted, nodes, rng)


def paths_through(hub: str, others: list[str], rng: random.Random) -> list[list[str]]:
    """Paths of three hops such that each pair of `hub` with one of `others` is adjacent on one."""
    return _cover({frozenset((hub, other)) for other in others}, [hub, *others], rng)


def _cover(wanted: set[Pair], nodes: list[str], rng: random.Random) -> list[list[str]]:
    left = sorted(tuple(sorted(pair)) for pair in wanted)
    rng.shuffle(left)
    open_pairs = {frozenset(pair) for pair in left}
    paths = []
    for first, middle in left:
        if frozenset((first, middle)) not in open_pairs:
            continue
        path = None
        for a, b in ((first, middle), (middle, first)):
            third = [n for n in nodes if n != a and frozenset((b, n)) in open_pairs]
            if third:
                path = [a, b, rng.choice(third)]
                break
        if path is None:
            path = [first, middle, rng.choice([n for n in nodes if n not in (first, middle)])]
        open_pairs -= pairs_of(path)
        paths.append(path)
    return paths


def pairs_of(path: list[str]) -> set[Pair]:
    """The pairs of neighbours on a path."""
    return {frozenset(pair) for pair in zip(path, path[1:])}
