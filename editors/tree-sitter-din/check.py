#!/usr/bin/env python3
"""Compares this grammar with din's own parser on every .din file of the repository.

Fails if tree-sitter finds an ERROR or MISSING node where `din check` reports no syntax error (E01xx).
Files that tree-sitter accepts beyond that are counted, and listed with -v.

    DIN=target/release/din TREE_SITTER=tree-sitter editors/tree-sitter-din/check.py [-v] [FILE…]
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DIN = os.environ.get("DIN", "din")
TREE_SITTER = os.environ.get("TREE_SITTER", "tree-sitter")


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


def bad_nodes(files):
    """The first ERROR or MISSING node of each file that has one."""
    command = [TREE_SITTER, "parse", "--quiet", *(str(ROOT / file) for file in files)]
    run = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    if run.returncode not in (0, 1):
        sys.exit(f"`{TREE_SITTER} parse` exited with {run.returncode}: {run.stderr}")
    found = {}
    for line in run.stdout.splitlines():
        if "(ERROR" in line or "(MISSING" in line:
            path = line.split("\t")[0].strip()
            found[Path(path).relative_to(ROOT)] = line.split("\t")[-1].strip()
    if (run.returncode == 1) != bool(found):
        sys.exit(f"`{TREE_SITTER} parse` exited with {run.returncode}: {run.stdout}{run.stderr}")
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
        print(f"{file}: {theirs[file]}, but din finds no syntax error")
    for file in beyond if verbose else []:
        print(f"{file}: accepted, but din says {ours[file]}")
    print(f"{len(files)} files")
    print(f"{len(files) - len(ours)} without a syntax error by din: tree-sitter refuses {len(refused)}")
    print(f"{len(ours)} with one: tree-sitter refuses {len(ours) - len(beyond)}, accepts {len(beyond)}")
    sys.exit(1 if refused else 0)


main()
