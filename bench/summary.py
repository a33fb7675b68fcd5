"""Results of `suite.py` at several levels side by side, as tables of Markdown on standard output.

    python bench/summary.py bench/results/DATE-suite-v3.json bench/results/DATE-suite-v4.json

The first table has a row for each configuration and columns for each level: our rate, the fastest peer's time over ours, beside the goal where one
is set, and the share of the floor's speed that we reach. The others have every side of a configuration.
"""

import argparse
import json
import pathlib

# The fastest peer's time over ours, at v3: what was set out to be reached.
GOALS = {"v3": {"din": 4.0, "din-1t": 3.0, "batch-4096": 4.0, "short": 2.5, "base": 3.0, "infer": 2.5, "rank": 1.8}}
# The same of peers that pad, in `din`.
PADDED = ["fuxictr:padded", "deepctr:padded", "compile-padded"]
PADDED_GOAL = {"v3": 14.0}


def peers(record):
    """Slowest last."""
    return sorted(((n, s) for n, s in record["sides"].items() if n != "din"), key=lambda item: item[1]["ms"])


def rate(record):
    """Samples per second, or the quantiles of a request's time."""
    ours = record["sides"]["din"]
    if record["task"] == "rank":
        return f"p50 {ours['ms']:.2f} ms, p99 {ours['p99_ms']:.2f} ms"
    return f"{ours['samples_per_second']:,.0f}/s"


def ratio(record, goal, found=None):
    """The fastest peer's time over ours, of those named; one that was not held to the level has a star."""
    found = [(n, s) for n, s in peers(record) if found is None or n in found]
    if not found:
        return ""
    name, side = found[0]
    star = "*" if record["isa"] != record["machine_isa"] and side["avx512"] else ""
    told = f"{side['ms'] / record['sides']['din']['ms']:.2f} x ({name}{star})"
    return told + (f", goal {goal:g} x" if goal else "")


def overview(suites):
    """Lines of a table: one row per configuration, columns by level."""
    head = ["configuration", *(f"{level}: {what}" for level in suites for what in ("Din", "fastest peer's time over it", "of the floor"))]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    names = list(dict.fromkeys(name for records in suites.values() for name in records))
    for name in names:
        row = [name]
        for level, records in suites.items():
            record = records.get(name)
            if record is None or "din" not in record["sides"]:
                row += ["", "", ""]
                continue
            share = record["floor"]["ms"] / record["sides"]["din"]["ms"]
            row += [rate(record), ratio(record, GOALS.get(level, {}).get(name)), f"{100 * share:.0f} %"]
        lines.append(f"| {' | '.join(row)} |")
    row = ["din, padded peers"]
    for level, records in suites.items():
        record = records.get("din")
        row += ["", ratio(record, PADDED_GOAL.get(level), PADDED) if record and "din" in record["sides"] else "", ""]
    return [*lines, f"| {' | '.join(row)} |"]


def sides(name, suites):
    """Lines of a table: one row per side of a configuration, fastest at the first level first."""
    records = {level: records[name] for level, records in suites.items() if name in records}
    head = ["side", *(f"{level}: {what}" for level in records for what in ("ms", "Din is"))]
    lines = [f"## {name}", "", f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    first = next(iter(records.values()))["sides"]
    known = dict.fromkeys(side for record in records.values() for side in record["sides"])
    for side in sorted(known, key=lambda s: first[s]["ms"] if s in first else float("inf")):
        row = [side]
        for record in records.values():
            found, ours = record["sides"].get(side), record["sides"].get("din")
            row += [f"{found['ms']:.2f}", f"{found['ms'] / ours['ms']:.2f} x" if ours and side != "din" else ""] if found else ["", ""]
        lines.append(f"| {' | '.join(row)} |")
    return lines


def text(suites):
    lines = overview(suites)
    if any("*" in line for line in lines):
        lines += ["", "`*`: this peer cannot be held to the level, and used the machine's higher one."]
    for name in dict.fromkeys(name for records in suites.values() for name in records):
        lines += ["", *sides(name, suites)]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path, nargs="+", help="JSON files of suite.py, one a level")
    found = [json.loads(path.read_text(encoding="utf-8")) for path in parser.parse_args().results]
    print(text({one["isa"]: one["configurations"] for one in found}), end="")


if __name__ == "__main__":
    main()
