"""What a run does with a network: circuits over every pair, many small objects, one large file."""

import asyncio
import random
import time
from dataclasses import dataclass

from .circuits import CircuitError, PinningClient
from .errors import Failure
from .network import RELAY, Network, Pair, pairs_of, paths_over_pairs, paths_through
from .progress import Progress
from .running import RunningNetwork
from .traffic import DownloadError, Object, Totals, download

SMALL_PER_CIRCUIT = 12
SMALL_SIZES = (200, 50_000)  # bytes, from and to
SAVED_STATES = 3  # failures after which the state of the relays is saved
LARGE_PARTS = 5  # the file through an unpatched relay is this much smaller


@dataclass
class Circuit:
    """A circuit that was built."""

    client: PinningClient
    path: list[str]
    identifier: str

    def __str__(self) -> str:
        return f"{self.client.node.name} - {' - '.join(self.path)}"


class Exercise:
    """Drives the clients. Problems that do not stop the run are collected in `problems`."""

    def __init__(self, running: RunningNetwork, progress: Progress, seed: int):
        self.totals = Totals()
        self.problems: list[str] = []
        self.circuits: list[Circuit] = []
        self._running = running
        self._network: Network = running.network
        self._progress = progress
        self._seed = seed
        self._rng = random.Random(seed)
        self._clients: list[PinningClient] = []
        # In a network of unpatched nodes the same relays take the part of the patched ones.
        self._others = [node.name for node in self._network.of_role(RELAY) if node.name == "plain"]
        self._hubs = {node.name for node in self._network.of_role(RELAY)} - set(self._others)
        self._rounds = 0

    async def connect(self) -> None:
        self._clients = [PinningClient(node, self._network) for node in self._network.clients]
        for client in self._clients:
            await client.connect()

    def close(self) -> None:
        for client in self._clients:
            client.close()

    async def build_circuits(self, through: str | None = None) -> None:
        """Builds circuits so that every pair of relays that matters is crossed, in both directions:
        the second client takes the first one's paths backwards. With `through` only the pairs of
        that relay matter."""
        if through is None:
            paths = paths_over_pairs(sorted(self._hubs), self._others, self._rng)
        else:
            rest = sorted(self._hubs - {through}) + self._others
            paths = paths_through(through, rest, self._rng)
        plans = [
            (client, path if number % 2 == 0 else path[::-1])
            for number, client in enumerate(self._clients)
            for path in paths
        ]
        # All at once: two relays may well connect to each other at the same moment.
        pairs = "every pair of relays" if through is None else f"every pair with {through}"
        self._progress.step(f"building {len(plans)} circuits of 3 hops over {pairs}")
        built = await asyncio.gather(
            *(self.open(client, path) for client, path in plans), return_exceptions=True
        )
        for circuit in built:
            if isinstance(circuit, CircuitError):
                self.problems.append(str(circuit))
            elif isinstance(circuit, BaseException):
                raise circuit
            else:
                self.circuits.append(circuit)
        if not self.circuits:
            raise Failure("no circuit could be built: " + self.problems[0])

    async def open(self, client: PinningClient, path: list[str], attempts: int = 3) -> Circuit:
        """Builds a circuit, if need be in several attempts, as a client without pinning would."""
        for attempt in range(attempts):
            try:
                return Circuit(client, path, await client.open(path))
            except CircuitError as error:
                if attempt + 1 == attempts:
                    raise
                self._progress.step(f"again: {error}")
                await asyncio.sleep(1.0)
        raise AssertionError("unreachable")

    async def small_objects(self) -> None:
        """Many small objects at once over every circuit."""
        wanted = [
            (circuit, Object(f"small-{index}-{number}", self._rng.randint(*SMALL_SIZES)))
            for index, circuit in enumerate(self.circuits)
            for number in range(SMALL_PER_CIRCUIT)
        ]
        self._progress.step(f"fetching {len(wanted)} small objects over {len(self.circuits)} circuits at once")
        await self._download_all(wanted)

    async def large_files(self, size: int, through: str | None = None) -> None:
        """The large file over patched relays through each client, and a smaller one through the
        unpatched relay, all at the same time; small objects go on beside them. With `through` only
        circuits over that relay are used."""
        wanted: list[tuple[Circuit, Object]] = []
        quiet: list[Circuit] = []
        self._rounds += 1
        for client in self._clients:
            mine = [c for c in self.circuits if c.client is client and (through is None or through in c.path)]
            inside = [circuit for circuit in mine if self._hubs.issuperset(circuit.path)]
            mixed = [circuit for circuit in mine if not self._hubs.issuperset(circuit.path)]
            name = f"{client.node.name}-{self._rounds}"
            if inside:
                wanted.append((inside[0], Object(f"large-{name}", size)))
            if mixed:
                wanted.append((mixed[0], Object(f"mixed-{name}", max(1, size // LARGE_PARTS))))
            quiet += inside[1:] + mixed[1:]
        for circuit, large in wanted:
            self._progress.step(f"downloading {large.size:,} bytes over {circuit}")
        beside = [
            (circuit, Object(f"beside-{self._rounds}-{number}", self._rng.randint(*SMALL_SIZES)))
            for number, circuit in enumerate(quiet)
        ]
        await self._download_all(wanted + beside)

    def used_pairs(self) -> set[Pair]:
        """The pairs of relays that circuits cross at this moment."""
        alive = [circuit.path for circuit in self.circuits if circuit.client.gone(circuit.identifier) is None]
        return set().union(*(pairs_of(path) for path in alive))

    def lost_circuits(self) -> list[str]:
        """Circuits that ended though they should still be there."""
        gone = [(circuit, circuit.client.gone(circuit.identifier)) for circuit in self.circuits]
        return [f"the circuit {circuit} is gone: {reason}" for circuit, reason in gone if reason]

    def forget(self, relay: str) -> None:
        """Circuits over this relay are not used any more."""
        self.circuits = [circuit for circuit in self.circuits if relay not in circuit.path]

    async def _download_all(self, wanted: list[tuple[Circuit, Object]]) -> None:
        total = sum(item.size for _, item in wanted)
        done = left = 0
        begin = time.monotonic()

        def count(size: int) -> None:
            nonlocal done
            done += size
            self.totals.bytes += size
            seconds = max(0.001, time.monotonic() - begin)
            self._progress.update(
                f"{done:,} of {total:,} bytes, {left} of {len(wanted)} downloads open, "
                f"{done * 8 / seconds / 1e6:.1f} Mbit/s"
            )

        async def one(circuit: Circuit, item: Object) -> None:
            nonlocal left
            left += 1
            try:
                await download(
                    circuit.client, circuit.identifier, self._network.web_address, item, self._seed, count
                )
                self.totals.objects += 1
            except DownloadError as error:
                self.totals.wrong += 1
                self.problems.append(f"{error} (circuit {circuit})")
                if self.totals.wrong <= SAVED_STATES:
                    await self._running.save_state(f"failure-{self.totals.wrong}")
            finally:
                left -= 1

        watch = asyncio.create_task(self._watch())
        downloads = [asyncio.create_task(one(circuit, item)) for circuit, item in wanted]
        open_tasks: set[asyncio.Task] = {watch, *downloads}
        try:
            while open_tasks != {watch}:
                ended, open_tasks = await asyncio.wait(open_tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
        finally:
            for task in open_tasks:
                task.cancel()
            await asyncio.gather(*open_tasks, return_exceptions=True)
        seconds = max(0.001, time.monotonic() - begin)
        self._progress.step(f"{done:,} bytes in {seconds:.1f} s, {done * 8 / seconds / 1e6:.1f} Mbit/s in all")

    async def _watch(self) -> None:
        """Ends the downloads as soon as a node has died, rather than by their patience."""
        while True:
            await asyncio.sleep(0.5)
            self._running.check_alive()
