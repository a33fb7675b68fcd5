"""A training step of DIN on several ranks: Din over MPI and TorchRec over gloo, in turn, from the
same weights on the same batches.

    python bench/ranks_torchrec.py --din target/release/examples/bench_ranks --library target/mpi/openmpi/libdin_mpi.so
        [--python PYTHON] [--modes rows-unique-compile,..] [--ranks 2] [--threads 1] [--rounds 5] [--goods 1000000] [--batch 4096]
        [--steps 20] [--out target/bench-torchrec] [--page bench/results]

PYTHON has what `peers/requirements-torchrec.txt` names. Both sides train `din_step.din` with PReLU
in the MLP, since Dice's moments are those of a rank's part in TorchRec and of the global batch in
Din, and with AdaGrad for tables, the only one of the benchmark's optimizers that TorchRec fuses on
a CPU. `peers/torchrec_din.py` has the modes. TorchRec's ranks stay up between rounds, compiled and
warm, and wait while another side runs; Din's are started anew and train some batches before those
that count. A step begins with ids in memory. What counts of a round is its median step on the
slowest rank; medians of the rounds are reported. The losses of all sides must agree. Writes
`<page>/<date>-torchrec.md`."""

import argparse
import datetime
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys

import ranks
import run

HERE = pathlib.Path(__file__).resolve().parent
MODES = ["rows", "rows-compile", "rows-unique", "rows-unique-compile", "tables-unique-compile"]
PACKAGES = ["torch", "torchrec", "fbgemm-gpu-cpu"]


def spec(folder, goods):
    path = ranks.spec(folder, goods)
    text = path.read_text().replace("{dice, sigmoid}", "{prelu, sigmoid}").replace("[200, 80], dice)", "[200, 80], prelu)")
    text = text.replace("std.optimizer.adam", "std.optimizer.{adagrad, adam}")
    text = re.sub(r"(?m)^( *embedding .*)$", r"\1 { optimizer adagrad(lr = 0.02, eps = 1e-8) }", text)
    path.write_text(text)
    return path


class Din:
    name = "din"

    def __init__(self, arguments):
        a = arguments
        launcher = ["mpirun", "-n", a.ranks, "--oversubscribe", "--allow-run-as-root", "--bind-to", "none"]
        options = {"spec": a.spec, "data": a.log, "init": a.init, "library": a.library, "names": HERE / "names.json"}
        options |= {"threads": a.threads, "batch": a.batch}
        self.command = [*launcher, a.din, *(word for name, value in options.items() for word in (f"--{name}", value))]
        self.environment = os.environ | run.ENVIRONMENT

    def round(self):
        done = subprocess.run([str(word) for word in self.command], stdout=subprocess.PIPE, text=True, env=self.environment)
        if done.returncode:
            raise SystemExit(f"din ended with code {done.returncode}")
        return json.loads(done.stdout.splitlines()[-1])

    def close(self):
        pass


class TorchRec:
    def __init__(self, mode, arguments):
        self.name, a = mode, arguments
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [a.python, HERE / "peers" / "torchrec_din.py", "--serve", "--mode", mode, "--data", a.log, "--init", a.init]
        command += ["--threads", a.threads, "--batch", a.batch]
        # Threads are not bound to cores: all ranks would take the same ones.
        shared = os.environ | run.ENVIRONMENT | {"OMP_NUM_THREADS": str(a.threads), "BENCH_GOODS": str(a.goods), "PYTHONWARNINGS": "ignore"}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(a.ranks), "LOCAL_WORLD_SIZE": str(a.ranks)}
        command = [str(word) for word in command]
        of_rank = lambda rank: shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        log = open(a.out / f"{mode}.log", "w")
        self.sides = [run.Side(f"{mode}, rank {rank}", None, {}, command, of_rank(rank), log) for rank in range(a.ranks)]

    def round(self):
        """The slowest rank's steps, and the mean of the losses of all parts, which have the same size."""
        for side in self.sides:
            side.ask()
        found = [side.answer() for side in self.sides]
        steps = [max(times) for times in zip(*(f["step_seconds"] for f in found))]
        cpu = [max(times) for times in zip(*(f["cpu_seconds"] for f in found))]
        losses = [statistics.mean(parts) for parts in zip(*(f["losses"] for f in found))]
        return {"step_seconds": steps, "cpu_seconds": cpu, "losses": losses, "peak_kib": max(f["peak_kib"] for f in found)}

    def close(self):
        for side in self.sides:
            side.close(20)


NOTES = """
Losses are those of each step before its update, of the global batch; the difference is to Din's.

`rows` and `tables`: how TorchRec shards the item's tables, by rows or as whole tables, with the fused optimizer, ids and vectors of all
entries traveling (`EmbeddingCollection`, since attention needs every entry's vector). `unique`: each rank asks for every id once.
`compile`: the dense part by `torch.compile`. The other tables, of 446 rows together, are on all ranks on both sides.

What the CPU build lacks (fbgemm-gpu-cpu 1.9.0 with torch 2.14.1, the versions that belong together; the current torch 2.15 has none yet):

- No fused Adam (`Optimizer ... is not supported in CPU mode`): there are SGD, AdaGrad by element and by row, and two others. Therefore
  tables are trained by AdaGrad on both sides.
- No deduplication of ids before they travel: with `use_index_dedup` the operator `fbgemm::jagged_unique_indices` has no CPU kernel. The
  modes with `unique` do it in Python, by a mask over the table.
- The dense kernel without pooling, which TorchRec chooses by itself for a sharded `EmbeddingCollection` and for tables that are on all
  ranks, returns rows of other tables, or ends the process (`free(): invalid pointer`) with lists of different lengths. So sharded tables
  name the fused kernel, and the small ones are in an `EmbeddingBagCollection`, whose kernel is right.
- `TrainPipelineSparseDist` was not tried: a rank's one thread has nothing to overlap but waiting.
"""


def versions(python):
    code = "import platform, sys; from importlib.metadata import version\n"
    code += "print(', '.join(['Python ' + platform.python_version()] + [p + ' ' + version(p) for p in sys.argv[1:]]))"
    return subprocess.run([python, "-c", code, *PACKAGES], capture_output=True, text=True, check=True).stdout.strip()


def page(rounds, arguments, load):
    a = arguments
    ours = statistics.median(statistics.median(r["step_seconds"]) for r in rounds["din"])
    reference = rounds["din"][0]["losses"]
    yield f"# Din and TorchRec on {a.ranks} ranks, {datetime.date.today().isoformat()}\n"
    yield f"`bench/ranks_torchrec.py`: DIN, {a.goods:,} goods, batch {a.batch}, {a.steps} steps, {a.ranks} ranks with {a.threads} thread(s) each,"
    yield f"medians of {a.rounds} rounds in which all sides took turns. {run.cpu()}, {os.cpu_count()} cores; {versions(a.python)}."
    yield f"Load average at the start {load:.1f}, at the end {os.getloadavg()[0]:.1f}.\n"
    yield "CPU ms is the CPU time of the busiest rank of TorchRec in a step: what is left of a step beyond it is waiting, of which sending ids"
    yield "ahead (`TrainPipelineSparseDist`) could save a part.\n"
    head = ["side", "ms per step", "CPU ms", "samples/s", "spread of rounds, ms", "peak of a rank, MiB"]
    head += ["largest difference of losses", "time over Din's"]
    yield f"| {' | '.join(head)} |\n{'| --- ' * len(head)}|"
    for name, found in sorted(rounds.items(), key=lambda item: statistics.median(statistics.median(r["step_seconds"]) for r in item[1])):
        times = [statistics.median(r["step_seconds"]) for r in found]
        time = statistics.median(times)
        difference = max(abs(x - y) for r in found for x, y in zip(r["losses"], reference, strict=True))
        spread = f"{1e3 * min(times):.1f} to {1e3 * max(times):.1f}"
        cpu = [1e3 * statistics.median(r["cpu_seconds"]) for r in found if "cpu_seconds" in r]
        row = [name, f"{1e3 * time:.1f}", f"{statistics.median(cpu):.1f}" if cpu else "", f"{a.batch / time:,.0f}", spread]
        peak = max(r["peak_kib"] for r in found) / 1024
        row += [f"{peak:,.0f}", f"{difference:.1e}", f"{time / ours:.2f}"]
        yield f"| {' | '.join(row)} |"
    yield NOTES.rstrip()


def check(rounds, tolerance):
    reference = rounds["din"][0]["losses"]
    for name, found in rounds.items():
        for r in found:
            # A difference may be no number.
            if not all(abs(x - y) <= tolerance for x, y in zip(r["losses"], reference, strict=True)):
                raise SystemExit(f"{name}: losses differ from Din's by more than {tolerance}: the sides do not compute the same model")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--din", required=True)
    parser.add_argument("--library", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--modes", type=lambda text: [mode for mode in text.split(",") if mode], default=MODES)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--goods", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/bench-torchrec"))
    parser.add_argument("--page", type=pathlib.Path, default=HERE / "results")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.spec, arguments.log = spec(arguments.out, arguments.goods), ranks.data(arguments.out, arguments)
    arguments.init = arguments.log.parent / "init.safetensors"
    load, sides = os.getloadavg()[0], [Din(arguments)]
    try:
        for mode in arguments.modes:
            # One after the other: a round that does not count, in which they compile.
            sides.append(TorchRec(mode, arguments))
            sides[-1].round()
        rounds = {side.name: [] for side in sides}
        for number in range(arguments.rounds):
            for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
                rounds[side.name].append(side.round())
    finally:
        for side in sides:
            side.close()
    text = "\n".join(page(rounds, arguments, load)) + "\n"
    (arguments.page / f"{datetime.date.today().isoformat()}-torchrec.md").write_text(text)
    print(text)
    check(rounds, arguments.tolerance)


if __name__ == "__main__":
    main()
