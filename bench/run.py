"""Runs the training step of ours and of the peers, interleaved, on the same data, weights, batch order and threads.

    python bench/run.py [--ours "COMMAND"] [--peers MODE,MODE,..] [--rounds 5] [--threads 2] [--data target/bench] [--out bench/results]

COMMAND is ours; `{spec}`, `{data}`, `{init}`, `{threads}` and `{batch}` in it are replaced by paths and numbers. It runs all batches once
from the initial weights and prints, as its last line, `{"step_seconds": [..], "losses": [..]}`: wall seconds of each step (rows looked
up, forward, backward, update; reading the file left out) and the loss of each batch before its update. It may add `"peak_kib"`.

Peers stay up between rounds, compiled and warm; in every round each side runs once, in an order that rotates. What counts of a round is its
median step; what is reported is the median of the rounds. Losses of sides with the same optimizer (lazy, or Adam on whole tables) must agree
within `--tolerance` at every step, else the run fails.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

HERE = pathlib.Path(__file__).resolve().parent
PEERS = [
    "eager-padded",
    "compile-padded",
    "eager-ragged",
    "eager-split",
    "eager-split-sparse",
    "compile-split",
    "compile-split-sparse",
]


class Peer:
    """A Python side that stays up: one round for each line written to it."""

    def __init__(self, mode, arguments):
        script = "torch_step.py"
        python = sys.executable
        if ":" in mode:
            # `jax:split` is peers/jax_step.py --mode split, run by the interpreter of $PYTHON_JAX where that is set.
            family, mode_ = mode.split(":")
            script, python = f"{family}_step.py", os.environ.get(f"PYTHON_{family.upper()}", python)
        else:
            mode_ = mode
        self.name, self.lazy = mode, "sparse" in mode
        command = [python, str(HERE / "peers" / script), "--mode", mode_, "--serve"]
        command += ["--data", str(arguments.parquet), "--init", str(arguments.init)]
        command += ["--threads", str(arguments.threads), "--batch", str(arguments.batch)]
        environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def round(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        # Libraries print lines of their own.
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.name} ended without a result (exit code {self.process.wait()})")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Ours:
    name, lazy = "din", True

    def __init__(self, template, arguments):
        self.command = [
            word.format(spec=arguments.spec, data=arguments.parquet, init=arguments.init, threads=arguments.threads, batch=arguments.batch)
            for word in shlex.split(template)
        ]

    def round(self):
        done = subprocess.run(self.command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{shlex.join(self.command)} ended with code {done.returncode}")
        return json.loads(done.stdout.splitlines()[-1])

    def close(self):
        pass


def cpu():
    try:
        for line in open("/proc/cpuinfo", encoding="utf-8"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def versions():
    found = {"python": platform.python_version()}
    for package in ("torch", "numpy", "jax", "deepctr-torch", "fuxictr"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found


def disagreement(results):
    """Largest difference of losses to the first side with the same optimizer, over steps and rounds; `first step` over all sides."""
    found = {}
    first = next(iter(results.values()))["rounds"][0]["losses"][0]
    for name, side in results.items():
        reference = next(r for r in results.values() if r["lazy"] == side["lazy"])["rounds"][0]["losses"]
        steps = max(abs(a - b) for r in side["rounds"] for a, b in zip(r["losses"], reference, strict=True))
        found[name] = max(steps, *(abs(r["losses"][0] - first) for r in side["rounds"]))
    return found


def markdown(record):
    lines = [
        f"# Training step, {record['date']}, {record['threads']} thread(s), batch {record['batch']}",
        "",
        f"{record['cpu']}; {', '.join(f'{k} {v}' for k, v in record['versions'].items())}; load average at the start {record['load'][0]:.1f}, "
        f"at the end {record['load'][1]:.1f}.",
        "",
        "Medians of " + f"{record['round_count']} interleaved rounds. `lazy`: only touched rows move; `whole`: Adam on whole tables.",
        "",
        "| side | optimizer | ms a step | samples/s | spread of rounds | CPU ms a step | peak MiB | loss differs by |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, s in sorted(record["sides"].items(), key=lambda item: item[1]["ms"]):
        spread = f"{min(s['ms_by_round']):.1f} to {max(s['ms_by_round']):.1f}"
        cpu_ms = f"{s['cpu_ms']:.1f}" if s["cpu_ms"] else ""
        peak = f"{s['peak_kib'] // 1024}" if s["peak_kib"] else ""
        lines.append(
            f"| {name} | {'lazy' if s['lazy'] else 'whole'} | {s['ms']:.1f} | {s['samples_per_second']:,.0f} | {spread} | {cpu_ms} "
            f"| {peak} | {s['loss_difference']:.1e} |"
        )
    if "din" in record["sides"]:
        ours = record["sides"]["din"]["ms"]
        lines += ["", "| peer | its time over ours |", "| --- | --- |"]
        lines += [f"| {n} | {s['ms'] / ours:.2f} |" for n, s in record["sides"].items() if n != "din"]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", help="command that runs our side")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated modes; empty for none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--spec", type=pathlib.Path, default=HERE / "din_step.din")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("target/bench"))
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results")
    parser.add_argument("--name", default="step", help="part of the result's file name")
    parser.add_argument("--tolerance", type=float, default=2e-3)
    arguments = parser.parse_args()
    arguments.parquet, arguments.init = arguments.data / "step.parquet", arguments.data / "init.safetensors"
    if not arguments.parquet.exists():
        subprocess.run([sys.executable, str(HERE / "data.py"), "--out", str(arguments.data), "--batch", str(arguments.batch)], check=True)
    load = [os.getloadavg()[0]]
    sides = [Ours(arguments.ours, arguments)] if arguments.ours else []
    sides += [Peer(mode, arguments) for mode in arguments.peers.split(",") if mode]
    if not sides:
        raise SystemExit("nothing to run: give --ours or --peers")
    results = {side.name: {"lazy": side.lazy, "rounds": []} for side in sides}
    # A round that does not count: compiles, touches memory, waits for all to be ready.
    for side in sides:
        side.round()
        print(f"{side.name} is ready", file=sys.stderr)
    for k in range(arguments.rounds):
        for side in sides[k % len(sides) :] + sides[: k % len(sides)]:
            results[side.name]["rounds"].append(side.round())
        print(f"round {k + 1} of {arguments.rounds}", file=sys.stderr)
    for side in sides:
        side.close()
    load.append(os.getloadavg()[0])
    differences = disagreement(results)
    record = {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu(),
        "versions": versions(),
        "threads": arguments.threads,
        "batch": arguments.batch,
        "round_count": arguments.rounds,
        "load": load,
        "sides": {},
    }
    for name, side in results.items():
        by_round = [1e3 * statistics.median(r["step_seconds"]) for r in side["rounds"]]
        cpu_ms = [1e3 * statistics.median(r["cpu_seconds"]) for r in side["rounds"] if "cpu_seconds" in r]
        ms = statistics.median(by_round)
        record["sides"][name] = {
            "lazy": side["lazy"],
            "ms": ms,
            "samples_per_second": 1e3 * arguments.batch / ms,
            "ms_by_round": by_round,
            "cpu_ms": statistics.median(cpu_ms) if cpu_ms else None,
            "peak_kib": max(r.get("peak_kib", 0) for r in side["rounds"]),
            "loss_difference": differences[name],
            "losses": side["rounds"][0]["losses"],
        }
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"{record['date']}-{arguments.name}-{arguments.threads}t"
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    text = markdown(record)
    stem.with_suffix(".md").write_text(text)
    print(text)
    worst = max(differences.values())
    if worst > arguments.tolerance:
        raise SystemExit(f"losses differ by {worst:.1e}, more than {arguments.tolerance:.1e}: the sides do not train the same model")


if __name__ == "__main__":
    main()
