"""A client's circuits over chosen paths, and streams put on chosen circuits."""

import asyncio

from .control import Control, ControlError, keywords
from .errors import Failure
from .network import CONTROL_PORT, Network, Node


class CircuitError(Exception):
    """A circuit was not built or did not last."""


class PinningClient:
    """A client node whose circuits and streams are all decided here."""

    def __init__(self, node: Node, network: Network):
        self.node = node
        self._network = network
        self._control = Control(self._on_event)
        self._built: dict[str, asyncio.Future] = {}
        self._attach: dict[str, tuple[str, asyncio.Future]] = {}
        self._tasks: set[asyncio.Task] = set()
        self._gone: dict[str, str] = {}
        self._sources: dict[str, str] = {}  # stream -> where it comes from
        self._detached: dict[str, str] = {}  # where a stream comes from -> why it left its circuit

    async def connect(self) -> None:
        await self._control.connect(
            self.node.address, CONTROL_PORT, self.node.directory / "control_auth_cookie"
        )
        await self._control.command("SETEVENTS CIRC STREAM")

    def close(self) -> None:
        self._control.close()
        for task in self._tasks:
            task.cancel()

    async def open(self, path: list[str], patience: float = 20.0) -> str:
        """Builds a circuit over the named nodes; returns its identifier. Raises CircuitError."""
        fingerprints = {node.name: node.fingerprint for node in self._network.nodes}
        hops = ",".join("$" + fingerprints[name] for name in path)
        where = " - ".join(path)
        try:
            reply = await self._control.command(f"EXTENDCIRCUIT 0 {hops}")
        except ControlError as error:
            raise CircuitError(f"{self.node.name} refused the path {where}: {error}") from error
        circuit = reply[0].split()[1]
        # Built or failed already: the events may have been read together with the reply.
        built = self._built.setdefault(circuit, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(patience):
                await asyncio.shield(built)
        except TimeoutError:
            await self.drop(circuit)
            raise CircuitError(
                f"the circuit {where} of {self.node.name} was not built in {patience:.0f} s"
            ) from None
        except CircuitError as error:
            raise CircuitError(f"the circuit {where} of {self.node.name}: {error}") from error
        return circuit

    async def drop(self, circuit: str) -> None:
        """Closes a circuit, if it is still there."""
        try:
            await self._control.command(f"CLOSECIRCUIT {circuit}")
        except ControlError:
            if not self._control.is_open:
                raise Failure(f"{self.node.name} has closed its control connection") from None

    def gone(self, circuit: str) -> str | None:
        """Why a circuit that was built does not exist any more, or None while it does."""
        return self._gone.get(circuit)

    def detached(self, source: str) -> str | None:
        """Why the stream from `source` left its circuit, or None if it did not."""
        return self._detached.get(source)

    def expect(self, source: str, circuit: str) -> asyncio.Future:
        """The stream that comes from `source` (address:port) shall go on `circuit`.

        The future is done when the stream is attached, and fails with why it could not be.
        """
        attached = asyncio.get_running_loop().create_future()
        self._attach[source] = (circuit, attached)
        return attached

    def _on_event(self, line: str) -> None:
        words = line.split()
        if words[0] == "CIRC":
            self._on_circuit(words[1], words[2], keywords(words[3:]))
        elif words[0] == "STREAM":
            self._on_stream(words[1], words[2], keywords(words[3:]))

    def _on_circuit(self, circuit: str, status: str, values: dict[str, str]) -> None:
        built = self._built.setdefault(circuit, asyncio.get_running_loop().create_future())
        if status == "BUILT" and not built.done():
            built.set_result(None)
        elif status in ("FAILED", "CLOSED"):
            reason = values.get("REASON", "unknown reason")
            if "REMOTE_REASON" in values:
                reason += f", remote: {values['REMOTE_REASON']}"
            self._gone.setdefault(circuit, reason)
            if not built.done():
                built.set_exception(CircuitError(reason))
                built.exception()  # seen: it may be a circuit nobody waits for

    def _on_stream(self, stream: str, status: str, values: dict[str, str]) -> None:
        source = values.get("SOURCE_ADDR", "")
        if status == "NEW" and source in self._attach:
            self._sources[stream] = source
            self._in_background(self._put(stream, *self._attach.pop(source)))
        elif status == "DETACHED" and stream in self._sources:
            # The exit refused. Tor would wait for another circuit; here there is none.
            reason = values.get("REMOTE_REASON") or values.get("REASON", "unknown reason")
            self._detached[self._sources[stream]] = reason
            self._in_background(self._close_stream(stream))
        elif status == "CLOSED":
            self._sources.pop(stream, None)

    def _in_background(self, coroutine) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close_stream(self, stream: str) -> None:
        try:
            await self._control.command(f"CLOSESTREAM {stream} 1")
        except ControlError:
            pass  # it is closed already

    async def _put(self, stream: str, circuit: str, attached: asyncio.Future) -> None:
        try:
            await self._control.command(f"ATTACHSTREAM {stream} {circuit}")
            if not attached.done():
                attached.set_result(None)
        except ControlError as error:
            if not attached.done():
                attached.set_exception(CircuitError(str(error)))
                attached.exception()
