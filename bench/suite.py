"""The whole comparison: ours and the peers in every configuration, each configuration one interleaved run by `run.py`'s functions.

    python bench/suite.py [--only NAME,NAME,..] [--isa v3|v4] [--ours target/release/examples/bench_step] [--rounds 5]
        [--data target/bench] [--out bench/results] [--tolerance 1e-4]

Writes `<date>-suite-<level>.json`, `.md` and `.svg`. With `--isa v3` on a machine that has AVX-512, all sides are held to AVX2 (`isa.py`), and those
that cannot be are named. With `--only`, the day's JSON is updated and the other two are made from the whole of it. A configuration that fails, or
whose losses disagree by more than `--tolerance`, keeps what the JSON says of it, and the exit code is 1. `--ours ""` leaves our side out. Our
side also measures the peak of this machine, for the floor that `roofline.py` defines. Peers whose packages are missing are left out, with a line
that says so. `summary.py` sets the results of several levels side by side.
"""

import argparse
import datetime
import json
import pathlib
import shlex
import subprocess
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

import isa  # noqa: E402
import roofline  # noqa: E402
import run  # noqa: E402

# Options of data.py by folder.
DATA = {
    "din": ["--rank"],
    "batch-256": ["--batch", "256"],
    "batch-4096": ["--batch", "4096"],
    "short": ["--mean", "10", "--most", "20"],
}
RUNTIMES = ["onnxruntime", "openvino"]
BEST = ["compile-split", "compile-split-sparse", "jax:split"]
CONFIGURATIONS = {
    "din": {
        "title": "DIN, batch 1024, histories of 31 on average and at most 100, 2 threads",
        "peers": ["eager-split", *BEST, "compile-padded", "fuxictr:padded", "deepctr:padded"],
    },
    "din-1t": {"title": "DIN as above, 1 thread", "peers": [*BEST, "compile-padded"], "threads": 1},
    "batch-256": {"title": "DIN, batch 256, 2 threads", "peers": BEST, "batch": 256, "data": "batch-256"},
    "batch-4096": {"title": "DIN, batch 4096, 2 threads", "peers": BEST, "batch": 4096, "data": "batch-4096"},
    "short": {"title": "DIN, batch 1024, histories of 10 on average and at most 20, 2 threads", "peers": BEST, "data": "short"},
    "base": {"title": "Base model (histories summed), batch 1024, 2 threads", "peers": ["eager-split", *BEST], "model": "base"},
    "dice": {"title": "DIN with Dice in the activation unit, batch 1024, 2 threads", "peers": ["eager-split", *BEST], "unit": "dice"},
    "infer": {
        "title": "Inference with DIN, batch 1024, 2 threads",
        "peers": ["eager-split", "compile-split", "jax:split", *(f"{r}:{m}" for r in RUNTIMES for m in ("split", "chunks")), "compile-padded"],
        "task": "infer",
    },
    "rank": {
        "title": "Ranking with DIN: requests of 500 candidates, 100 behaviours, 2 threads",
        "peers": ["eager-split", "compile-split", "jax:split", *(f"{r}:{m}" for r in RUNTIMES for m in ("fold", "batched", "split"))],
        "task": "rank",
        "batch": 500,
    },
}
OURS = "{} --spec {{spec}} --data {{data}} --init {{init}} --names {} --threads {{threads}} --batch {{batch}} --isa {{isa}}"


def present(peers):
    """Those whose packages are there."""
    out = []
    for mode in peers:
        family = mode.split(":")[0] if ":" in mode else "torch"
        if run.versions(family):
            out.append(mode)
        else:
            print(f"{mode} is left out: set PYTHON_{family.upper()} to an interpreter with its packages", file=sys.stderr)
    return out


def measure(name, arguments):
    c = CONFIGURATIONS[name]
    data, task, model, unit = c.get("data", "din"), c.get("task", "train"), c.get("model", "din"), c.get("unit", "sigmoid")
    folder = arguments.data / data
    parquet = folder / ("rank.parquet" if task == "rank" else "step.parquet")
    if not parquet.exists():
        run.make_data(folder, *DATA[data])
    init, spec = folder / "init.safetensors", run.specification(model, unit, task)
    setting = run.Setting(spec, parquet, init, c.get("threads", 2), c.get("batch", 1024), model, unit, task, isa=arguments.isa)
    ours = None
    if arguments.ours:
        ours = OURS.format(shlex.quote(str(arguments.ours)), shlex.quote(str(run.HERE / "names.json")))
        ours += " --task infer" * (task != "train")
    floor = None
    if ours:
        command = setting.command(f"{ours} --roofline")
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=setting.environment())
        if done.returncode or not done.stdout.strip():
            raise SystemExit(f"{shlex.join(command)} printed nothing or failed (exit code {done.returncode})")
        peak, work = json.loads(done.stdout.splitlines()[-1]), roofline.of(setting)
        floor = {"peak": peak, "operations": work.operations(), "ms": 1e3 * work.floor(peak)}
    record = run.measure(setting, ours, present(c["peers"]), arguments.rounds) | {"title": c["title"], "floor": floor}
    for side in record["sides"].values():
        side["last_loss"] = side.pop("losses")[-1]
    return record


def share(record):
    """The share of the floor: its time divided by that of our side."""
    return record["floor"]["ms"] / record["sides"]["din"]["ms"]


def floor_line(record):
    floor = record["floor"]
    told = f"Floor: {floor['ms']:.2f} ms, the {floor['operations'] / 1e9:.3f} GFLOP of the products at {floor['peak']['flops'] / 1e9:.0f} GFLOP/s"
    return f"{told} of {record['threads']} thread(s) at once; din reaches {100 * share(record):.0f} % of its speed."


def peers(record):
    return {n: s for n, s in record["sides"].items() if n != "din"}


def markdown(date, level, records, picture):
    lines = [
        f"# Comparison at level {level}, {date}",
        "",
        f"{run.setup(list(records.values()))}.",
        "",
        "Medians of interleaved rounds. `lazy`: only touched rows move; `whole`: Adam on whole tables.",
        "CPU ms: process time over all threads. Over ours: above 1 we are faster. Of the floor: its time over ours",
        "([definition](../README.md#the-floor)).",
        "",
    ]
    if any("din" in r["sides"] for r in records.values()):
        lines += [f"![Time of each peer over ours]({picture})", ""]
        lines += ["| configuration | ours, ms | ours, samples/s | of the floor | fastest peer | its time over ours |", "| --- " * 6 + "|"]
        for name, r in records.items():
            if "din" in r["sides"] and peers(r):
                ours, (best, s) = r["sides"]["din"], min(peers(r).items(), key=lambda item: item[1]["ms"])
                row = [name, f"{ours['ms']:.2f}", f"{ours['samples_per_second']:,.0f}", f"{100 * share(r):.0f} %", best, f"{s['ms'] / ours['ms']:.2f}"]
                lines += [f"| {' | '.join(row)} |"]
        lines += [""]
    for name, r in records.items():
        told = [f"{r['title']}.", f"{r['round_count']} rounds.", run.loads(r), run.held(r)]
        lines += [f"## {name}", "", " ".join(t for t in told if t), "", *run.table(r), ""]
        if r["floor"]:
            lines += [floor_line(r), ""]
    return "\n".join(lines[:-1]) + "\n"


def plot(records, path):
    """One group a configuration, one bar a peer: its time over ours."""
    shown = {n: r for n, r in records.items() if "din" in r["sides"] and peers(r)}
    if not shown:
        return
    modes = list(dict.fromkeys(m for r in shown.values() for m in peers(r)))
    colors = dict(zip(modes, plt.get_cmap("tab20").colors))
    matplotlib.rcParams["svg.hashsalt"] = "din"
    figure, axes = plt.subplots(figsize=(13, 4.8))
    at, ticks = 0.0, []
    for record in shown.values():
        bars = sorted(peers(record).items(), key=lambda item: item[1]["ms"])
        ours = record["sides"]["din"]["ms"]
        for k, (mode, side) in enumerate(bars):
            ratio = side["ms"] / ours
            axes.bar(at + k, ratio, 0.9, color=colors[mode])
            axes.annotate(f"{ratio:.1f}", (at + k, ratio), (0, 2), textcoords="offset points", ha="center", fontsize=7)
        ticks.append(at + (len(bars) - 1) / 2)
        at += len(bars) + 1
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
    axes.yaxis.set_minor_formatter(lambda v, _: f"{v:g}" if f"{v:.0e}"[0] in "235" else "")
    axes.set_xticks(ticks, list(shown))
    axes.set_ylabel("time over ours")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colors[m]) for m in modes]
    axes.legend(handles, modes, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CONFIGURATIONS), help=f"some of {', '.join(CONFIGURATIONS)}")
    parser.add_argument("--isa", choices=isa.LEVELS, default=isa.level(), help="level that all sides are held to [default: the machine's, %(default)s]")
    parser.add_argument("--ours", default="target/release/examples/bench_step", help="our binary; empty for none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("target/bench"), help="folder of the configurations' data")
    parser.add_argument("--out", type=pathlib.Path, default=run.HERE / "results")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := [n for n in names if n not in CONFIGURATIONS]:
        raise SystemExit(f"no configuration {', '.join(unknown)}; there are {', '.join(CONFIGURATIONS)}")
    if arguments.ours and not pathlib.Path(arguments.ours).is_file():
        raise SystemExit(f"{arguments.ours} is missing: cargo build --release -p din-tests --example bench_step, or give --ours")
    arguments.out.mkdir(parents=True, exist_ok=True)
    date = datetime.date.today().isoformat()
    stem = arguments.out / f"{date}-suite-{arguments.isa}"
    isa.limits(arguments.isa, isa.level())
    failed = []
    for name in names:
        print(f"{name}: {CONFIGURATIONS[name]['title']}", file=sys.stderr)
        try:
            record = measure(name, arguments)
            run.check(record, arguments.tolerance)
        except SystemExit as e:
            # The other configurations still count.
            print(f"{name}: {e}", file=sys.stderr)
            failed.append(name)
            continue
        file = stem.with_suffix(".json")
        records = json.loads(file.read_text())["configurations"] if file.exists() else {}
        records[name] = record
        records = {n: records[n] for n in CONFIGURATIONS if n in records}
        file.write_text(json.dumps({"date": date, "isa": arguments.isa, "configurations": records}, indent=1) + "\n")
        stem.with_suffix(".md").write_text(markdown(date, arguments.isa, records, f"{stem.name}.svg"))
        plot(records, stem.with_suffix(".svg"))
        print("\n".join([record["title"], "", *run.table(record)] + [floor_line(record)] * bool(record["floor"]) + [""]))
    if failed:
        raise SystemExit(f"without a result: {', '.join(failed)}; the errors are above")


if __name__ == "__main__":
    main()
