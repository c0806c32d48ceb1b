#!/usr/bin/env python3
"""Checks that the tests call every function that utcp.h declares, and that the library exports just those.

usage: check_calls.py HEADER LIBRARY.so TEST.c...
"""
import re
import subprocess
import sys


def code(text):
    """C source without comments, strings and preprocessor lines."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"//[^\n]*", " ", text)
    text = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)
    return re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*", " ", text, flags=re.M)


def declared(header):
    """Names of the functions that a header declares: typedefs of function pointers are not among them."""
    text = re.sub(r"\btypedef\b[^;{]*(\{[^}]*\})?[^;]*;", " ", code(header))
    return set(re.findall(r"\b(utcp_\w+)\s*\(", text))


def exported(library):
    out = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].split("@")[0] for line in out.splitlines()}


def main():
    header_path, library, *tests = sys.argv[1:]
    with open(header_path, encoding="utf-8") as f:
        functions = declared(f.read())
    if len(functions) < 40:
        sys.exit(f"{header_path}: only {len(functions)} functions found; is this the right header?")
    called = set()
    for path in tests:
        with open(path, encoding="utf-8") as f:
            called |= set(re.findall(r"\b(utcp_\w+)\s*\(", code(f.read())))
    symbols = exported(library)
    problems = [f"no test calls {name}" for name in sorted(functions - called)]
    problems += [f"declared, but not exported: {name}" for name in sorted(functions - symbols)]
    problems += [f"exported, but not declared: {name}" for name in sorted(symbols - functions)]
    for problem in problems:
        print(problem)
    print(f"{len(functions)} functions declared, {len(functions & called)} called by tests, {len(symbols)} exported")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
