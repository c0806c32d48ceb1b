"""What the kernel knows about the nodes' sockets: a witness that does not depend on what Tor says."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

ESTABLISHED = "01"


@dataclass(frozen=True)
class Socket:
    """A line of /proc/net/tcp or /proc/net/udp. Addresses are host:port."""

    local: str
    remote: str
    state: str
    inode: str


def parse(text: str) -> list[Socket]:
    """The sockets in the text of /proc/net/tcp or /proc/net/udp."""
    sockets = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 9:
            sockets.append(Socket(_address(words[1]), _address(words[2]), words[3], words[9]))
    return sockets


def _address(text: str) -> str:
    """The kernel prints an IPv4 address as a 32-bit number of the machine's byte order."""
    address, port = text.split(":")
    octets = int(address, 16).to_bytes(4, sys.byteorder)
    return f"{'.'.join(map(str, octets))}:{int(port, 16)}"


def inodes(pid: int) -> set[str]:
    """The sockets that a process has open."""
    found = set()
    directory = Path(f"/proc/{pid}/fd")
    for entry in directory.iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            found.add(target[len("socket:[") : -1])
    return found


@dataclass
class Sockets:
    """The sockets of all nodes at one moment."""

    owners: dict[str, str]  # local host:port of an established TCP connection -> node
    connections: list[tuple[str, str, str, str]]  # node, its host:port, the other's host:port and node
    udp: dict[str, list[str]]  # node -> local host:port of its UDP sockets


def assemble(tcp: list[Socket], udp: list[Socket], held: dict[str, set[str]]) -> Sockets:
    """Joins the kernel's lists with the inodes that each node holds."""
    node_of = {inode: node for node, inodes_of_node in held.items() for inode in inodes_of_node}
    established = [(node_of[s.inode], s) for s in tcp if s.state == ESTABLISHED and s.inode in node_of]
    owners = {socket.local: node for node, socket in established}
    connections = [
        (node, socket.local, socket.remote, owners[socket.remote])
        for node, socket in established
        if socket.remote in owners
    ]
    of_udp: dict[str, list[str]] = {node: [] for node in held}
    for socket in udp:
        if socket.inode in node_of:
            of_udp[node_of[socket.inode]].append(socket.local)
    return Sockets(owners, connections, of_udp)


def look(pids: dict[str, int]) -> Sockets:
    """The sockets of the nodes with these process identifiers."""
    held = {node: inodes(pid) for node, pid in pids.items()}
    net = Path("/proc/net")
    return assemble(parse((net / "tcp").read_text("ascii")), parse((net / "udp").read_text("ascii")), held)
