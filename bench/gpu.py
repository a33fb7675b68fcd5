"""Training and inference on a GPU, ours and PyTorch's, interleaved on the same data, weights and batch order, by `run.py`'s functions.

    python bench/gpu.py [--ours target/release/examples/bench_step] [--device cuda:0] [--only train-4096,..] [--rounds 5]
        [--budget SECONDS] [--patience SECONDS] [--data target/bench-gpu] [--out bench/results]
    python bench/gpu.py --rehearse [--only ..]

Writes `<date>-gpu-<name>.json` and `.md`, `h100` for one; what other calls of the day have written there stays. Each side sends a round's steps one
after the other and waits at its end; a step is the mean. Losses must agree within `--tolerance` (TF32 and BF16: `--loose`); where they do not, what was
measured is written and marked as no result. Configurations stand in the order of their worth. With `--budget` none is begun that has no time left, and those left out are named; a peer that fails, or is not ready after
`--patience` seconds (it compiles), is left out of its configuration and named there. A floor is what the step cannot be faster than on this GPU: its
products at the rate of the largest product that PyTorch does here, or the bytes that it must move at the rate of a copy, whichever takes longer.

`--rehearse` runs all of this without a GPU at small sizes, peers on the CPU, ours there too or, where DIN_CUDA_DRIVER names a fake driver, on that.
"""

import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time
import traceback

import numpy as np
import pyarrow.parquet as pq

import nvrtc
import run
import workload as W

# Least seconds in which a configuration is worth beginning.
LEAST = 30


def training(batch, peers, **more):
    return {"batch": batch, "peers": peers, "task": "train", "steps": 24, "goods": 100_000, "precision": "f32"} | more


CONFIGURATIONS = {
    "train-4096": training(4096, ["compile-split", "compile-split-sparse", "compile-padded", "eager-split", "eager-padded"]),
    "train-65536": training(65536, ["compile-split", "compile-split-sparse", "eager-split"], steps=6),
    "infer-4096": training(4096, ["compile-split", "eager-split"], task="infer"),
    "train-65536-tf32": training(65536, ["compile-split-dense-tf32", "compile-split-sparse-tf32"], steps=6, precision="tf32"),
    # In BF16 ours alone: the peer says what TF32 takes, and checks the losses.
    "train-65536-bf16": training(65536, ["compile-split-sparse-tf32"], steps=6, precision="bf16"),
    "train-4096-tuned": training(4096, ["tune-split-sparse", "tune-padded"], patience=300),
    "rows-1e7": training(4096, ["compile-split-sparse"], goods=10**7),
    "train-1024": training(1024, ["compile-split", "compile-split-sparse"]),
    "infer-65536": training(65536, ["compile-split", "eager-split"], steps=6, task="infer"),
    "rows-1e8": training(4096, ["compile-split-sparse"], goods=10**8, grows=True, patience=240),
    "rows-1e6": training(4096, ["compile-split-sparse"], goods=10**6),
    "train-16384": training(16384, ["compile-split", "compile-split-sparse"], steps=12),
    "train-4096-tf32": training(4096, ["compile-split-dense-tf32", "compile-split-sparse-tf32"], precision="tf32"),
}
OURS = "{} --serve --profile --spec {{spec}} --data {{data}} --init {{init}} --names {} --threads 4 --batch {{batch}} --device {} --precision {}"
# How the two sides differ in what is timed.
NOTES = [
    "Peers' batches lie in the GPU's memory before timing begins; ours come from the host's within the timed steps: ids become row numbers, and "
    "these are staged and sent. Without training ours waits for each batch and reads its predictions, peers wait for the last one only.",
    "`compile` is torch.compile (with CUDA graphs where sizes stay: `padded`), `tune` the same with max-autotune; seconds to compile are not "
    "counted and stand below each table.",
]


def rehearsal(c):
    """The same at a size for two cores, with tables on the same side of each threshold."""
    goods = c["goods"] if c["goods"] <= W.LARGE else W.LARGE + c["goods"] // 100
    return c | {"batch": min(c["batch"] // 64, 256), "steps": 3, "goods": goods}


def specification(c, folder):
    """The model with so many goods; a table beyond 2^24 rows grows as ids come."""
    spec = run.specification("din", "sigmoid")
    if c["goods"] == 100_000:
        return spec
    size = "category" if c.get("grows") else f"category({c['goods']})"
    path = folder / "spec.din"
    path.write_text(spec.read_text().replace("category(100_000)", size))
    return path


def flops(entries, samples, backward):
    """Of the products alone: two operations a multiply-add."""
    e, (u0, u1), (h0, h1) = W.ITEM_WIDTH, W.UNIT, W.HIDDEN
    by_entry = 2 * e * u0 + u0 * u1 + u1
    by_sample = e * u0 + W.MLP_WIDTH * h0 + h0 * h1 + h1
    return 2 * (entries * by_entry + samples * by_sample) * (3 if backward else 1)


def needed(parquet, batch, backward):
    """Operations of a step's products, and bytes that it must move: rows of tables read; in training, Adam's rows read and written too."""
    table = pq.read_table(parquet).combine_chunks()
    steps = table.num_rows // batch
    found = {"flops": [], "bytes": []}
    lists = {n: table[f"visited_{n}_ids"].chunk(0) for n in W.ITEMS}
    offsets = lists["good"].offsets.to_numpy()
    for k in range(steps):
        rows, at = slice(k * batch, (k + 1) * batch), (offsets[k * batch], offsets[(k + 1) * batch])
        entries, row = int(at[1] - at[0]), 4 * W.WIDTH
        moved = (entries * len(W.ITEMS) + batch * len(W.ITEMS | W.SCALARS)) * (row + 4)
        if backward:
            for n in W.ITEMS:
                values = lists[n].values.to_numpy()[at[0] : at[1]]
                moved += 6 * row * len(np.unique(np.concatenate([values, table[f"{n}_id"].to_numpy()[rows]])))
        found["flops"].append(flops(entries, batch, backward))
        found["bytes"].append(moved)
    return {k: float(np.mean(v)) for k, v in found.items()}


def roof(arguments):
    command = [run.interpreter("torch"), str(run.HERE / "peers" / "roof.py"), arguments.peers_device]
    command += ["--size", "256"] * arguments.rehearse
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def folder_of(c, arguments):
    return arguments.data / f"{c['batch']}-{c['goods']}"


def prepare(configurations, arguments):
    """Makes the data that are missing, all at once: nothing is timed yet."""

    def make(c):
        options = ["--batch", str(c["batch"]), "--steps", str(c["steps"])]
        command = [sys.executable, str(run.HERE / "data.py"), "--out", str(folder_of(c, arguments)), *options]
        subprocess.run(command, check=True, env=os.environ | {"BENCH_GOODS": str(c["goods"])})

    missing = {folder_of(c, arguments): c for c in configurations.values() if not (folder_of(c, arguments) / "init.safetensors").exists()}
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(make, missing.values()))


def measure(name, c, arguments, found_roof, patience):
    os.environ["BENCH_GOODS"] = str(c["goods"])
    folder, precision, batch, task = folder_of(c, arguments), c["precision"], c["batch"], c["task"]
    parquet, spec = folder / "step.parquet", specification(c, folder)
    setting = run.Setting(spec, parquet, folder / "init.safetensors", 4, batch, "din", "sigmoid", task, arguments.peers_device)
    names = shlex.quote(str(run.HERE / "names.json"))
    ours = OURS.format(shlex.quote(str(arguments.ours)), names, arguments.device, precision)
    ours += " --task infer" * (task == "infer")
    # A growing table has no rows before ids come.
    ours += f" --prefill {c['goods']}" * c.get("grows", False)
    # What goes to its error stream is the profile, made when all rounds are done.
    with tempfile.TemporaryFile("w+") as errors:
        try:
            side = run.Side("din", True if task == "train" else None, {}, setting.command(ours), setting.environment(), errors)
            record = run.measure(setting, side, c["peers"], arguments.rounds, patience)
        finally:
            errors.seek(0)
            profile = errors.read().splitlines()
            print("\n".join(profile[:40]), file=sys.stderr)
    work = needed(parquet, batch, task == "train")
    floor = 1e3 * max(work["flops"] / found_roof[precision], work["bytes"] / found_roof["bytes"])
    record |= {"name": name, "goods": c["goods"], "precision": precision, "kernels": profile[:24]} | work | {"floor_ms": floor}
    # Longer tables begin with weights of each side's own.
    if c["goods"] <= W.LARGE:
        try:
            run.check(record, arguments.tolerance if precision == "f32" else arguments.loose)
        except SystemExit as e:
            # Kept, so that it can be looked at.
            record["wrong"] = str(e)
    else:
        record["note"] = "Its weights are each side's own, so losses differ."
    for side in record["sides"].values():
        side["last_loss"] = side.pop("losses")[-1]
    return record


def markdown(date, records, found_roof, left_out):
    lines = [f"# On a GPU, {date}", "", f"{found_roof['name']}; {run.setup(list(records.values()))}.", ""]
    rates = ", ".join(f"{k} {found_roof[k] / 1e12:.1f} TFLOP/s" for k in ("f32", "tf32", "bf16"))
    lines += [f"Measured roof: {rates}, copy {found_roof['bytes'] / 1e9:,.0f} GB/s.", ""]
    for note in NOTES:
        lines += [note, ""]
    lines += ["| configuration | ours, ms | ours, samples/s | of the floor's speed | fastest peer | its time over ours |", "| --- " * 6 + "|"]
    for name, r in records.items():
        ours, others = r["sides"]["din"], {n: s for n, s in r["sides"].items() if n != "din"}
        row = [f"{name}: NO RESULT, losses differ" if "wrong" in r else name, f"{ours['ms']:.3f}", f"{ours['samples_per_second']:,.0f}", f"{100 * r['floor_ms'] / ours['ms']:.0f} %"]
        if others:
            best, s = min(others.items(), key=lambda item: item[1]["ms"])
            row += [best, f"{s['ms'] / ours['ms']:.2f}"]
        lines.append(f"| {' | '.join(row + [''] * (6 - len(row)))} |")
    lines += [""] + [f"Left out: {', '.join(left_out)}.", ""] * bool(left_out)
    for name, r in records.items():
        lines += [f"## {name}", "", *run.table(r), "", f"Floor: {r['floor_ms']:.3f} ms.", ""]
        ready = ", ".join(f"{n} {s['ready_seconds']:.0f} s" for n, s in r["sides"].items())
        lines += [f"Ready after: {ready}.", ""]
        lines += [f"No result: {r['wrong']}.", ""] if "wrong" in r else []
        lines += [r["note"], ""] if "note" in r else []
        for peer, why in r["dropped"].items():
            lines += [f"Left out, {peer}: {why}.", ""]
        lines += ["```text", *r["kernels"], "```", ""] if r["kernels"] else []
    return "\n".join(lines[:-1]) + "\n"


def write(stem, record, arguments, found_roof, left_out):
    """Adds a record to those of the day's earlier calls, if there is one, and writes both files."""
    date, file = datetime.date.today().isoformat(), stem.with_name(f"{stem.name}.json")
    records = json.loads(file.read_text())["configurations"] if file.exists() else {}
    if record:
        records[record["name"]] = record
    records = {n: records[n] for n in CONFIGURATIONS if n in records}
    file.write_text(json.dumps({"date": date, "roof": found_roof, "configurations": records}, indent=1) + "\n")
    text = markdown(date, records, found_roof, [n for n in left_out if n not in records]) if records else ""
    stem.with_name(f"{stem.name}.md").write_text(text)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CONFIGURATIONS), help=f"some of {', '.join(CONFIGURATIONS)}")
    parser.add_argument("--ours", type=pathlib.Path, default=pathlib.Path("target/release/examples/bench_step"))
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds")
    parser.add_argument("--patience", type=float, default=150.0, help="seconds until a configuration's peers are compiled")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("target/bench-gpu"))
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--loose", type=float, default=2e-2)
    parser.add_argument("--rehearse", action="store_true")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := [n for n in names if n not in CONFIGURATIONS]:
        raise SystemExit(f"no configuration {', '.join(unknown)}; there are {', '.join(CONFIGURATIONS)}")
    begin = time.monotonic()
    # Tells of parts that PyTorch runs without CUDA graphs, and of what it compiles anew, and why.
    os.environ.setdefault("TORCH_LOGS", "perf_hints,recompiles")
    arguments.peers_device = arguments.device
    configurations = {n: CONFIGURATIONS[n] for n in names}
    if arguments.rehearse:
        os.environ["BENCH_REHEARSAL"] = "1"
        arguments.peers_device = "cpu"
        arguments.device = "cuda:0" if "DIN_CUDA_DRIVER" in os.environ else "cpu"
        arguments.data = arguments.data / "rehearsal"
        configurations = {n: rehearsal(c) for n, c in configurations.items()}
    elif "DIN_NVRTC" not in os.environ and (found := nvrtc.find()):
        os.environ["DIN_NVRTC"] = str(found)
    out = arguments.out or (arguments.data / "results" if arguments.rehearse else run.HERE / "results")
    out.mkdir(parents=True, exist_ok=True)
    prepare(configurations, arguments)
    found_roof = roof(arguments)
    kind = re.search(r"[a-z]+\d+\w*", found_roof["name"].lower())
    stem = out / f"{datetime.date.today().isoformat()}-gpu{f'-{kind[0]}' if kind else ''}"
    left_out, failed = [], []
    for name, c in configurations.items():
        passed = time.monotonic() - begin
        left = arguments.budget - passed
        if left < LEAST:
            left_out.append(name)
            continue
        print(f"== {name}, {passed:.0f} s", file=sys.stderr)
        try:
            patience = max(arguments.patience, c.get("patience", 0))
            record = measure(name, c, arguments, found_roof, min(patience, left - LEAST / 2))
            write(stem, record, arguments, found_roof, left_out)
            if "wrong" in record:
                print(f"{name}: {record['wrong']}", file=sys.stderr)
                failed.append(name)
        except (Exception, SystemExit) as e:  # noqa: BLE001
            # The other configurations still count.
            print(f"{name}: {e}", file=sys.stderr)
            traceback.print_exc()
            failed.append(name)
    print(write(stem, None, arguments, found_roof, left_out))
    if failed:
        raise SystemExit(f"without a result: {', '.join(failed)}; the errors are above")


if __name__ == "__main__":
    main()
