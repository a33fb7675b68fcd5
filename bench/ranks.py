"""Training on several ranks beside training on one: samples/s in one run, sides in turn.

    python bench/ranks.py --din target/release/din --library target/mpi/openmpi/libdin_mpi.so [--goods 1000000]
        [--before OLD_DIN] [--isa v3] [--rounds 5] [--steps 60] [--batch 4096] [--ranks 2,4,8] [--out DIR]

Every side trains `din_step.din`, with so many goods in its largest table, for one epoch from the same Parquet file: one rank on two
threads, and so many ranks on one thread each (`mpirun --oversubscribe`). `--before` adds another version of the command on one rank and
two threads. Samples/s are those of `--profile`. Prints the medians, each divided by the median of one rank, and what a rank sends per
step. The mean training loss of all numbers of ranks must be equal to the last digit.
"""

import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def spec(folder, goods):
    text = (HERE / "din_step.din").read_text()
    path = folder / "din_step.din"
    path.write_text(text.replace("category(100_000)", f"category({goods})"))
    return path


def data(folder, arguments):
    log = folder / f"goods-{arguments.goods}-{arguments.batch}x{arguments.steps}"
    if not (log / "step.parquet").exists():
        environment = os.environ | {"BENCH_GOODS": str(arguments.goods)}
        command = [sys.executable, HERE / "data.py", "--out", log, "--batch", arguments.batch, "--steps", arguments.steps]
        subprocess.run([str(part) for part in command], check=True, env=environment, stdout=subprocess.DEVNULL)
    return log / "step.parquet"


class Side:
    def __init__(self, name, din, ranks, threads, arguments):
        self.name, self.rates, self.losses, self.sent = name, [], set(), None
        launcher = ["mpirun", "-n", ranks, "--oversubscribe", "--allow-run-as-root", "--bind-to", "none"] if ranks > 1 else []
        library = ["--mpi-library", arguments.library] if ranks > 1 else []
        self.command = [*launcher, din, "train", arguments.spec, "--train", arguments.log, "--threads", threads, "--isa", arguments.isa]
        self.command += ["--batch", arguments.batch, "--epochs", 1, "--profile", *library, "--out"]

    def run(self, folder):
        out = folder / "run"
        shutil.rmtree(out, ignore_errors=True)
        ended = subprocess.run([str(part) for part in [*self.command, out]], capture_output=True, text=True)
        said = ended.stdout + ended.stderr
        if ended.returncode != 0:
            raise SystemExit(f"{self.name}: {said}")
        self.rates.append(int(re.search(r"([0-9]+) samples/s", said)[1]))
        self.losses.add(re.search(r'"train_loss":([0-9.e-]+)', (out / "metrics.jsonl").read_text())[1])
        sent = [float(size) for size in re.findall(r"([0-9.]+) KiB sent", said)]
        self.sent = max(sent) if sent else None
        shutil.rmtree(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--din", required=True)
    parser.add_argument("--library", required=True)
    parser.add_argument("--before")
    parser.add_argument("--goods", type=int, default=1_000_000)
    parser.add_argument("--isa", default="v3")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--ranks", type=lambda text: [int(n) for n in text.split(",")], default=[2])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/bench-ranks"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.spec, arguments.log = spec(arguments.out, arguments.goods), data(arguments.out, arguments)
    sides = [Side("1 rank, 2 threads", arguments.din, 1, 2, arguments)]
    if arguments.before:
        sides.append(Side("before, 2 threads", arguments.before, 1, 2, arguments))
    sides += [Side(f"{ranks} ranks, 1 thread each", arguments.din, ranks, 1, arguments) for ranks in arguments.ranks]
    for number in range(arguments.rounds):
        # In turn, and each round begins with another side.
        for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
            side.run(arguments.out)
    losses = set().union(*(side.losses for side in sides if not side.name.startswith("before")))
    if len(losses) != 1:
        raise SystemExit(f"ranks give other losses than one rank: {sorted(losses)}")
    base = statistics.median(sides[0].rates)
    print(f"{arguments.goods} goods, batch {arguments.batch}, {arguments.steps} steps, {arguments.isa}, medians of {arguments.rounds}")
    for side in sides:
        rate = statistics.median(side.rates)
        sent = f", {side.sent:.0f} KiB sent per step by the busiest rank" if side.sent else ""
        print(f"{side.name}: {rate:.0f} samples/s, {rate / base:.3f} of one rank{sent}, train loss {' and '.join(sorted(side.losses))}")


if __name__ == "__main__":
    main()
