"""The running network: starts nodes, waits until they know each other, restarts them."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from . import torrc
from .control import Control, ControlError
from .errors import Failure
from .keys import read_fingerprint
from .network import AUTHORITY, CLIENT, CONTROL_PORT, Network, Node
from .process import Children, tail
from .progress import Progress


class RunningNetwork:
    """The processes of a network and a control connection to each."""

    def __init__(self, network: Network, tor: dict[bool, Path], children: Children, progress: Progress,
                 log: str = "notice"):  # fmt: skip
        self.network = network
        self.controls: dict[str, Control] = {}
        self._log = log
        self._tor = tor  # patched? -> program
        self._children = children
        self._progress = progress
        self._nudged: dict[str, float] = {}

    async def start(self) -> None:
        """Starts every node at a moment that lets the first consensus hold all of them."""
        for node in self.network.nodes:
            text = torrc.torrc(node, self.network, os.getpid(), self._log)
            (node.directory / "torrc").write_text(text, encoding="utf-8")
        until = time.monotonic() + torrc.seconds_until_start(time.time())
        while (left := until - time.monotonic()) > 0:
            self._progress.update(f"waiting {left:.0f} s, so that the first vote finds all nodes")
            await asyncio.sleep(min(left, 0.5))
        for node in self.network.nodes:
            self._start(node)
        await asyncio.gather(*(self._connect(node) for node in self.network.nodes))
        self._progress.step(f"{len(self.network.nodes)} nodes run; waiting for their consensus")

    def _start(self, node: Node) -> None:
        argv = [self._tor[node.patched], "-f", node.directory / "torrc", "--hush"]
        self._children.start(node.name, argv, node.directory / "output.log")

    async def _connect(self, node: Node, patience: float = 30.0) -> None:
        deadline = time.monotonic() + patience
        cookie = node.directory / "control_auth_cookie"
        while True:
            self.check_alive()
            control = Control()
            try:
                await control.connect(node.address, CONTROL_PORT, cookie)
                break
            except (OSError, ControlError) as error:
                if time.monotonic() > deadline:
                    raise Failure(f"{node.name} has not opened its control port in {patience:.0f} s: {error}") from error
            await asyncio.sleep(0.1)
        self.controls[node.name] = control
        if node.role != CLIENT:
            node.fingerprint = read_fingerprint(node)

    def check_alive(self) -> None:
        """Raises Failure when a node has ended by itself."""
        for name, status in self._children.ended():
            directory = next(node.directory for node in self.network.nodes if node.name == name)
            raise Failure(
                f"{name} ended unexpectedly ({describe_status(status)}). The end of its log:\n"
                f"{tail(directory / 'tor.log')}\n{tail(directory / 'output.log')}"
            )

    async def wait_for(
        self, what: str, missing: Callable[[], Awaitable[list[str]]], patience: float
    ) -> None:
        """Waits until `missing` returns an empty list; its entries say what is still awaited."""
        deadline = time.monotonic() + patience
        while True:
            self.check_alive()
            try:
                left = await missing()
            except ControlError as error:
                left = [str(error)]
            if not left:
                return
            if time.monotonic() > deadline:
                shown = "; ".join(left[:6]) + ("; ..." if len(left) > 6 else "")
                raise Failure(f"waited {patience:.0f} s for {what}. Still missing: {shown}")
            self._progress.update(f"waiting for {what}: {left[0][:70]}")
            await asyncio.sleep(0.25)

    async def wait_until_ready(self, patience: float = 120.0) -> None:
        """Waits until clients can use every relay and relays know how to reach each other by UDP."""
        nodes = self.network.nodes
        await self.wait_for("a consensus of the authorities", self._consensus_missing(self.network.authorities), patience)
        self._progress.step("the authorities agree; waiting for the other nodes to hear of it")
        await self.wait_for("all nodes to have the consensus", self._consensus_missing(nodes), patience)
        await self.wait_for("the clients to know every relay", self._clients_missing, patience)
        self._progress.step("consensus and descriptors have reached all nodes")
        await self.wait_for("the relays to know each other's UDP ports", self._ports_missing, patience)
        if self.network.utcp_relays:
            self._progress.step("every patched relay has the descriptors of the others")

    def _consensus_missing(self, nodes: list[Node]) -> Callable[[], Awaitable[list[str]]]:
        """What is missing in the consensus that the nodes have. An exit without it would take the
        relay before it for a client, and refuse its streams."""

        async def missing() -> list[str]:
            found = []
            for node in nodes:
                control = self.controls[node.name]
                absent = [n.name for n in self.network.listed if not await has(control, f"ns/id/{n.fingerprint}")]
                if absent:
                    found.append(f"{node.name} has none with {', '.join(absent)}")
                    if node.role != AUTHORITY:
                        await self._nudge(node)
            return found

        return missing

    async def _nudge(self, node: Node) -> None:
        """Nodes that asked for a consensus before there was one wait longer and longer until they
        ask again. Reloading its configuration makes a node forget that."""
        now = time.monotonic()
        if now - self._nudged.get(node.name, now - 60) >= 3.0:
            self._nudged[node.name] = now
            await self.controls[node.name].command("SIGNAL RELOAD")

    async def _clients_missing(self) -> list[str]:
        missing = []
        for client in self.network.clients:
            control = self.controls[client.name]
            if await control.info("status/enough-dir-info") != "1":
                missing.append(f"{client.name}: enough directory information")
                continue
            for node in self.network.listed:
                if not await has(control, f"md/id/{node.fingerprint}"):
                    missing.append(f"{client.name}: descriptor of {node.name}")
        return missing

    async def _ports_missing(self) -> list[str]:
        relays = self.network.utcp_relays
        missing = []
        for relay in relays:
            for other in relays:
                if other is relay:
                    continue
                try:
                    descriptor = await self.controls[relay.name].info(f"desc/id/{other.fingerprint}")
                except ControlError:
                    descriptor = ""
                if "\nor-udp-port " not in descriptor:
                    missing.append(f"{relay.name}: descriptor of {other.name} with a UDP port")
        return missing

    async def save_state(self, occasion: str) -> None:
        """Writes what the patched relays say of their links and streams beside their logs, for who
        looks for the reason of a failure."""
        for node in self.network.utcp_relays:
            text = []
            for key in ("utcp/links", "utcp/circuits"):
                try:
                    text.append(f"{key}\n{await self.controls[node.name].info(key)}\n")
                except (ControlError, KeyError) as error:
                    text.append(f"{key}: {error}\n")
            file = node.directory / f"links-{occasion}.txt"
            file.write_text("\n".join(text), encoding="utf-8")

    async def restart(self, node: Node, with_signal: int) -> None:
        """Ends a node by a signal, starts it again, and waits until it knows its neighbours again."""
        self.controls.pop(node.name).close()
        status = await self._children.end(node.name, with_signal, patience=20.0)
        if with_signal != signal.SIGKILL and status != 0:
            raise Failure(f"{node.name} ended with {describe_status(status)} after signal {with_signal}")
        # The cookie of the ended process must not be taken for the new one's.
        (node.directory / "control_auth_cookie").unlink(missing_ok=True)
        self._start(node)
        await self._connect(node)

        async def missing() -> list[str]:
            control = self.controls[node.name]
            if await control.info("status/enough-dir-info") != "1":
                return [f"{node.name}: enough directory information"]
            if not await has(control, "exit-policy/full"):
                return [f"{node.name}: a descriptor of its own"]  # until then it refuses all streams
            return [line for line in await self._ports_missing() if line.startswith(f"{node.name}:")]

        await self.wait_for(f"{node.name} to be ready again", missing, 60.0)


async def has(control: Control, key: str) -> bool:
    """Whether GETINFO knows the key's value."""
    try:
        return bool(await control.info(key))
    except ControlError:
        if not control.is_open:
            raise
        return False


def describe_status(status: int) -> str:
    """An exit status for people."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
