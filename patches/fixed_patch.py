"""Patches for a release that is frozen: they only insert, at line numbers of the released files.

Such a patch is a unified diff without context and without removed lines. Nothing in it says what the lines around look
like, so it names the SHA-256 of each file that it is for. Several of them fit one after the other, without offset, if in
each file the insertions of a later one lie above all those of the earlier ones.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

SHA256 = re.compile(r"# sha256 ([0-9a-f]{64}) (\S+)")
HUNK = re.compile(r"@@ -(\d+),0 \+(\d+)(?:,(\d+))? @@")


class Wrong(Exception):
    """Something about a patch or a tree is not as it has to be."""


@dataclass
class Insertion:
    """Lines that go after line `after` of the released file (0: before the first one)."""

    after: int
    lines: list[str]


@dataclass
class Patch:
    """A patch as parsed: checksums and insertions for each file, in the order of the patch."""

    name: str
    about: list[str] = field(default_factory=list)  # the description, without checksums
    sha256: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[Insertion]] = field(default_factory=dict)

    def added(self, file: str) -> int:
        return sum(len(insertion.lines) for insertion in self.files[file])


def parse(name: str, text: str) -> Patch:
    """Reads a patch; raises Wrong, with the line, for anything that does not belong into one."""
    patch = Patch(name)
    lines = text.split("\n")
    if lines.pop() != "":
        raise Wrong(f"{name}: the last line has no end")
    where = 0

    def wrong(why: str) -> Wrong:
        return Wrong(f"{name}:{where + 1}: {why}")

    while where < len(lines) and not lines[where].startswith("--- "):
        line = lines[where]
        if not line.startswith("#"):
            raise wrong(f"a description consists of lines that begin with #, this does not: {line!r}")
        if match := SHA256.fullmatch(line):
            if match[2] in patch.sha256:
                raise wrong(f"a second checksum for {match[2]}")
            patch.sha256[match[2]] = match[1]
        elif line.startswith("# sha256"):
            raise wrong(f"not a checksum: {line!r}")
        else:
            patch.about.append(line)
        where += 1
    if not patch.about:
        raise Wrong(f"{name}: does not say what it is for")

    while where < len(lines):
        where = _parse_file(patch, lines, where)
    if not patch.files:
        raise Wrong(f"{name}: changes no file")
    for file in patch.files:
        if file not in patch.sha256:
            raise Wrong(f"{name}: no line '# sha256 ... {file}'")
    for file in patch.sha256:
        if file not in patch.files:
            raise Wrong(f"{name}: a checksum for {file}, which it does not change")
    return patch


def _parse_file(patch: Patch, lines: list[str], where: int) -> int:
    """Reads what a patch has for one file, from its `---` line; returns the index after it."""

    def wrong(why: str) -> Wrong:
        return Wrong(f"{patch.name}:{where + 1}: {why}")

    match = re.fullmatch(r"--- a/(\S+)", lines[where])
    if not match:
        raise wrong(f"expected '--- a/FILE': {lines[where]!r}")
    file = match[1]
    if file.startswith("/") or ".." in file.split("/"):
        raise wrong(f"{file} leads out of the tree")
    if file in patch.files:
        raise wrong(f"{file} for a second time")
    where += 1
    if where == len(lines) or lines[where] != f"+++ b/{file}":
        raise wrong(f"expected '+++ b/{file}'")
    where += 1
    insertions = patch.files[file] = []
    grown = 0
    while where < len(lines) and not lines[where].startswith("--- "):
        match = HUNK.fullmatch(lines[where])
        if not match:
            raise wrong(f"expected '@@ -LINE,0 +LINE,COUNT @@' and as many lines as it says: {lines[where]!r}")
        after, begin, count = int(match[1]), int(match[2]), int(match[3] or 1)
        if insertions and after <= insertions[-1].after:
            raise wrong(f"line {after} is not below line {insertions[-1].after}, where the hunk before goes")
        if begin != after + grown + 1:
            raise wrong(f"its lines begin at line {after + grown + 1} of the new file, not {begin}")
        where += 1
        added = []
        while where < len(lines) and len(added) < count:
            line = lines[where]
            if not line.startswith("+"):
                kind = {" ": "context", "": "context", "-": "a removed line"}.get(line[:1], "not an added line")
                raise wrong(f"{kind}, where {count - len(added)} added lines are still due: {line!r}")
            added.append(line[1:])
            where += 1
        if len(added) < count:
            raise wrong(f"the hunk ends after {len(added)} of {count} lines")
        if not added:
            raise wrong("a hunk without lines")
        insertions.append(Insertion(after, added))
        grown += count
    if not insertions:
        raise wrong(f"nothing for {file}")
    return where


def check_order(patches: list[Patch]) -> None:
    """Raises Wrong unless the patches fit one after the other, whichever of them are left out."""
    for number, later in enumerate(patches):
        for earlier in patches[:number]:
            for file in later.files.keys() & earlier.files.keys():
                if later.sha256[file] != earlier.sha256[file]:
                    raise Wrong(f"{later.name} and {earlier.name} name different checksums for {file}")
                lowest, highest = later.files[file][-1].after, earlier.files[file][0].after
                if lowest >= highest:
                    raise Wrong(
                        f"{file}: {later.name} goes below line {lowest}, which is not above "
                        f"all of {earlier.name} (from line {highest} on)"
                    )


def insert(released: str, insertions: list[Insertion], name: str) -> str:
    """The released text with the insertions."""
    lines = released.split("\n")
    if lines.pop() != "":
        raise Wrong(f"{name}: the last line has no end")
    for insertion in reversed(insertions):
        if insertion.after > len(lines):
            raise Wrong(f"{name} has {len(lines)} lines; a hunk goes after line {insertion.after}")
        lines[insertion.after : insertion.after] = insertion.lines
    return "\n".join(lines) + "\n"


def digest(file: Path) -> str:
    """The SHA-256 of a file, in hex."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise Wrong(f"{file}: {error.strerror}") from error


def read(file: Path) -> str:
    """A file of the released tree as text, each byte a character: not all of them are UTF-8."""
    try:
        return file.read_bytes().decode("latin-1")
    except OSError as error:
        raise Wrong(f"{file}: {error.strerror}") from error
