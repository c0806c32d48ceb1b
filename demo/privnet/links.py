"""What the relays say about their links, as a table and as a verdict."""

from dataclasses import dataclass, field
from itertools import combinations

from .errors import Failure
from .kernel import Sockets
from .network import OR_PORT, OR_UDP_PORT, Network, Pair

UTCP, TLS = "utcp", "tls"
INCOMING, OUTGOING, UNTOLD = "in", "out", "-"


@dataclass
class Report:
    """One OR connection as one of its ends describes it (a line of GETINFO utcp/links)."""

    fingerprint: str
    address: str
    transport: str
    direction: str
    circuits: int
    sent: int  # bytes
    received: int  # bytes
    retransmits: int
    state: str


@dataclass
class Link:
    """All connections of one kind from one node to another."""

    start: str
    end: str
    transport: str
    connections: int = 0
    circuits: int = 0
    bytes: int = 0  # both directions
    retransmits: int = 0  # by the ends that can say
    states: set[str] = field(default_factory=set)


def parse(text: str) -> list[Report]:
    """The lines of GETINFO utcp/links:
    fingerprint address transport direction circuits sent received retransmits state"""
    return [_parse_line(line) for line in text.splitlines() if line.strip()]


def _parse_line(line: str) -> Report:
    words = line.split()
    try:
        fingerprint, address, transport, direction, circuits, sent, received, retransmits, state = words
        if transport not in (UTCP, TLS) or direction not in (INCOMING, OUTGOING):
            raise ValueError
        return Report(
            fingerprint.lstrip("$").upper(), address, transport, direction,
            int(circuits), int(sent), int(received), int(retransmits), state,
        )  # fmt: skip
    except ValueError:
        raise Failure(f"GETINFO utcp/links: this line is not understood: {line!r}") from None


def merge(network: Network, reports: dict[str, list[Report]], owners: dict[str, str]) -> list[Link]:
    """`owners` says which node has a TCP connection with this local address: clients have no other
    name. One row for each (from, to, transport). Where both ends report, bytes and circuits are those
    that the connecting end counts, and retransmissions of both are added."""
    links: dict[tuple[str, str, str], Link] = {}
    order = {node.name: number for number, node in enumerate(network.nodes)}
    for reporter, lines in reports.items():
        for line in lines:
            peer = network.name_of(line.fingerprint) or owners.get(line.address) or line.address
            start, end = (reporter, peer) if line.direction == OUTGOING else (peer, reporter)
            if line.direction == UNTOLD:
                start, end = sorted((reporter, peer), key=lambda name: order.get(name, 999))
            key = (start, end, line.transport)
            link = links.setdefault(key, Link(*key))
            link.retransmits += line.retransmits
            link.states.add(line.state)
            if line.direction == OUTGOING or start not in reports:
                link.connections += 1
                link.circuits += line.circuits
                link.bytes += line.sent + line.received
    return sorted(
        links.values(),
        key=lambda link: (link.transport != UTCP, order.get(link.start, 999), order.get(link.end, 999)),
    )


def problems(network: Network, links: list[Link], sockets: Sockets, used: set[Pair]) -> list[str]:
    """What is wrong with the links: patched relays must meet on utcp only, all others on TLS only.

    Pairs in `used` have circuits between them at this moment; the others may have none any more.
    The kernel's `sockets` must agree with what the relays say of themselves.
    """
    found = []
    kernel_pairs = {
        frozenset((node, peer))
        for node, local, remote, peer in sockets.connections
        if f":{OR_PORT}" in (port_of(local), port_of(remote))
    }
    utcp = {node.name for node in network.utcp_relays}
    by_pair: dict[frozenset[str], list[Link]] = {}
    for link in links:
        by_pair.setdefault(frozenset((link.start, link.end)), []).append(link)
    for a, b in combinations([node.name for node in network.utcp_relays], 2):
        pair = by_pair.get(frozenset((a, b)), [])
        needed = 1 if frozenset((a, b)) in used else 0
        if not any(link.transport == UTCP and link.bytes and link.circuits >= needed for link in pair):
            found.append(f"{a} and {b} are both patched, but no utcp link between them has carried a circuit")
        if any(link.transport == TLS for link in pair):
            found.append(f"{a} and {b} are both patched, but have a link over TLS")
        elif frozenset((a, b)) in kernel_pairs:
            found.append(f"{a} and {b} are both patched, but the kernel has a TCP connection between them")
    for relay in network.utcp_relays:
        bound = [local for local in sockets.udp.get(relay.name, []) if port_of(local) == f":{OR_UDP_PORT}"]
        if len(bound) != 1:
            found.append(f"{relay.name} has {len(bound)} UDP sockets on its port, not one")
    for link in links:
        if link.transport == UTCP and not {link.start, link.end} <= utcp:
            found.append(f"{link.start} and {link.end} have a utcp link, but are not both patched relays")
    for relay in network.utcp_relays:
        for other in network.tls_relays:
            pair = by_pair.get(frozenset((relay.name, other.name)), [])
            tls = any(link.transport == TLS and link.circuits and link.bytes for link in pair)
            if not tls and frozenset((relay.name, other.name)) in used:
                found.append(f"{relay.name} and {other.name} should have a link over TLS, and have none")
    return found


def port_of(address: str) -> str:
    """The colon and port of host:port."""
    return address[address.rindex(":") :]


COLUMNS = ("from", "to", "transport", "circuits", "bytes", "retransmits")


def table(links: list[Link]) -> str:
    """The links for reading. Bytes are both directions together."""
    rows = [
        (link.start, link.end, link.transport, *(
            (str(link.circuits), f"{link.bytes:,}") if link.connections else ("-", "-")),
         str(link.retransmits) if link.connections else "-")
        for link in links
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in [COLUMNS, *rows]) for i in range(len(COLUMNS))]
    right = (False, False, False, True, True, True)

    def line(row) -> str:
        cells = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right)]
        return "  ".join(cells).rstrip()

    return "\n".join([line(COLUMNS), line(["-" * w for w in widths]), *map(line, rows)])


def from_orconn_status(text: str) -> list[Report]:
    """The links of an unpatched relay, from GETINFO orconn-status. It tells neither figures
    nor who connected."""
    reports = []
    for line in text.splitlines():
        target, state = line.split()[:2]
        fingerprint = target.lstrip("$").replace("=", "~").partition("~")[0]
        if len(fingerprint) == 40 and state == "CONNECTED":
            reports.append(Report(fingerprint.upper(), "", TLS, UNTOLD, 0, 0, 0, 0, state.lower()))
    return reports
