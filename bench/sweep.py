"""Training steps and inference of many shapes of DIN, each beside its roofline (`roofline.py`): a cliff is a shape that is far above it.

    python bench/sweep.py [--isa v3,v4] [--tasks train,infer] [--only AXIS,AXIS,..] [--ours target/release/examples/bench_step] [--threads 2]
        [--rounds 2] [--steps 8] [--data target/bench/sweep] [--out bench/results]

One thing changes at a time: the width of the embeddings, the number of sequences, the length of histories, the sizes of the activation unit and
of the MLP, the batch; and some change together. Specs, data and weights are made for each shape, and deleted. Levels take turns. Writes
`<date>-sweep.json`, `.md` and `.svg`, where shapes beyond 1.5 times their roofline are marked. With `--only`, the day's JSON is updated and the
other two are made from the whole of it.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

import data  # noqa: E402
import isa  # noqa: E402
import roofline  # noqa: E402
import run  # noqa: E402

BEYOND = 1.5
GOODS, CITIES = 100_000, 400


@dataclasses.dataclass(frozen=True)
class Shape:
    width: int = 16
    sequences: int = 1
    # Entries of every history; 0: 31 on average and at most 100.
    history: int = 0
    unit: tuple = (80, 40)
    mlp: tuple = (200, 80)
    batch: int = 1024

    def name(self):
        sizes = ["-".join(map(str, s)) for s in (self.unit, self.mlp)]
        return f"w{self.width} s{self.sequences} h{self.history or 31} u{sizes[0]} m{sizes[1]} b{self.batch}"

    def mlp_sizes(self):
        return [self.width * (2 + self.sequences), *self.mlp, 1]


# By axis: what stands below its points, and the shapes.
AXES = {
    "width": [(n, Shape(width=n)) for n in (4, 5, 8, 12, 16, 20, 32, 48, 50, 64, 96, 128)],
    "sequences": [(n, Shape(sequences=n)) for n in (1, 2, 3, 5, 10)],
    "history": [(n, Shape(history=n, batch=1024 if n <= 100 else 256)) for n in (1, 2, 3, 5, 8, 16, 31, 100, 300, 1000)],
    "unit": [("-".join(map(str, u)), Shape(unit=u)) for u in ((16,), (24, 12), (33, 17), (36,), (50, 25), (80, 40), (100, 50), (128, 64), (200, 80))],
    "MLP": [("-".join(map(str, m)), Shape(mlp=m)) for m in ((64, 32), (100, 50), (123, 45), (200, 80), (256, 128), (400, 200, 100), (1024, 512))],
    "batch": [(n, Shape(batch=n)) for n in (256, 512, 1024, 2048, 4096)],
    "together": [
        ("w5 s3 h7", Shape(width=5, sequences=3, history=7)),
        ("w4 h1", Shape(width=4, history=1)),
        ("w20 h1000", Shape(width=20, history=1000, batch=256)),
        ("w50 s2 u50-25", Shape(width=50, sequences=2, unit=(50, 25))),
        ("w128 s10", Shape(width=128, sequences=10, batch=256)),
        ("w48 h3", Shape(width=48, history=3)),
        ("w128 h2 b4096", Shape(width=128, history=2, batch=4096)),
    ],
}


def specification(shape):
    sequences = range(shape.sequences)
    lines = ["edition 2026", "", "use std.activation.{dice, sigmoid}", "use std.attention.interest", "use std.layer.{linear, mlp}"]
    lines += ["use std.loss.cross_entropy", "use std.metric.auc", "use std.optimizer.adam", "", "model sweep {"]
    lines += [f"    features user {{ city: category({CITIES}) }}", f"    features ad {{ good_id: category({GOODS}) }}"]
    lines += [f"    sequence s{i} (keep last 1000) {{ good_id: category({GOODS}) from s{i}_ids }}" for i in sequences]
    lines += ["    label click: binary"]
    lines += [f"    embedding good [{shape.width}] for {', '.join(['ad.good_id', *(f's{i}.good_id' for i in sequences)])}"]
    lines += [f"    embedding [{shape.width}] for each of user"]
    hidden = ", ".join(map(str, shape.unit))
    lines += [f"    let t{i} = interest(embed(s{i}), embed(ad), hidden = [{hidden}], activation = sigmoid)" for i in sequences]
    tastes = "".join(f"t{i}, " for i in sequences)
    lines += [f"    let hidden = mlp(concat(embed(user), {tastes}embed(ad)), [{', '.join(map(str, shape.mlp))}], dice)"]
    lines += ["    let logit = linear(hidden, 1)", "    predict click ~ bernoulli(logit = logit)"]
    lines += [f"    train {{ loss cross_entropy(click) optimizer adam(lr = 1e-3) batch {shape.batch} epochs 1 }}", "    report auc(click)", "}"]
    return "\n".join(lines) + "\n"


def weights(shape, g):
    """The program's parameters by name."""
    found = {}

    def layer(name, k, n, alpha=False):
        limit = (6.0 / (k + n)) ** 0.5
        found[f"{name}.weight"], found[f"{name}.bias"] = g.uniform(-limit, limit, (k, n)), np.zeros(n)
        if alpha:
            found[f"{name}.alpha"] = np.zeros(n)

    for i in range(shape.sequences):
        sizes = [4 * shape.width, *shape.unit]
        for l, (k, n) in enumerate(zip(sizes, sizes[1:])):
            layer(f"t{i}.unit.{l}", k, n)
        layer(f"t{i}.linear", sizes[-1], 1)
    sizes = shape.mlp_sizes()[:-1]
    for l, (k, n) in enumerate(zip(sizes, sizes[1:])):
        layer(f"hidden.{l}", k, n, True)
    layer("logit", sizes[-1], 1)
    return found


def make(shape, folder, steps):
    """Writes what `bench_step` reads; gives a step's mean work in training."""
    g = np.random.default_rng(1)
    n, goods = shape.batch * steps, data.law(g, GOODS)
    columns = {"city": pa.array(g.integers(0, CITIES, n)), "good_id": pa.array(goods(g.random(n)))}
    entries = []
    for i in range(shape.sequences):
        lengths = np.full(n, shape.history) if shape.history else data.lengths(g, n, 31, 100)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        entries.append(goods(g.random(offsets[-1])))
        columns[f"s{i}_ids"] = pa.ListArray.from_arrays(offsets.astype(np.int32), pa.array(entries[-1]))
    columns["click"] = pa.array(g.integers(0, 2, n))
    table = pa.table(columns)
    pq.write_table(table, folder / "step.parquet", row_group_size=shape.batch)
    tables = {"good": g.normal(0.0, 0.1, (GOODS, shape.width)), "user.city": g.normal(0.0, 0.1, (CITIES, shape.width))}
    params = weights(shape, g)
    tensors = {f"init.table.{k}": v for k, v in tables.items()} | {f"init.param.{k}": v for k, v in params.items()}
    save_file({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()}, folder / "init.safetensors")
    (folder / "names.json").write_text(json.dumps({"table": {k: k for k in tables}, "param": {k: k for k in params}}))
    (folder / "spec.din").write_text(specification(shape))
    count = sum(len(e) for e in entries) / steps
    distinct = []
    for step in range(steps):
        one = table.slice(step * shape.batch, shape.batch)
        ids = [one["good_id"].to_numpy(), *(one[f"s{i}_ids"].combine_chunks().flatten().to_numpy() for i in range(shape.sequences))]
        distinct.append(len(np.unique(np.concatenate(ids))))
    layers = [x for e in entries for x in roofline.unit(len(e) / steps, shape.batch, shape.width, shape.unit)]
    layers += roofline.stack(shape.batch, shape.mlp_sizes())
    lookups = [roofline.Lookups(count + shape.batch, statistics.mean(distinct), shape.width)]
    lookups += [roofline.Lookups(shape.batch, min(shape.batch, CITIES), shape.width)]
    return roofline.Work(layers, lookups, True)


def bench_step(arguments, folder, shape, level, task, rounds, *more):
    """The lines that our side prints."""
    command = [*shlex.split(str(arguments.ours)), "--spec", folder / "spec.din", "--data", folder / "step.parquet"]
    command += ["--init", folder / "init.safetensors", "--names", folder / "names.json", "--threads", arguments.threads, "--batch", shape.batch, "--task", task, "--isa", level]
    command = [str(word) for word in [*command, "--rounds", rounds, *more]]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=os.environ | run.ENVIRONMENT)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} ended with code {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def peaks(arguments, folder, levels):
    """The peak rates of all threads together, by level: the best of some processes."""
    make(Shape(), folder, 2)
    found = {level: [] for level in levels}
    for _ in range(5):
        for level in levels:
            found[level].append(bench_step(arguments, folder, Shape(), level, "infer", 1, "--roofline")[-1])
    return {level: {rate: max(one[rate] for one in of) for rate in ("flops", "cache_bytes", "bytes")} for level, of in found.items()}


def measure(arguments, folder, shape, peak, tasks):
    """By task and level: least of the rounds' median steps, its roofline, floor and their parts."""
    work = make(shape, folder, arguments.steps)
    rounds = {}
    for _ in range(arguments.rounds):
        for task in tasks:
            for level in peak:
                (one,) = bench_step(arguments, folder, shape, level, task, 1)
                rounds.setdefault((task, level), []).append(1e3 * statistics.median(one["step_seconds"]))
    found = {}
    for (task, level), ms in rounds.items():
        done = dataclasses.replace(work, train=task == "train")
        found[f"{task} {level}"] = {
            "ms": min(ms),
            "ms_by_round": ms,
            "roofline_ms": 1e3 * done.roofline(peak[level]),
            "floor_ms": 1e3 * done.floor(peak[level]),
            "gflop": done.operations() / 1e9,
            "product_mb": done.product_bytes() / 1e6,
            "row_mb": done.row_bytes() / 1e6,
        }
    return found


def ratio(of):
    return of["ms"] / of["roofline_ms"]


def markdown(record, picture):
    series = list(record["peak"])
    lines = [f"# Shapes, {record['date']}", "", f"{record['cpu']}, {record['threads']} thread(s). {run.loads(record)}", ""]
    lines += ["Time of a step over its [roofline](../README.md#shapes); above 1.5 in bold. The parts: products at the peak"]
    lines += ["of all threads, what they read and write at the bandwidth of second-level caches, rows of tables at that of", "memory.", ""]
    for level in series:
        p = record["peak"][level]
        rates = f"{p['flops'] / 1e9:.0f} GFLOP/s, {p['cache_bytes'] / 1e9:.0f} GB/s in second-level caches, {p['bytes'] / 1e9:.1f} GB/s from memory"
        lines += [f"Level {level}, all threads: {rates}.", ""]
    lines += [f"![Time over roofline, by shape]({picture})", ""]
    points = [(axis, point) for axis, found in record["axes"].items() for point in found]
    columns = list(dict.fromkeys(key for _, point in points for key in point["measured"]))
    for key in columns:
        ratios = [ratio(point["measured"][key]) for _, point in points]
        beyond, median, most = sum(r > BEYOND for r in ratios), statistics.median(ratios), max(ratios)
        lines += [f"- {key}: {beyond} of {len(ratios)} shapes beyond {BEYOND}, the median {median:.2f}, the most {most:.2f}."]
    head = ["changed", "shape", *(f"{key}: {what}" for key in columns for what in ("ms", "over roofline", "of the floor"))]
    lines += ["", f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for axis, point in points:
        row = [axis, f"`{point['shape']}`"]
        for key in columns:
            m = point["measured"][key]
            over = f"{ratio(m):.2f}"
            row += [f"{m['ms']:.2f}", f"**{over}**" if ratio(m) > BEYOND else over, f"{100 * m['floor_ms'] / m['ms']:.0f} %"]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def plot(record, path):
    """One panel per axis, one line per task and level; marks of shapes beyond the bound are filled."""
    matplotlib.rcParams["svg.hashsalt"] = "din"
    axes = record["axes"]
    figure, panels = plt.subplots(2, 4, figsize=(15, 7), sharey=True)
    keys = list(dict.fromkeys(key for points in axes.values() for point in points for key in point["measured"]))
    colors = dict(zip(keys, plt.get_cmap("tab10").colors))
    for panel, (axis, points) in zip(panels.flat, axes.items()):
        for key in keys:
            ratios = [ratio(point["measured"][key]) for point in points]
            panel.plot(range(len(points)), ratios, color=colors[key], linewidth=1, linestyle="none" if axis == "together" else "-")
            for at, r in enumerate(ratios):
                panel.plot(at, r, "o", color=colors[key], markersize=5, markerfacecolor=colors[key] if r > BEYOND else "white")
        panel.axhline(1.0, color="black", linewidth=0.8)
        panel.axhline(BEYOND, color="red", linewidth=0.8, linestyle="--")
        panel.set_title(axis, fontsize=10)
        panel.set_xticks(range(len(points)), [str(point["label"]) for point in points], fontsize=7, rotation=40, ha="right")
        panel.spines[["top", "right"]].set_visible(False)
    for panel in list(panels.flat)[len(axes) :]:
        panel.axis("off")
    for row in panels:
        row[0].set_ylabel("time over roofline")
    panels[0][0].set_ylim(bottom=0)
    handles = [plt.Line2D([], [], color=colors[key], marker="o") for key in keys]
    figure.legend(handles, keys, fontsize=9, loc="lower right", frameon=False, title=f"filled: beyond {BEYOND}")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    has = isa.level()
    below = isa.LEVELS[: isa.LEVELS.index(has) + 1] if has in isa.LEVELS else [has]
    parser.add_argument("--isa", default=",".join(below), help="levels [default: all that this machine has, %(default)s]")
    parser.add_argument("--tasks", default="train,infer")
    parser.add_argument("--only", default=",".join(AXES), help=f"some of {', '.join(AXES)}")
    parser.add_argument("--ours", default="target/release/examples/bench_step", help="our binary")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2, help="processes that measure each shape, task and level; the least of their medians counts")
    parser.add_argument("--steps", type=int, default=8, help="batches of each shape")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("target/bench/sweep"), help="folder for data, deleted in the end")
    parser.add_argument("--out", type=pathlib.Path, default=run.HERE / "results")
    arguments = parser.parse_args()
    names, levels, tasks = arguments.only.split(","), arguments.isa.split(","), arguments.tasks.split(",")
    if unknown := [n for n in names if n not in AXES]:
        raise SystemExit(f"no axis {', '.join(unknown)}; there are {', '.join(AXES)}")
    if unknown := [level for level in levels if level not in below]:
        raise SystemExit(f"--isa {','.join(unknown)}: this machine has {', '.join(below)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.data.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"{datetime.date.today().isoformat()}-sweep"
    file = stem.with_suffix(".json")
    before = json.loads(file.read_text(encoding="utf-8"))["axes"] if file.exists() else {}
    peak, load, measured = peaks(arguments, arguments.data, levels), [os.getloadavg()[0]], {}
    try:
        for axis in names:
            points = []
            for label, shape in AXES[axis]:
                # A shape of several axes is measured once.
                if shape not in measured:
                    measured[shape] = measure(arguments, arguments.data, shape, peak, tasks)
                points.append({"label": label, "shape": shape.name(), "measured": measured[shape]})
                ratios = ", ".join(f"{key} {ratio(m):.2f}" for key, m in measured[shape].items())
                print(f"{axis} {label}: {ratios}", file=sys.stderr)
            before[axis] = points
    finally:
        shutil.rmtree(arguments.data)
    record = {"date": datetime.date.today().isoformat(), "cpu": run.cpu(), "threads": arguments.threads, "load": [*load, os.getloadavg()[0]]}
    record |= {"peak": peak, "axes": {axis: before[axis] for axis in AXES if axis in before}}
    file.write_text(json.dumps(record, indent=1) + "\n")
    text = markdown(record, f"{stem.name}.svg")
    stem.with_suffix(".md").write_text(text)
    plot(record, stem.with_suffix(".svg"))
    print(text)


if __name__ == "__main__":
    main()
