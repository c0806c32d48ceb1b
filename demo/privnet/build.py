"""Builds the library and Tor, with and without the patch, and keeps what has not changed."""

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import Failure
from .process import run
from .progress import Progress

CONFIGURE = [
    "--disable-asciidoc", "--disable-manpage", "--disable-html-manual", "--disable-unittests",
    "--disable-module-pow", "--disable-systemd", "--disable-lzma", "--disable-zstd",
]  # fmt: skip
# What of a Tor tree's files are products of a build: never part of a key, never copied.
PRODUCTS = (".o", ".a", ".lo", ".la", ".Po", ".trs")


@dataclass
class Programs:
    """Where the programs are that a network consists of."""

    plain: Path
    patched: Path
    gencert: Path


def hash_of(paths: Iterable[Path], *words: str) -> str:
    """A key that changes with the name or content of any file below `paths`, or with `words`."""
    digest = hashlib.sha256()
    for word in words:
        digest.update(f"word {len(word)} {word}\n".encode())
    for top in paths:
        files = sorted(p for p in top.rglob("*") if p.is_file()) if top.is_dir() else [top]
        for file in files:
            data = file.read_bytes()
            name = file.relative_to(top.parent)
            digest.update(f"file {name} {file.stat().st_mode & 0o111} {len(data)}\n".encode())
            digest.update(data)
    return digest.hexdigest()[:16]


class Builder:
    """Builds below `work` (build/demo); one at a time, however many runs there are."""

    def __init__(self, project: Path, work: Path, progress: Progress):
        self._project = project
        self._work = work
        self._progress = progress

    async def programs(self, vanilla: bool) -> Programs:
        """Everything a run needs, built if it is not there yet."""
        self._work.mkdir(parents=True, exist_ok=True)
        with open(self._work / "lock", "w", encoding="ascii") as lock:
            await self._take(lock)
            source = await self._source()
            plain = await self._plain(source)
            patched = plain if vanilla else await self._patched(source)
            return Programs(program(plain), program(patched), plain / "src/tools/tor-gencert")

    async def _take(self, lock) -> None:
        waited = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if not waited:
                    self._progress.step("another run is building; waiting for it")
                waited = True
                await asyncio.sleep(0.5)

    async def _source(self) -> Path:
        """Tor's source, pristine: TOR_SRC, or Debian's through apt."""
        given = os.environ.get("TOR_SRC")
        if given:
            tree = Path(given).resolve()
            if not (tree / "src/core/or/or.h").is_file():
                raise Failure(f"TOR_SRC={given}: no Tor source tree there (no src/core/or/or.h)")
            if (tree / "src/feature/utcp").exists():
                raise Failure(f"TOR_SRC={given}: this tree is patched already, and an unpatched Tor is needed too")
            return tree
        place = self._work / "source"
        tree = newest_tree(place)
        if tree is None:
            self._progress.step("fetching Tor's source with apt")
            log = self._work / "source.log"
            await run([self._project / "patches/get-tor", place], log, "patches/get-tor", patience=900)
            tree = newest_tree(place)
            if tree is None:
                raise Failure(f"patches/get-tor has left no source tree in {place}; its output is in {log}")
        return tree

    async def _plain(self, source: Path) -> Path:
        key = hash_of([source / "configure.ac", source / "src/core/or/or.h"], str(source), *CONFIGURE)
        tree = self._work / f"tor-plain-{key}"
        if not (tree / "built").exists():
            self._remove_old("tor-plain-*")
            await self._copy(source, tree)
            await self._configure_and_make(tree, "unpatched Tor", [], {})
            (tree / "built").touch()
        return tree

    async def _library(self) -> Path:
        """The library, installed below `work`; cargo knows what has changed. Returns the prefix."""
        prefix = self._work / "library"
        log = self._work / "library.log"
        log.unlink(missing_ok=True)
        self._progress.step("building the library")
        where = [f"PREFIX={prefix}", f"LIBDIR={prefix}/lib", f"INCLUDEDIR={prefix}/include", "DESTDIR="]
        for target, words in (("all", []), ("install", where)):
            await run(["nice", "make", target, *words], log, f"make {target}", 3600, env=environment({}),
                      tick=lambda: self._progress.update("building the library"), cwd=self._project)  # fmt: skip
        return prefix

    async def _patched(self, source: Path) -> Path:
        """Tor with the patch. The tree is made anew when Tor or the hooks in its files change; when
        only our own files or the library do, what depends on them is."""
        prefix = await self._library()
        patches = self._project / "patches"
        ours = [patches / "glue", patches / "tor-0.4.9/files"]
        names = [str(file.relative_to(patches)) for top in ours for file in sorted(top.rglob("*"))]
        key = hash_of(
            [source / "configure.ac", source / "src/core/or/or.h", patches / "apply", patches / "tor-0.4.9/hooks"],
            str(source), *CONFIGURE, *names,
        )  # fmt: skip
        tree = self._work / f"tor-patched-{key}"
        archive = prefix / "lib" / "libutcp.a"
        content = hash_of([archive, prefix / "include", *ours])
        stamp = tree / "built"
        before = stamp.read_text("ascii") if stamp.exists() else None
        if before == content:
            return tree
        what = "patched Tor"
        linking = link_with(archive, prefix)
        log = tree / "build.log"
        if before is None:
            self._remove_old("tor-patched-*")
            await self._copy(source, tree)
            self._progress.step("patching Tor")
            await run([patches / "apply", tree], log, "patching Tor", 600,
                      tick=lambda: self._progress.update("patching Tor and making its configure"))  # fmt: skip
            await self._configure_and_make(tree, what, ["--enable-utcp"], linking)
        else:
            # A build that is interrupted from here on is taken up again by the next run.
            stamp.write_text("incomplete", "ascii")
            log.unlink()
            await run([patches / "apply", tree], log, "patching Tor", 300)
            # Tor's makefile does not know that the program depends on the library.
            program(tree).unlink(missing_ok=True)
            await self._make(tree, what, environment(linking))
        stamp.write_text(content, "ascii")
        return tree

    def _remove_old(self, pattern: str, keep: int = 1) -> None:
        """Removes trees of earlier versions, except the latest."""
        trees = sorted(self._work.glob(pattern), key=lambda tree: tree.stat().st_mtime)
        for tree in trees[:-keep]:
            shutil.rmtree(tree, ignore_errors=True)

    async def _copy(self, source: Path, tree: Path) -> None:
        """A fresh copy of the source, without anything that was built in it."""
        if tree.exists():
            shutil.rmtree(tree)
        ignore = shutil.ignore_patterns(*(f"*{end}" for end in PRODUCTS), ".git", ".deps", "Makefile", "config.status")
        shutil.copytree(source, tree, ignore=ignore, symlinks=True)

    async def _configure_and_make(self, tree: Path, what: str, more: list[str], variables: dict[str, str]) -> None:
        log = tree / "build.log"
        env = environment(variables)
        if not (tree / "configure").exists():  # a tree out of Tor's repository
            await run(["autoreconf", "-fi"], log, f"autoreconf for {what}", 300, cwd=tree)
        self._progress.step(f"configuring {what} (about half a minute)")
        await run(["./configure", *CONFIGURE, *more], log, f"configuring {what}", 900,
                  tick=lambda: self._progress.update(f"configuring {what}"), cwd=tree, env=env)  # fmt: skip
        await self._make(tree, what, env)

    async def _make(self, tree: Path, what: str, env: dict[str, str]) -> None:
        log = tree / "build.log"
        files = sum("/test/" not in str(file) for file in tree.glob("src/**/*.c"))
        self._progress.step(f"compiling {what} (a minute or three)")
        await run(["nice", "make", "-j2"], log, f"compiling {what}", 3600,
                  tick=compile_ticker(self._progress, log, files), cwd=tree, env=env)  # fmt: skip
        if not program(tree).is_file():
            raise Failure(f"compiling {what} made no {program(tree)}; see {log}")


def program(tree: Path) -> Path:
    return tree / "src/app/tor"


def environment(variables: dict[str, str]) -> dict[str, str]:
    """The environment of a build: ours, without what a `make` above has put there for its own."""
    ours = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}
    return {**ours, **variables}


def link_with(archive: Path, prefix: Path) -> dict[str, str]:
    """What tells Tor's configure to take the static library, so that the program does not depend on
    where the shared one is."""
    described = (prefix / "lib/pkgconfig/utcp.pc").read_text("utf-8")
    private = next((line.partition(":")[2] for line in described.splitlines() if line.startswith("Libs.private:")), "")
    return {"UTCP_CFLAGS": f"-I{prefix / 'include'}", "UTCP_LIBS": f"{archive} {private.strip()}"}


def newest_tree(place: Path) -> Path | None:
    """The Tor source tree in a directory, if there is one."""
    trees = sorted(p.parents[3] for p in place.glob("tor-*/src/core/or/or.h"))
    return trees[-1] if trees else None


def compile_ticker(progress: Progress, log: Path, files: int) -> Callable[[], None]:
    """Reports how many files make has compiled, by what it has printed."""
    position, count = 0, 0

    def tick() -> None:
        nonlocal position, count
        try:
            with open(log, "rb") as file:
                file.seek(position)
                new = file.read()
                position = file.tell()
        except OSError:
            return
        count += new.count(b"  CC ")
        progress.update(f"compiled {count} files of about {files}")

    return tick
