"""Inference on tables in f32 and in BF16: time per batch, and memory of a prediction.

    python bench/bf16.py time [--data target/bench] [--ours target/release/examples/bench_step] [--rounds 7] [--goods 100000 10000000]
    python bench/bf16.py memory [--din target/release/din] [--out target/bf16] [--rows 1000000 10000000]

`time` runs both precisions of a model and level side by side, a round of each in turn, and prints the medians over rounds of the time of all
batches. The models are those of the suite (DIN, the base model, ranking); the table of goods has so many rows. `memory` trains one step of a model
with one table of 16 components, of so many ids, and prints the largest resident memory of `din predict` (`ru_maxrss`), and the AUC of `din eval`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
MODELS = {"DIN": ("din_step", "step", 1024), "base": ("base_step", "step", 1024), "ranking": ("rank_step", "rank", 500)}
SPEC = """edition 2026
use std.layer.linear
use std.loss.cross_entropy
use std.metric.auc
use std.optimizer.adam
model wide {{
    features ad {{ id: {kind} }}
    label click: binary
    embedding table [16] for ad.id
    predict click ~ bernoulli(logit = linear(table(ad.id), 1))
    train {{ loss cross_entropy(click)  optimizer adam(lr = 0.01)  batch 65536  epochs 1 }}
    report auc(click)
}}
"""


class Side:
    """A process that does one round when it is asked."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def round(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def times(arguments):
    print(f"load {os.getloadavg()[0]:.2f}", file=sys.stderr)
    print("| model | rows | level | f32, ms | BF16, ms | BF16 / f32 |\n| --- | --- | --- | --- | --- | --- |")
    for goods in arguments.goods:
        data = arguments.data / f"bf16-{goods}"
        if not (data / "rank.parquet").exists():
            environment = os.environ | {"BENCH_GOODS": str(goods)}
            subprocess.run([sys.executable, HERE / "data.py", "--out", data, "--rank"], env=environment, check=True, stdout=sys.stderr)
        for title, (spec, name, batch) in MODELS.items():
            path = data / f"{spec}.din"
            path.write_text((HERE / f"{spec}.din").read_text().replace("category(100_000)", f"category({goods})"))
            for isa in arguments.isa:
                command = [arguments.ours, "--spec", path, "--data", data / f"{name}.parquet", "--init", data / "init.safetensors"]
                command += ["--task", "infer", "--batch", str(batch), "--isa", isa, "--threads", "2", "--serve"]
                sides = [Side([*map(str, command), "--tables", tables]) for tables in ("f32", "bf16")]
                rounds = [[side.round() for side in sides] for _ in range(arguments.rounds)]
                [side.end() for side in sides]
                # The time of a batch, in the median round.
                f32, bf16 = (statistics.median(1e3 * statistics.mean(r[k]["step_seconds"]) for r in rounds) for k in (0, 1))
                print(f"| {title} | {goods:,} | {isa} | {f32:.3f} | {bf16:.3f} | {bf16 / f32:.3f} |", flush=True)


def run(command):
    """Output and largest resident memory, in MB."""
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)
    text = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return text, used.ru_maxrss * 1024 / 1e6


def memory(arguments):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    print("| table | rows | f32, MB | BF16, MB | less by |\n| --- | --- | --- | --- | --- |")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for rows in arguments.rows:
        for kind in ("fixed", "growing"):
            at = arguments.out / f"{kind}-{rows}"
            if not (at / "run").exists():
                at.mkdir(exist_ok=True)
                (at / "wide.din").write_text(SPEC.format(kind=f"category({rows})" if kind == "fixed" else "category"))
                g = np.random.default_rng(1)
                ids = g.permutation(rows) if kind == "growing" else g.integers(0, rows, 200_000)
                table = pa.table({"id": ids, "click": (g.random(len(ids)) < 0.3).astype(np.int64)})
                pq.write_table(table, at / "train.parquet")
                pq.write_table(table.slice(0, 100_000), at / "test.parquet")
                run([arguments.din, "train", "-q", at / "wide.din", "--train", at / "train.parquet", "--out", at / "run"])
            command = [arguments.din, "predict", "-q", at / "run", "--data", at / "test.parquet", "--out", at / "p.parquet", "--force", "--threads", "2"]
            f32, bf16 = (run([*command, "--tables", tables])[1] for tables in ("f32", "bf16"))
            print(f"| {kind} | {rows:,} | {f32:.0f} | {bf16:.0f} | {f32 - bf16:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    time = verbs.add_parser("time")
    time.add_argument("--data", type=pathlib.Path, default=pathlib.Path("target/bench"))
    time.add_argument("--ours", default="target/release/examples/bench_step")
    time.add_argument("--rounds", type=int, default=7)
    time.add_argument("--goods", type=int, nargs="+", default=[100_000, 10_000_000])
    time.add_argument("--isa", nargs="+", default=["v3", "v4"])
    time.set_defaults(verb=times)
    held = verbs.add_parser("memory")
    held.add_argument("--din", default="target/release/din")
    held.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/bf16"))
    held.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    held.set_defaults(verb=memory)
    arguments = parser.parse_args()
    arguments.verb(arguments)


if __name__ == "__main__":
    main()
