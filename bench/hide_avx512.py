"""Copies of Python packages whose libraries find no AVX-512, for peers that no setting holds to AVX2.

    python bench/hide_avx512.py FOLDER PACKAGE..

A library asks the processor by the instruction CPUID what it can do. In the copies that instruction is replaced by one that `hide_avx512.c` answers
without AVX-512; nothing else changes. Needs `cc` and `objdump`. Prints the environment with which Python takes the copies.
"""

import argparse
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import sysconfig

HERE = pathlib.Path(__file__).resolve().parent
CPUID, REPLACED = b"\x0f\xa2", b"\x0f\x0a"
# Of ELF: where the header has the offset of the program headers, and their number; the type and flag of a segment with code; the size of a
# program header.
HEADERS, COUNT, LOAD, EXECUTE, SIZE = 32, 56, 1, 1, 56


def code(library):
    """The segments of an ELF file that have code: offset and length in the file, address in memory."""
    (start,), (count,) = struct.unpack_from("<Q", library, HEADERS), struct.unpack_from("<H", library, COUNT)
    for at in range(start, start + SIZE * count, SIZE):
        kind, flags, offset, address, _, length = struct.unpack_from("<IIQQQQ", library, at)
        if kind == LOAD and flags & EXECUTE:
            yield offset, length, address


def addresses(path):
    """The addresses of every CPUID instruction that the disassembler finds."""
    with subprocess.Popen(["objdump", "-d", "--no-show-raw-insn", path], stdout=subprocess.PIPE) as listing:
        found = subprocess.run(["grep", "-w", "cpuid"], stdin=listing.stdout, stdout=subprocess.PIPE, text=True, check=False).stdout
    return [int(address, 16) for address in re.findall(r"^\s*([0-9a-f]+):\s+cpuid", found, re.MULTILINE)]


def replaced(library, found):
    """The library's bytes with the instructions at these addresses replaced."""
    out = bytearray(library)
    for offset, length, address in code(library):
        for at in found:
            if address <= at < address + length:
                place = at - address + offset
                if library[place : place + 2] != CPUID:
                    raise SystemExit(f"no CPUID at {at:x}")
                out[place : place + 2] = REPLACED
    return bytes(out)


def copy(package, folder):
    """Puts the package into the folder: links to its files, and changed copies of the libraries in which something was replaced."""
    source = pathlib.Path(sysconfig.get_paths()["platlib"]) / package
    shutil.copytree(source, folder / package, copy_function=os.link, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder / package).rglob("*.so*"):
        library = path.read_bytes()
        if library[:4] != b"\x7fELF" or CPUID not in library:
            continue
        if found := addresses(path):
            # Written through the link, the original would change.
            path.unlink()
            path.write_bytes(replaced(library, found))
            print(f"{path.name}: CPUID replaced in {len(found)} places", file=sys.stderr)


def environment(folder):
    return {"PYTHONPATH": str(folder), "LD_PRELOAD": str(folder / "hide_avx512.so")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="made anew")
    parser.add_argument("packages", nargs="+")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", folder / "hide_avx512.so", HERE / "hide_avx512.c"], check=True)
    for package in arguments.packages:
        copy(package, folder)
    for name, value in environment(folder).items():
        print(f"{name}={value}")


if __name__ == "__main__":
    main()
