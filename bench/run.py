"""Runs the training step of ours and of the peers, interleaved, on the same data, weights, batch order and threads.

    python bench/run.py [--ours "COMMAND"] [--peers MODE,MODE,..] [--rounds 5] [--threads 2] [--data target/bench] [--out bench/results]
        [--model din|base] [--unit sigmoid|dice] [--task train|infer|rank] [--isa v3|v4] [--spec FILE] [--batch 1024] [--name step]

COMMAND is ours; `{spec}`, `{data}`, `{init}`, `{threads}`, `{batch}`, `{task}` and `{isa}` in it are replaced by paths, numbers and words. It runs all
batches once from the initial weights and prints, as its last line, `{"step_seconds": [..], "losses": [..]}`: wall seconds of each step
(rows looked up, forward, backward, update; reading the file left out) and the loss of each batch before its update. It may add
`"peak_kib"`.

Peers stay up between rounds, compiled and warm; in every round each side runs once, in an order that rotates. What counts of a round is
its median step; what is reported is the median of the rounds. Losses of sides with the same optimizer (lazy, or Adam on whole tables)
must agree within `--tolerance` at every step, else the run fails. `suite.py` runs the whole comparison by the same functions.
"""

import argparse
import dataclasses
import datetime
import json
import math
import os
import pathlib
import platform
import queue
import shlex
import statistics
import subprocess
import sys
import threading
import time

import isa

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
# What a peer of a family runs on, after its own package.
PACKAGES = {
    "torch": ["torch"],
    "jax": ["jax"],
    "deepctr": ["deepctr-torch", "torch"],
    "fuxictr": ["fuxictr", "torch"],
    "onnxruntime": ["onnxruntime", "onnx"],
    "openvino": ["openvino"],
}
# Of these no setting holds every library to AVX2: they get copies of packages that find no AVX-512.
HIDDEN_FROM = {"jax": "jaxlib", "onnxruntime": "onnxruntime", "openvino": "openvino"}
# For all sides. glibc keeps memory once taken, as a tuned allocator does: without it PyTorch takes large tensors from the system anew at
# each step.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 34), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
# On the CPU OpenMP's threads stay on cores of their own: without it they share one core in some processes, and spin. On a GPU all else that a
# process has would stay on the first thread's core: what it compiles, and autograd's threads.
ON_CPU = {"OMP_PROC_BIND": "true"}


@dataclasses.dataclass
class Setting:
    """What all sides of a comparison share."""

    spec: pathlib.Path
    data: pathlib.Path
    init: pathlib.Path
    threads: int = 2
    batch: int = 1024
    model: str = "din"
    unit: str = "sigmoid"
    task: str = "train"
    device: str = "cpu"
    # The level of the instruction set that all sides are held to.
    isa: str = dataclasses.field(default_factory=isa.level)

    def environment(self):
        return os.environ | ENVIRONMENT | (ON_CPU if self.device == "cpu" else {}) | {"OMP_NUM_THREADS": str(self.threads)}

    def peers_environment(self, family):
        limits = isa.limits(self.isa, isa.level())
        return self.environment() | limits | (hidden(family) if limits and family in HIDDEN_FROM else {})

    def command(self, template):
        return [word.format_map(vars(self)) for word in shlex.split(template)]


def interpreter(family):
    """`$PYTHON_JAX` for `jax`, where that is set."""
    return os.environ.get(f"PYTHON_{family.upper()}", sys.executable)


def versions(family):
    """Of Python and the packages that a family's peers run on; empty where one is missing."""
    code = "import json, platform, sys; from importlib.metadata import version\n"
    code += "print(json.dumps({'python': platform.python_version()} | {p: version(p) for p in sys.argv[1:]}))"
    done = subprocess.run([interpreter(family), "-c", code, *PACKAGES[family]], capture_output=True, text=True, check=False)
    return {} if done.returncode else json.loads(done.stdout)


def hidden(family):
    """The environment in which a family of peers finds its copies without AVX-512. They are made once; if that fails, it is empty."""
    folder = HERE.parent / "target" / "bench-without-avx512" / family
    made = folder / "environment.json"
    wanted = {"python": interpreter(family), "versions": versions(family)}
    if made.exists():
        found = json.loads(made.read_text(encoding="utf-8"))
        if found["of"] == wanted:
            return found["environment"]
    print(f"{family}: copies its libraries for AVX2", file=sys.stderr)
    command = [interpreter(family), str(HERE / "hide_avx512.py"), str(folder), HIDDEN_FROM[family]]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"{family} is not held to AVX2: {shlex.join(command)} failed; it needs cc and objdump", file=sys.stderr)
        return {}
    environment = dict(line.split("=", 1) for line in done.stdout.splitlines())
    made.write_text(json.dumps({"of": wanted, "environment": environment}, indent=1) + "\n")
    return environment


class Side:
    """A process that stays up: one round for each line written to it."""

    def __init__(self, name, lazy, versions, command, environment, errors=None):
        self.name, self.lazy, self.versions, self.begin = name, lazy, versions, time.monotonic()
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
        except OSError as e:
            raise SystemExit(f"{command[0]}: {e.strerror}") from None
        self.lines = queue.SimpleQueue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        # Libraries print lines of their own.
        for line in self.process.stdout:
            if line.startswith("{"):
                self.lines.put(line)
        self.lines.put(None)

    def round(self, deadline=None):
        """What it prints of the round; by the deadline, a time of `time.monotonic`."""
        self.ask()
        return self.answer(deadline)

    def ask(self):
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def answer(self, deadline=None):
        try:
            line = self.lines.get(timeout=deadline and max(deadline - time.monotonic(), 0.1))
        except queue.Empty:
            raise SystemExit(f"{self.name} gave no result in time, {time.monotonic() - self.begin:.0f} s after its start") from None
        if line:
            return json.loads(line)
        raise SystemExit(f"{self.name} ended without a result (exit code {self.process.wait()}); its error is above")

    def uses_avx512(self):
        return isa.uses_avx512(self.process.pid)

    def close(self, seconds=None):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Peer(Side):
    def __init__(self, mode, setting):
        # `jax:split` is peers/jax_step.py --mode split.
        family, mode_ = mode.split(":") if ":" in mode else ("torch", mode)
        if family not in PACKAGES:
            raise SystemExit(f"`{mode}`: no peer `{family}`; there are {', '.join(PACKAGES)}")
        found = versions(family)
        if not found:
            what = f"{interpreter(family)} lacks one of {', '.join(PACKAGES[family])}"
            raise SystemExit(f"`{mode}`: {what}; set PYTHON_{family.upper()} to an interpreter that has them")
        lazy = "sparse" in mode if setting.task == "train" else None
        command = [interpreter(family), str(HERE / "peers" / f"{family}_step.py"), "--serve", "--mode", mode_]
        for option in ("data", "init", "threads", "batch", "model", "unit", "task", "device"):
            command += [f"--{option}", str(getattr(setting, option))]
        super().__init__(mode, lazy, found, command, setting.peers_environment(family))


class Ours:
    """Our side, a process a round."""

    name, versions = "din", {}

    def __init__(self, template, setting):
        self.lazy = True if setting.task == "train" else None
        self.command, self.environment, self.begin = setting.command(template), setting.environment(), time.monotonic()

    def round(self, _deadline=None):
        try:
            done = subprocess.run(self.command, stdout=subprocess.PIPE, text=True, check=False, env=self.environment)
        except OSError as e:
            raise SystemExit(f"{self.command[0]}: {e.strerror}") from None
        if done.returncode:
            raise SystemExit(f"{shlex.join(self.command)} ended with code {done.returncode}")
        return json.loads(done.stdout.splitlines()[-1])

    def uses_avx512(self):
        """Not known: the process has ended."""

    def close(self, seconds=None):
        pass


def cpu():
    try:
        for line in open("/proc/cpuinfo", encoding="utf-8"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def disagreement(results):
    """Largest difference of losses to the first side with the same optimizer, over steps and rounds; `first step` over all sides."""
    found = {}
    for name, side in results.items():
        if any(not isinstance(x, float) or x != x for r in side["rounds"] for x in r["losses"]):
            raise SystemExit(f"{name}: a loss is not a number")
    first = next(iter(results.values()))["rounds"][0]["losses"][0]
    for name, side in results.items():
        reference = next(r for r in results.values() if r["lazy"] == side["lazy"])["rounds"][0]["losses"]
        steps = max(abs(a - b) for r in side["rounds"] for a, b in zip(r["losses"], reference, strict=True))
        found[name] = max(steps, *(abs(r["losses"][0] - first) for r in side["rounds"]))
    return found


def quantile(values, q):
    """The smallest value that at least a share `q` of them does not exceed."""
    return sorted(values)[math.ceil(q * len(values)) - 1]


def measure(setting, ours, peers, rounds, patience=None, make=Peer):
    """The record of one comparison: `ours` a command, a `Side` or None, `peers` modes, of which `make` makes sides. With patience, a peer that fails or is not ready so many
    seconds from now is left out and named in the record."""
    deadline = patience and time.monotonic() + patience
    load = [os.getloadavg()[0]]
    sides, ready, dropped = [], {}, {}

    def without(name, error):
        if deadline is None or name == "din":
            raise error
        print(f"{name} is left out: {error}", file=sys.stderr)
        dropped[name] = str(error)
        for side in [s for s in sides if s.name == name]:
            sides.remove(side)
            side.close(5)

    def start(modes):
        for mode in modes:
            try:
                sides.append(make(mode, setting))
            except SystemExit as e:
                without(mode, e)
        # A round that does not count: compiles, touches memory, waits for all to be ready.
        for side in [s for s in sides if s.name not in ready]:
            try:
                side.round(deadline)
            except SystemExit as e:
                without(side.name, e)
                continue
            ready[side.name] = time.monotonic() - side.begin
            print(f"{side.name} is ready, {ready[side.name]:.0f} s after its start", file=sys.stderr)

    # Who hangs is given little time to end.
    closing = 5
    try:
        if ours:
            sides.append(ours if isinstance(ours, Side) else Ours(ours, setting))
        if not ours and not peers:
            raise SystemExit("nothing to run: give --ours or --peers")
        # Those that measure in order to compile do so alone.
        start([m for m in peers if not m.startswith("tune")])
        for mode in [m for m in peers if m.startswith("tune")]:
            start([mode])
        results = {side.name: {"lazy": side.lazy, "rounds": []} for side in sides}
        for k in range(rounds):
            for side in sides[k % len(sides) :] + sides[: k % len(sides)]:
                try:
                    results[side.name]["rounds"].append(side.round(patience and time.monotonic() + patience))
                except SystemExit as e:
                    without(side.name, e)
                    del results[side.name]
            print(f"round {k + 1} of {rounds}", file=sys.stderr)
        wide = {side.name: side.uses_avx512() if setting.device == "cpu" else None for side in sides}
        closing = patience
    finally:
        for side in sides:
            side.close(closing)
    load.append(os.getloadavg()[0])
    differences = disagreement(results)
    record = {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu(),
        "machine_isa": isa.level(),
        "isa": setting.isa,
        "task": setting.task,
        "threads": setting.threads,
        "batch": setting.batch,
        "round_count": rounds,
        "load": load,
        "sides": {},
        "dropped": dropped,
    }
    for side in sides:
        found = results[side.name]["rounds"]
        by_round = [1e3 * statistics.median(r["step_seconds"]) for r in found]
        cpu_ms = [1e3 * statistics.median(r["cpu_seconds"]) for r in found if "cpu_seconds" in r]
        ms = statistics.median(by_round)
        record["sides"][side.name] = {
            "lazy": side.lazy,
            "avx512": wide[side.name],
            "versions": side.versions,
            "ready_seconds": ready[side.name],
            "ms": ms,
            "p99_ms": 1e3 * statistics.median(quantile(r["step_seconds"], 0.99) for r in found),
            "samples_per_second": 1e3 * setting.batch / ms,
            "ms_by_round": by_round,
            "cpu_ms": statistics.median(cpu_ms) if cpu_ms else None,
            "peak_kib": max(r.get("peak_kib", 0) for r in found),
            "loss_difference": differences[side.name],
            "losses": found[0]["losses"],
        }
    return record


def check(record, tolerance):
    found = {n: s["loss_difference"] for n, s in record["sides"].items()}
    # A difference may be no number.
    if wrong := [f"{n} by {d:.1e}" for n, d in found.items() if not d <= tolerance]:
        raise SystemExit(f"losses differ, {', '.join(wrong)}, more than {tolerance:.1e}: the sides do not compute the same model")


def setup(records):
    """One line: the machine and the versions of all sides."""
    cpus = dict.fromkeys(r["cpu"] for r in records)
    found = dict.fromkeys(f"{p} {v}" for r in records for side in r["sides"].values() for p, v in side["versions"].items())
    return f"{', '.join(cpus)}; {', '.join(found)}" if found else ", ".join(cpus)


def table(record):
    """Lines of Markdown: a row a side, fastest first."""
    rank, train = record["task"] == "rank", record["task"] == "train"
    ours = record["sides"].get("din")
    head = ["side"] + ["optimizer"] * train + (["p50 ms", "p99 ms", "candidates/s"] if rank else ["ms", "samples/s"])
    head += ["spread of rounds", "CPU ms", "peak MiB", "loss differs by"]
    head += ([] if not ours else ["p50 over ours", "p99 over ours"] if rank else ["time over ours"])
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for name, s in sorted(record["sides"].items(), key=lambda item: item[1]["ms"]):
        row = [name] + ["lazy" if s["lazy"] else "whole"] * train + [f"{s['ms']:.2f}"] + [f"{s['p99_ms']:.2f}"] * rank
        row += [f"{s['samples_per_second']:,.0f}", f"{min(s['ms_by_round']):.2f} to {max(s['ms_by_round']):.2f}"]
        row += [f"{s['cpu_ms']:.2f}" if s["cpu_ms"] else "", f"{s['peak_kib'] // 1024}" if s["peak_kib"] else ""]
        row += [f"{s['loss_difference']:.1e}"]
        if ours:
            row += [f"{s['ms'] / ours['ms']:.2f}"] + [f"{s['p99_ms'] / ours['p99_ms']:.2f}"] * rank
        lines.append(f"| {' | '.join(row)} |")
    return lines


def held(record):
    """If the level is below the machine's, a sentence that says so and names the peers that were not held to it."""
    if record["isa"] == record["machine_isa"]:
        return ""
    unheld = [name for name, side in record["sides"].items() if side["avx512"]]
    unseen = [name for name, side in record["sides"].items() if side["avx512"] is None and name != "din"]
    told = f"Held to {record['isa']} on a machine that has {record['machine_isa']}."
    if unheld:
        told += f" Not held, to its advantage (registers of {record['machine_isa']} were in use): {', '.join(unheld)}."
    if unseen:
        told += f" Whether they were held was not seen: {', '.join(unseen)}."
    return told


def loads(record):
    return f"Load average at the start {record['load'][0]:.1f}, at the end {record['load'][1]:.1f}."


def markdown(record):
    what = {"train": "Training step", "infer": "Inference", "rank": "Ranking"}[record["task"]]
    lines = [
        f"# {what}, {record['date']}, level {record['isa']}, {record['threads']} thread(s), batch {record['batch']}",
        "",
        f"{setup([record])}. {loads(record)} {held(record)}".rstrip(),
        "",
        f"Medians of {record['round_count']} interleaved rounds."
        + " `lazy`: only touched rows move; `whole`: Adam on whole tables." * (record["task"] == "train"),
        "",
        *table(record),
    ]
    return "\n".join(lines) + "\n"


def make_data(folder, *options):
    subprocess.run([sys.executable, str(HERE / "data.py"), "--out", str(folder), *options], check=True)


def specification(model, unit, task="train"):
    if task == "rank":
        return HERE / "rank_step.din"
    return HERE / {"base": "base_step.din", "dice": "dice_unit_step.din", "sigmoid": "din_step.din"}["base" if model == "base" else unit]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", help="command that runs our side")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated modes; empty for none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--model", choices=["din", "base"], default="din")
    parser.add_argument("--unit", choices=["sigmoid", "dice"], default="sigmoid")
    parser.add_argument("--task", choices=["train", "infer", "rank"], default="train")
    parser.add_argument("--isa", choices=isa.LEVELS, default=isa.level(), help="level that all sides are held to [default: the machine's, %(default)s]")
    parser.add_argument("--spec", type=pathlib.Path, help="the model of our side [default: by --model and --unit]")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("target/bench"))
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results")
    parser.add_argument("--name", default="step", help="part of the result's file name")
    parser.add_argument("--tolerance", type=float, default=2e-3)
    arguments = parser.parse_args()
    parquet = arguments.data / ("rank.parquet" if arguments.task == "rank" else "step.parquet")
    if not parquet.exists():
        if arguments.task == "rank":
            raise SystemExit(f"{parquet} is missing: make it by bench/data.py --out {arguments.data} --rank {arguments.batch}")
        make_data(arguments.data, "--batch", str(arguments.batch))
    setting = Setting(
        arguments.spec or specification(arguments.model, arguments.unit),
        parquet,
        arguments.data / "init.safetensors",
        arguments.threads,
        arguments.batch,
        arguments.model,
        arguments.unit,
        arguments.task,
        isa=arguments.isa,
    )
    record = measure(setting, arguments.ours, [mode for mode in arguments.peers.split(",") if mode], arguments.rounds)
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"{record['date']}-{arguments.name}-{arguments.isa}-{arguments.threads}t"
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    text = markdown(record)
    stem.with_suffix(".md").write_text(text)
    print(text)
    check(record, arguments.tolerance)


if __name__ == "__main__":
    main()
