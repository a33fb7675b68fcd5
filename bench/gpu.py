"""Training and inference on a GPU, ours and PyTorch's, interleaved on the same data, weights and batch order: `run.py`'s functions with
`--device cuda:0`.

    python bench/gpu.py [--ours target/release/examples/bench_step] [--device cuda:0] [--only train-4096,..] [--rounds 5]
        [--budget SECONDS] [--data target/bench-gpu] [--out bench/results]

Writes `<date>-gpu.json` and `.md`. Each side sends a round's steps one after the other and waits at its end; a step is the mean. Losses
must agree within `--tolerance` (TF32 and BF16: `--loose`). Configurations stand in the order of their worth; with `--budget` none is begun that
would not end in time, and those left out are named. A floor is what the step cannot be faster than on this GPU: its products at the rate of
the largest product that PyTorch does here, or the bytes that it must move at the rate of a copy, whichever takes longer.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq

import run
import workload as W

PADDED = ["eager-padded", "compile-padded"]
SPLIT = ["eager-split", "compile-split", "compile-split-sparse"]


def training(batch, peers, **more):
    return {"batch": batch, "peers": peers, "task": "train"} | more


CONFIGURATIONS = {
    "train-4096": training(4096, [*SPLIT, *PADDED]),
    "train-65536": training(65536, ["eager-split", "compile-split"], steps=6),
    "train-65536-tf32": training(65536, ["compile-split-dense-tf32"], steps=6, precision="tf32"),
    "train-4096-tf32": training(4096, ["compile-split-dense-tf32"], precision="tf32"),
    "train-1024": training(1024, SPLIT),
    "infer-4096": training(4096, ["eager-split", "compile-split"]) | {"task": "infer"},
    "infer-65536": training(65536, ["eager-split", "compile-split"], steps=6) | {"task": "infer"},
    "train-16384": training(16384, ["eager-split", "compile-split"], steps=12),
    "train-65536-bf16": training(65536, [], steps=6, precision="bf16"),
    "rows-1e6": training(4096, ["compile-split-sparse"], goods=10**6),
    "rows-1e7": training(4096, ["compile-split-sparse"], goods=10**7),
    "rows-1e8": training(4096, ["compile-split-sparse"], goods=10**8, rounds=2),
}
OURS = "{} --spec {{spec}} --data {{data}} --init {{init}} --names {} --threads 4 --batch {{batch}} --device {{device}} --precision {}"


def specification(goods, folder):
    """The model with so many goods; a table beyond 2^24 rows grows as ids come."""
    spec = run.specification("din", "sigmoid")
    if goods == 100_000:
        return spec
    size = f"category({goods})" if goods <= 1 << 24 else "category"
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


ROOF = """
import json, sys, time, torch
torch.set_default_device(sys.argv[1])
def rate(f, amount):
    f(); f(); torch.cuda.synchronize()
    best = 1e9
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(4): f()
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / 4)
    return amount / best
n = 8192
x = torch.randn(n, n)
out = {"name": torch.cuda.get_device_name(), "bytes": rate(lambda y=torch.empty(1 << 28), z=torch.empty(1 << 28): y.copy_(z), 2 * (1 << 30))}
for name, precision in (("f32", "highest"), ("tf32", "high")):
    torch.set_float32_matmul_precision(precision)
    out[name] = rate(lambda: x @ x, 2 * n**3)
b = x.bfloat16()
out["bf16"] = rate(lambda: b @ b, 2 * n**3)
print(json.dumps(out))
"""


def roof(device):
    done = subprocess.run([run.interpreter("torch"), "-c", ROOF, device], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(name, arguments, found_roof):
    c = CONFIGURATIONS[name]
    goods, precision, task, batch = c.get("goods", 100_000), c.get("precision", "f32"), c["task"], c["batch"]
    os.environ["BENCH_GOODS"] = str(goods)
    W.ITEMS["good"] = goods
    folder = arguments.data / f"{batch}-{goods}"
    parquet = folder / "step.parquet"
    if not parquet.exists():
        run.make_data(folder, "--batch", str(batch), "--steps", str(c.get("steps", 24)))
    setting = run.Setting(
        specification(goods, folder), parquet, folder / "init.safetensors", 4, batch, "din", "sigmoid", task, arguments.device
    )
    ours = OURS.format(shlex.quote(str(arguments.ours)), shlex.quote(str(run.HERE / "names.json")), precision)
    ours += " --task infer" * (task == "infer")
    # A growing table has no rows before ids come.
    ours += f" --prefill {goods}" * (goods > 1 << 24)
    peers = c["peers"]
    record = run.measure(setting, ours, peers, c.get("rounds", arguments.rounds)) | {"name": name, "goods": goods, "precision": precision}
    work = needed(parquet, batch, task == "train")
    floor = 1e3 * max(work["flops"] / found_roof[precision], work["bytes"] / found_roof["bytes"])
    record |= work | {"floor_ms": floor}
    if goods <= 1 << 20:
        run.check(record, arguments.tolerance if precision == "f32" else arguments.loose)
    for side in record["sides"].values():
        side["last_loss"] = side.pop("losses")[-1]
    profile = subprocess.run(
        setting.command(f"{ours} --profile"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        env=setting.environment(),
    )
    record["kernels"] = profile.stderr.splitlines()[:24]
    return record


def markdown(date, records, found_roof, left_out):
    lines = [f"# On a GPU, {date}", "", f"{found_roof['name']}; {run.setup(list(records.values()))}.", ""]
    rates = ", ".join(f"{k} {found_roof[k] / 1e12:.1f} TFLOP/s" for k in ("f32", "tf32", "bf16"))
    lines += [f"Measured roof: {rates}, copy {found_roof['bytes'] / 1e9:,.0f} GB/s.", ""]
    lines += ["| configuration | ours, ms | ours, samples/s | of the floor's speed | fastest peer | its time over ours |", "| --- " * 6 + "|"]
    for name, r in records.items():
        ours, others = r["sides"]["din"], {n: s for n, s in r["sides"].items() if n != "din"}
        row = [name, f"{ours['ms']:.3f}", f"{ours['samples_per_second']:,.0f}", f"{100 * r['floor_ms'] / ours['ms']:.0f} %"]
        if others:
            best, s = min(others.items(), key=lambda item: item[1]["ms"])
            row += [best, f"{s['ms'] / ours['ms']:.2f}"]
        lines.append(f"| {' | '.join(row + [''] * (6 - len(row)))} |")
    lines += [""] + [f"Left out: {', '.join(left_out)}.", ""] * bool(left_out)
    for name, r in records.items():
        lines += [f"## {name}", "", *run.table(r), "", f"Floor: {r['floor_ms']:.3f} ms.", ""]
        lines += ["```text", *r["kernels"], "```", ""] * bool(r["kernels"])
    return "\n".join(lines[:-1]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CONFIGURATIONS), help=f"some of {', '.join(CONFIGURATIONS)}")
    parser.add_argument("--ours", type=pathlib.Path, default=pathlib.Path("target/release/examples/bench_step"))
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("target/bench-gpu"))
    parser.add_argument("--out", type=pathlib.Path, default=run.HERE / "results")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--loose", type=float, default=2e-2)
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := [n for n in names if n not in CONFIGURATIONS]:
        raise SystemExit(f"no configuration {', '.join(unknown)}; there are {', '.join(CONFIGURATIONS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    date, begin, longest = datetime.date.today().isoformat(), time.monotonic(), 0.0
    stem, records, left_out, failed = arguments.out / f"{date}-gpu", {}, [], []
    found_roof = roof(arguments.device)
    for name in names:
        start = time.monotonic()
        if start - begin + longest > arguments.budget:
            left_out.append(name)
            continue
        print(f"{name}, {start - begin:.0f} s", file=sys.stderr)
        try:
            records[name] = measure(name, arguments, found_roof)
        except SystemExit as e:
            # The other configurations still count.
            print(f"{name}: {e}", file=sys.stderr)
            failed.append(name)
            continue
        longest = max(longest, time.monotonic() - start)
        stem.with_suffix(".json").write_text(json.dumps({"date": date, "roof": found_roof, "configurations": records}, indent=1) + "\n")
        stem.with_suffix(".md").write_text(markdown(date, records, found_roof, left_out))
    if records:
        text = markdown(date, records, found_roof, left_out)
        stem.with_suffix(".md").write_text(text)
        print(text)
    if failed:
        raise SystemExit(f"without a result: {', '.join(failed)}; the errors are above")


if __name__ == "__main__":
    main()
