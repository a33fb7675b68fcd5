#!/usr/bin/env python3
"""Compares this grammar with din's own parser on every .din file of the repository.

Builds the parser from src/ with `cc`, as editors do. Fails if its tree has an error (an ERROR or a
MISSING node, visible or not) where `din check` reports no syntax error (E01xx). Files that it accepts
beyond that are counted, and listed with -v. Needs Python's package `tree-sitter`.

    DIN=target/release/din python3 editors/tree-sitter-din/check.py [-v] [FILE…]
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import tree_sitter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DIN = str(Path(os.environ["DIN"]).resolve()) if "DIN" in os.environ else "din"


def syntax_errors(files):
    """The first syntax error that din finds in each file that has one."""
    # One process for each file, so that no file is left out because of another.
    found = {}
    for file in files:
        run = subprocess.run([DIN, "check", "--format", "json", str(file)], cwd=ROOT, capture_output=True)
        if run.returncode not in (0, 1):
            sys.exit(f"`{DIN} check {file}` exited with {run.returncode}: {run.stderr.decode()}")
        for line in run.stdout.splitlines() + run.stderr.splitlines():
            if not line.startswith(b"{"):
                continue
            error = json.loads(line)
            if (error.get("code") or "").startswith("E01") and error["file"] == str(file):
                found.setdefault(file, f"{error['line']}:{error['column']}: {error['code']} {error['message']}")
    return found


def parser():
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "din.so"
        source = HERE / "src"
        command = ["cc", "-O1", "-shared", "-fPIC", "-I", source, source / "parser.c", source / "scanner.c"]
        subprocess.run([*command, "-o", library], check=True)
        language = ctypes.CDLL(str(library)).tree_sitter_din
    language.restype = ctypes.c_void_p
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return tree_sitter.Parser(tree_sitter.Language(capsule(language(), b"tree_sitter.Language", None)))


def bad_nodes(files):
    """The innermost node around the first error of each file that has one."""
    reader = parser()
    found = {}
    for file in files:
        node = reader.parse((ROOT / file).read_bytes()).root_node
        if node.has_error:
            while inner := next((child for child in node.children if child.has_error), None):
                node = inner
            found[file] = f"{node.start_point[0] + 1}:{node.start_point[1] + 1}: an error in `{node.type}`"
    return found


def main():
    arguments = sys.argv[1:]
    verbose = "-v" in arguments
    files = [Path(a).resolve().relative_to(ROOT) for a in arguments if a != "-v"]
    if not files:
        listed = subprocess.run(["git", "ls-files", "-z", "*.din"], cwd=ROOT, capture_output=True, check=True)
        files = [Path(f.decode()) for f in listed.stdout.split(b"\0") if f]
    ours, theirs = syntax_errors(files), bad_nodes(files)
    refused = [f for f in files if f in theirs and f not in ours]
    beyond = [f for f in files if f in ours and f not in theirs]
    for file in refused:
        print(f"{file}:{theirs[file]}, but din finds no syntax error")
    for file in beyond if verbose else []:
        print(f"{file}:{ours[file]}, but accepted here")
    print(f"{len(files)} files")
    print(f"{len(files) - len(ours)} without a syntax error by din: tree-sitter refuses {len(refused)}")
    print(f"{len(ours)} with one: tree-sitter refuses {len(ours) - len(beyond)}, accepts {len(beyond)}")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
