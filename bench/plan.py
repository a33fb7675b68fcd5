"""What `din plan --measure` predicts beside what `din train --profile` does: memory, bytes sent,
step time.

    python bench/plan.py --din target/release/din --library target/mpi/openmpi/libdin_mpi.so [--goods 1000000,10000000] [--ranks 1,2,4]
        [--rounds 5] [--steps 40] [--batch 4096] [--isa v3] [--out target/bench-plan] [--page bench/results]

For each number of goods in the largest table of `din_step.din` and each number of ranks, a plan and
a training run take turns, so many rounds. One rank has two threads, each of several has one
(`mpirun --oversubscribe`). A plan knows the data from a run before (`--stats`), and measures rates
and communication itself, on the same ranks. More than two ranks are run for the first number of
goods alone. Of a round's training counts what the slowest or largest rank has; what is reported are
medians. Writes `<page>/<date>-plan.md`.

Memory is that of the process, as `top` shows it: VmRSS until the checkpoint of the only epoch is
begun, and VmHWM."""

import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time

import ranks
import run


def launcher(number):
    return ["mpirun", "-n", number, "--oversubscribe", "--allow-run-as-root", "--bind-to", "none"] if number > 1 else []


def descendants(process):
    found = [process]
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            for child in pathlib.Path(f"/proc/{process}/task/{thread}/children").read_text().split():
                found += descendants(int(child))
    except OSError:
        pass
    return found


def memory(process):
    """MiB of a process of Din: VmRSS and VmHWM."""
    try:
        if pathlib.Path(f"/proc/{process}/comm").read_text().strip() != "din":
            return None
        status = pathlib.Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    sizes = [re.search(rf"{name}:\s+(\d+) kB", status) for name in ("VmRSS", "VmHWM")]
    return [int(size[1]) / 1024 for size in sizes] if all(sizes) else None


def words(command):
    return [str(word) for word in command]


class Case:
    """So many goods on so many ranks."""

    def __init__(self, goods, number, arguments):
        self.goods, self.number, self.arguments = goods, number, arguments
        self.threads = 2 if number == 1 else 1
        self.plans, self.runs = [], []
        arguments.goods = goods
        folder = arguments.out / str(goods)
        folder.mkdir(parents=True, exist_ok=True)
        self.spec, self.log = ranks.spec(folder, goods), ranks.data(arguments.out, arguments)
        self.before = folder / "run"
        if not self.before.exists():
            self.train(self.before)

    def common(self, verb, number):
        a = self.arguments
        # On a busy machine, making a large table takes long.
        library = ["--mpi-library", a.library, "--rank-timeout", 600] if number > 1 else []
        return [*launcher(number), a.din, verb, self.spec, "--threads", self.threads, "--isa", a.isa, "--batch", a.batch, *library]

    def train(self, out):
        """Trains; what the profile and the system say of it."""
        command = [*self.common("train", self.number), "--train", self.log, "--epochs", 1, "--profile", "--out", out]
        in_training, at_most = {}, {}
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(words(command), stdout=said, stderr=subprocess.STDOUT)
            while process.poll() is None:
                saved = any((out / "checkpoints").glob("step-*"))
                saving = saved or any((out / "checkpoints").glob(".*"))
                for child in descendants(process.pid):
                    # Behind the checkpoint the profile is written, which a run without `--profile` has not.
                    if (found := memory(child)) and not saved:
                        at_most[child] = found[1]
                        if not saving:
                            in_training[child] = max(in_training.get(child, 0), found[0])
                time.sleep(0.05)
            said.seek(0)
            text = said.read()
        if process.returncode:
            raise SystemExit(text)
        ms = float(re.search(r"([0-9.]+) ms per step", text)[1])
        waiting, rows = (float(found) for found in re.search(r"waiting for data ([0-9.]+) ms, rows of ids ([0-9.]+) ms", text).groups())
        exchanges = [float(found) for found in re.findall(r"exchanges of the step ([0-9.]+) ms", text)]
        sent = [float(found) for found in re.findall(r"([0-9.]+) KiB sent", text)]
        return {
            "training": max(in_training.values()),
            "total": max(at_most.values()),
            "sent": max(sent, default=0.0),
            "step": ms,
            "waiting": waiting,
            "rows": rows,
            "exchanges": max(exchanges, default=0.0),
        }

    def plan(self):
        known = ["--ranks", self.number, "--stats", self.before, "--epochs", 1, "--measure", "--json"]
        done = subprocess.run(words([*self.common("plan", self.number), *known]), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        plan = json.loads(done.stdout)
        found = {"training": plan["memory"]["training"] / 2**20, "total": plan["memory"]["total"] / 2**20}
        found |= {"sent": plan["traffic"]["total"]["sent"] / 1024, "step": 1e3 * plan["time"]["total"]}
        parts = ("lookup", "compute", "all_to_all", "gather", "update", "reading", "ahead")
        return found | {part: 1e3 * plan["time"][part] for part in parts}

    def round(self):
        out = self.arguments.out / "trained"
        shutil.rmtree(out, ignore_errors=True)
        self.runs.append(self.train(out))
        shutil.rmtree(out)
        self.plans.append(self.plan())

    def rows(self):
        """Lines of the table, and one of the parts."""
        plan = {k: statistics.median(p[k] for p in self.plans) for k in self.plans[0]}
        measured = {k: statistics.median(r[k] for r in self.runs) for k in self.runs[0]}
        name = f"{self.goods:,} | {self.number} x {self.threads}"
        units = {"training": "memory in training, MiB", "total": "memory at most, MiB", "sent": "sent per step, KiB", "step": "step, ms"}
        for what, unit in units.items():
            if measured[what] == 0:
                continue
            error = 100 * (plan[what] / measured[what] - 1)
            spread = f"{min(r[what] for r in self.runs):,.0f} to {max(r[what] for r in self.runs):,.0f}"
            yield f"| {name} | {unit} | {plan[what]:,.1f} | {measured[what]:,.1f} | {error:+.1f} % | {spread} |"

    def parts(self):
        plan = {k: statistics.median(p[k] for p in self.plans) for k in self.plans[0]}
        measured = {k: statistics.median(r[k] for r in self.runs) for k in self.runs[0]}
        shown = ("lookup", "compute", "all_to_all", "gather", "update", "reading", "ahead")
        rest = measured["step"] - measured["waiting"] - measured["rows"] - measured["exchanges"]
        row = [f"{plan[k]:.1f}" for k in shown] + [f"{measured[k]:.1f}" for k in ("waiting", "rows", "exchanges")] + [f"{rest:.1f}"]
        return f"| {self.goods:,} | {self.number} x {self.threads} | {' | '.join(row)} |"


def page(cases, arguments, load):
    what = f"batch {arguments.batch}, {arguments.steps} steps, level {arguments.isa}"
    yield f"# What `din plan` predicts, and what is measured, {datetime.date.today().isoformat()}\n"
    yield f"`bench/plan.py`: {what}, medians of {arguments.rounds} rounds in which plans and runs took turns."
    yield f"{run.cpu()}, {os.cpu_count()} cores. Load average at the start {load:.1f}, at the end {os.getloadavg()[0]:.1f}."
    yield "The error is that of the prediction. More threads than cores share them.\n"
    yield "| goods | ranks x threads | what | predicted | measured | error | rounds |\n| --- | --- | --- | --- | --- | --- | --- |"
    for case in cases:
        yield from case.rows()
    yield "\nParts of a step in milliseconds. The first seven are the plan's, the others the run's: waiting for data and ids, rows (finding"
    yield "them, on several ranks also their exchange), other exchanges with waiting for ranks, and the rest.\n"
    head = ["goods", "ranks x threads", "lookup", "compute", "all-to-all", "gather", "update", "reading", "ahead"]
    head += ["waiting", "rows", "exchanges", "rest"]
    yield f"| {' | '.join(head)} |\n{'| --- ' * len(head)}|"
    for case in cases:
        yield case.parts()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(n) for n in text.split(",")]
    parser.add_argument("--din", required=True)
    parser.add_argument("--library", required=True)
    parser.add_argument("--goods", type=numbers, default=[1_000_000, 10_000_000])
    parser.add_argument("--ranks", type=numbers, default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--isa", default="v3")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/bench-plan"))
    parser.add_argument("--page", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    sizes = arguments.goods
    cases = [Case(goods, n, arguments) for goods in sizes for n in arguments.ranks if goods == sizes[0] or n <= 2]
    for number in range(arguments.rounds):
        for case in cases[number % len(cases) :] + cases[: number % len(cases)]:
            case.round()
    text = "\n".join(page(cases, arguments, load)) + "\n"
    (arguments.page / f"{datetime.date.today().isoformat()}-plan.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
