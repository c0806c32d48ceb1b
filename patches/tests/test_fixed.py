"""Patches for a frozen release: what is refused, what make-fixed writes, how they are applied. The trees are made up."""

import hashlib
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

PATCHES = Path(__file__).resolve().parents[1]
SET = "tor-0.2.0.35"

CONFIGURE = "AC_INIT\nAM_INIT_AUTOMAKE(tor, 0.2.0.35)\n"
RELEASED = {"configure.in": CONFIGURE, "src/or/a.c": "one\ntwo\nthree\n", "src/or/b.c": "x\ny\n"}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def patch_text(*, sums: tuple[str, ...] = ("src/or/a.c",), body: str = "") -> str:
    head = "# What it is for.\n" + "".join(f"# sha256 {sha256(RELEASED[file])} {file}\n" for file in sums)
    return head + (body or "--- a/src/or/a.c\n+++ b/src/or/a.c\n@@ -1,0 +2 @@\n+between\n")


# Line 3 of a.c and line 1 of b.c: leaves room above in a.c.
FIRST = patch_text(
    sums=("src/or/a.c", "src/or/b.c"),
    body="--- a/src/or/a.c\n+++ b/src/or/a.c\n@@ -2,0 +3,2 @@\n+more\n+and more\n@@ -3,0 +6 @@\n+end\n"
    "--- a/src/or/b.c\n+++ b/src/or/b.c\n@@ -1,0 +2 @@\n+in b\n",
)
SECOND = patch_text()
BOTH = {"src/or/a.c": "one\nbetween\ntwo\nmore\nand more\nthree\nend\n", "src/or/b.c": "x\nin b\ny\n", "configure.in": CONFIGURE}


class Fixed(unittest.TestCase):
    def setUp(self) -> None:
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.work = Path(work.name)
        self.set = self.work / "patches" / SET
        (self.set / "files/src/or").mkdir(parents=True)
        (self.set / "files/src/or/ours.h").write_text("/* ours */\n")
        self.write(FIRST, SECOND)
        self.tree = self.make_tree("a tree", RELEASED)

    def make_tree(self, name: str, files: dict[str, str]) -> Path:
        tree = self.work / name
        for file, text in files.items():
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            (tree / file).write_text(text)
        return tree

    def write(self, *patches: str) -> None:
        for number, text in enumerate(patches, 1):
            (self.set / f"{number}-name.patch").write_text(text)

    def contents(self, tree: Path) -> dict[str, str]:
        return {file.relative_to(tree).as_posix(): file.read_text() for file in tree.rglob("*") if file.is_file()}

    def run_tool(self, tool: Path, *arguments: str | Path) -> tuple[int, str]:
        run = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60)
        return run.returncode, run.stdout + run.stderr

    def check(self, *arguments: str | Path) -> tuple[int, str]:
        return self.run_tool(PATCHES / "check-fixed", "--set", self.set, *arguments)

    def assert_refused(self, why: str, *arguments: str | Path) -> None:
        status, output = self.check(*arguments)
        self.assertEqual(status, 1, output)
        self.assertIn(why, output)
        self.assertNotIn("Traceback", output)


class Checking(Fixed):
    """Everything that is refused is recorded first: it is not the checksum that gives it away."""

    def assert_patch_refused(self, text: str, why: str) -> None:
        self.write(text)
        (self.set / "2-name.patch").unlink()
        self.assert_refused(why, "--record")

    def test_right_patches_are_accepted_without_and_with_a_tree(self):
        self.assertEqual(self.check("--record")[0], 0)
        self.assertEqual(self.check()[0], 0)
        status, output = self.check(self.tree)
        self.assertEqual(status, 0, output)
        self.assertIn("without offset", output)
        self.assertEqual(self.contents(self.tree), RELEASED)

    def test_context_line_is_refused(self):
        self.assert_patch_refused(patch_text(body="--- a/src/or/a.c\n+++ b/src/or/a.c\n@@ -1,0 +2,2 @@\n+new\n two\n"), "context")

    def test_context_in_the_count_of_a_hunk_is_refused(self):
        self.assert_patch_refused(patch_text(body="--- a/src/or/a.c\n+++ b/src/or/a.c\n@@ -1,1 +1,2 @@\n one\n+new\n"), "-LINE,0")

    def test_removed_line_is_refused(self):
        self.assert_patch_refused(patch_text(body="--- a/src/or/a.c\n+++ b/src/or/a.c\n@@ -1,0 +2,2 @@\n+new\n-two\n"), "a removed line")

    def test_hunk_that_removes_is_refused(self):
        self.assert_patch_refused(patch_text(body="--- a/src/or/a.c\n+++ b/src/or/a.c\n@@ -1 +0,0 @@\n-one\n"), "-LINE,0")

    def test_file_without_checksum_is_refused(self):
        self.assert_patch_refused(patch_text(sums=()), "no line '# sha256 ... src/or/a.c'")

    def test_checksum_of_a_file_that_is_not_touched_is_refused(self):
        self.assert_patch_refused(patch_text(sums=("src/or/a.c", "src/or/b.c")), "does not change")

    def test_malformed_checksum_is_refused(self):
        self.assert_patch_refused(patch_text().replace("# sha256 ", "# sha256 0"), "not a checksum")

    def test_too_few_lines_are_refused(self):
        self.assert_patch_refused(patch_text().replace("+2 @@", "+2,2 @@"), "ends after 1 of 2 lines")

    def test_too_many_lines_are_refused(self):
        self.assert_patch_refused(patch_text() + "+one too many\n", "as many lines as it says")

    def test_wrong_line_of_the_new_file_is_refused(self):
        self.assert_patch_refused(FIRST.replace("-3,0 +6", "-3,0 +5"), "begin at line 6")

    def test_hunks_out_of_order_are_refused(self):
        self.assert_patch_refused(FIRST.replace("-3,0 +6", "-1,0 +6"), "is not below line 2")

    def test_description_is_required(self):
        self.assert_patch_refused(patch_text().replace("# What it is for.\n", ""), "does not say what it is for")

    def test_path_out_of_the_tree_is_refused(self):
        self.assert_patch_refused(patch_text().replace("/src/or/", "/../or/"), "leads out of the tree")

    def test_missing_end_of_the_last_line_is_refused(self):
        self.assert_patch_refused(patch_text().rstrip("\n"), "no end")

    def test_later_patch_below_an_earlier_one_is_refused(self):
        self.write(SECOND, FIRST)
        self.assert_refused("not above all of 1-name.patch", "--record")

    def test_later_patch_at_the_line_of_an_earlier_one_is_refused(self):
        self.write(FIRST, SECOND.replace("-1,0 +2", "-2,0 +3"))
        self.assert_refused("not above all of 1-name.patch", "--record")

    def test_patches_for_different_files_of_one_name_are_refused(self):
        self.write(FIRST, SECOND.replace(sha256(RELEASED["src/or/a.c"]), "0" * 64))
        self.assert_refused("different checksums for src/or/a.c", "--record")

    def test_empty_set_is_refused(self):
        for file in self.set.glob("*.patch"):
            file.unlink()
        self.assert_refused("no patches", "--record")

    def test_changed_patch_is_refused(self):
        self.check("--record")
        self.write(FIRST, SECOND.replace("between", "changed"))
        self.assert_refused("2-name.patch has another checksum")

    def test_changed_file_of_ours_is_refused(self):
        self.check("--record")
        (self.set / "files/src/or/ours.h").write_text("/* changed */\n")
        self.assert_refused("ours.h has another checksum")

    def test_missing_and_additional_files_are_refused(self):
        self.check("--record")
        other = self.set / "files/src/or/other.h"
        other.write_text("\n")
        self.assert_refused("other.h is not in SHA256SUMS")
        other.unlink()
        (self.set / "files/src/or/ours.h").unlink()
        self.assert_refused("ours.h is in SHA256SUMS but not there")

    def test_missing_sums_are_refused(self):
        self.assert_refused("SHA256SUMS")

    def test_tree_with_another_file_is_refused(self):
        self.check("--record")
        (self.tree / "src/or/b.c").write_text("x\nz\n")
        self.assert_refused("src/or/b.c is not the released file", self.tree)

    def test_tree_without_a_file_is_refused(self):
        self.check("--record")
        (self.tree / "src/or/b.c").unlink()
        self.assert_refused("src/or/b.c", self.tree)

    def test_hunk_after_the_end_of_the_file_is_refused_with_a_tree(self):
        # The program patch says nothing: it appends.
        self.write(FIRST.replace("-3,0 +6", "-4,0 +7"))
        self.assertEqual(self.check("--record")[0], 0)
        self.assert_refused("src/or/a.c has 3 lines", self.tree)

    def test_the_patches_of_this_project_are_right(self):
        status, output = self.run_tool(PATCHES / "check-fixed")
        self.assertEqual(status, 0, output)


class Making(Fixed):
    def make(self, edited: dict[str, str], *files: str) -> tuple[int, str]:
        return self.run_tool(PATCHES / "make-fixed", self.tree, self.make_tree("edited", edited), *files)

    def test_patch_that_is_made_gives_the_edited_files(self):
        status, patch = self.make(BOTH, "src/or/a.c", "src/or/b.c")
        self.assertEqual(status, 0, patch)
        self.write(patch)
        (self.set / "2-name.patch").unlink()
        self.assertEqual(self.check("--record", self.tree)[0], 0)
        subprocess.run(["patch", "-p1", "-s", "-d", self.tree], input=patch, text=True, check=True)
        self.assertEqual(self.contents(self.tree), BOTH)

    def test_description_is_taken_over(self):
        about = self.work / "about.patch"
        about.write_text(SECOND.replace("What it is for.", "Just so."))
        edited = self.make_tree("edited", BOTH)
        status, patch = self.run_tool(PATCHES / "make-fixed", "--about", about, self.tree, edited, "src/or/a.c")
        self.assertEqual(status, 0, patch)
        self.assertTrue(patch.startswith(f"# Just so.\n# sha256 {sha256(RELEASED['src/or/a.c'])} src/or/a.c\n"), patch)

    def test_removed_or_changed_line_is_refused(self):
        for text in ("one\nthree\n", "one\n2\nthree\n"):
            status, output = self.make(RELEASED | {"src/or/a.c": text}, "src/or/a.c")
            self.assertEqual(status, 1)
            self.assertIn("changed or missing: 'two'", output)

    def test_equal_files_are_refused(self):
        status, output = self.make(RELEASED, "src/or/a.c")
        self.assertEqual(status, 1)
        self.assertIn("the same in both trees", output)


class Applying(Fixed):
    """`apply`, copied beside a made-up set of patches."""

    def setUp(self) -> None:
        super().setUp()
        self.apply_script = self.set.parent / "apply"
        shutil.copy(PATCHES / "apply", self.apply_script)
        self.glue = self.set.parent / "glue"
        self.glue.mkdir()
        (self.glue / "glue.c").write_text("shared\n")

    def apply(self) -> tuple[int, str]:
        return self.run_tool(self.apply_script, self.tree)

    def assert_unchanged_and_refused(self, why: str) -> None:
        before = self.contents(self.tree)
        status, output = self.apply()
        self.assertEqual(status, 1, output)
        self.assertIn(why, output)
        self.assertEqual(self.contents(self.tree), before)

    def test_fresh_tree_is_patched_and_left_alone_the_second_time(self):
        status, output = self.apply()
        self.assertEqual(status, 0, output)
        patched = BOTH | {"src/or/ours.h": "/* ours */\n", "src/or/glue.c": "shared\n"}
        self.assertEqual(self.contents(self.tree), patched)
        status, output = self.apply()
        self.assertEqual(status, 0, output)
        self.assertIn("patched already", output)
        self.assertEqual(self.contents(self.tree), patched)

    def test_files_of_ours_are_brought_up_to_date(self):
        self.apply()
        (self.set / "files/src/or/ours.h").write_text("/* newer */\n")
        status, output = self.apply()
        self.assertEqual(status, 0, output)
        self.assertIn("up to date", output)
        self.assertEqual((self.tree / "src/or/ours.h").read_text(), "/* newer */\n")

    def test_shared_files_are_copied(self):
        for name in ("shared.c", "shared.h", "README"):
            (self.glue / name).write_text("shared\n")
        self.assertEqual(self.apply()[0], 0)
        names = {file for file in self.contents(self.tree) if "shared" in file or "README" in file}
        self.assertEqual(names, {"src/or/shared.c", "src/or/shared.h"})
        (self.glue / "shared.c").write_text("newer\n")
        self.assertIn("up to date", self.apply()[1])
        self.assertEqual((self.tree / "src/or/shared.c").read_text(), "newer\n")

    def test_changed_file_is_named(self):
        (self.tree / "src/or/b.c").write_text("x\nz\n")
        self.assert_unchanged_and_refused("src/or/b.c")

    def test_file_changed_after_patching_is_named(self):
        self.apply()
        with open(self.tree / "src/or/a.c", "a") as file:
            file.write("more\n")
        self.assert_unchanged_and_refused("these: src/or/a.c;")

    def test_missing_file_is_named(self):
        (self.tree / "src/or/b.c").unlink()
        self.assert_unchanged_and_refused("src/or/b.c is missing")

    def test_other_release_is_refused(self):
        (self.tree / "configure.in").write_text(CONFIGURE.replace("0.2.0.35", "0.2.0.34"))
        self.assert_unchanged_and_refused("0.2.0.34")

    def test_other_set_of_patches_is_refused(self):
        self.apply()
        self.write(FIRST, SECOND.replace("between", "else"))
        self.assert_unchanged_and_refused("others than these")

    def test_patch_that_does_not_fit_changes_nothing(self):
        self.write(FIRST.replace("+3,2 @@", "+3,9 @@"))
        self.assert_unchanged_and_refused("1-name.patch does not fit")

    def test_directory_that_is_no_tree_is_refused(self):
        (self.tree / "configure.in").unlink()
        self.assert_unchanged_and_refused("not a Tor source tree")


if __name__ == "__main__":
    unittest.main()
