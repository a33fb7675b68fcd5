"""Rows and columns that each rank decodes, and the largest memory of each, where a file has one row
group and where it has a hundred.

    python bench/reading.py --din target/release/din --library target/mpi/openmpi/libdin_mpi.so [--rows 1000000] [--ranks 1,2,4] [--out DIR]

`din synth` makes a log with the columns of `models/din.din`. It is written again as one row group,
as a hundred, and its first rows as a small file. A small model with the same columns (`SPEC`:
reading is measured, not the model) trains on each, is evaluated, and predicts, on so many ranks of
one thread each (`mpirun --oversubscribe`). Figures are those of `--profile`. The memory of the
small file is taken for that of everything else: process, code, model, MPI. Losses, reports and
predictions of all numbers of ranks must be equal, every row must be decoded once, and the columns
of all ranks together must have as many bytes as those of one."""

import argparse
import hashlib
import pathlib
import re
import shutil
import subprocess

import pyarrow.parquet as pq

SPEC = """edition 2026
use std.layer.linear
use std.loss.cross_entropy
use std.metric.{auc, gauc, log_loss}
use std.optimizer.adam
use std.pooling.sum_pool
model reading {
    features user { gender: category(2)  age_level: category(10) }
    features ad { good_id: category  shop_id: category  cate_id: category }
    features scene { pid: category(10)  time: category(10) }
    sequence visited (keep last 100) {
        good_id: category from visited_good_ids
        shop_id: category from visited_shop_ids
        cate_id: category from visited_cate_ids
    }
    label click: binary
    key user_id: int64
    embedding good [4] for ad.good_id, visited.good_id
    embedding shop [4] for ad.shop_id, visited.shop_id
    embedding cate [4] for ad.cate_id, visited.cate_id
    embedding [2] for each of user, scene
    predict click ~ bernoulli(logit = linear(concat(embed(user), embed(scene), embed(ad), sum_pool(embed(visited))), 1))
    train { loss cross_entropy(click)  optimizer adam(lr = 1e-3)  batch 1024  epochs 1 }
    report auc(click), gauc(click, by = user_id), log_loss(click)
}
"""
SMALL = 2_000


def make_files(arguments):
    folder = arguments.out
    if not (folder / "log/train.parquet").exists():
        sizes = ["--rows", str(arguments.rows * 5 // 4), "--users", "2000", "--goods", "2000", "--categories", "50"]
        subprocess.run([arguments.din, "synth", "--out", folder / "log", *sizes], check=True, capture_output=True)
    table = pq.read_table(folder / "log/train.parquet").slice(0, arguments.rows)
    for name, rows, group in [("one", len(table), len(table)), ("hundred", len(table), len(table) // 100), ("small", SMALL, SMALL)]:
        pq.write_table(table.slice(0, rows), folder / f"{name}.parquet", row_group_size=group, compression="zstd")
    return len(table)


def row_bytes(path):
    """Bytes of a row in a batch, as din estimates them."""
    meta = pq.read_metadata(path)
    values = sum(meta.row_group(g).column(c).num_values for g in range(meta.num_row_groups) for c in range(meta.num_columns))
    return values * 8 // meta.num_rows + 16


class Ranks:
    """What `din` does on some ranks."""

    def __init__(self, arguments, ranks):
        self.ranks, self.folder = ranks, arguments.out
        self.launcher = ["mpirun.openmpi", "-n", ranks, "--oversubscribe", "--allow-run-as-root", "--bind-to", "none"] if ranks > 1 else []
        self.end = ["--profile", "--threads", 1] + (["--mpi-library", arguments.library] if ranks > 1 else [])
        self.din = arguments.din

    def run(self, *command):
        words = [str(word) for word in [*self.launcher, self.din, *command, *self.end]]
        ended = subprocess.run(words, capture_output=True, text=True)
        if ended.returncode != 0:
            raise SystemExit(f"{' '.join(words)}: {ended.stdout}{ended.stderr}")
        pattern = r"(\d+) rows decoded, of columns of ([0-9.]+) MiB; ([0-9.]+) MiB of memory at most"
        found = re.findall(pattern, ended.stdout + ended.stderr)
        assert len(found) == self.ranks, ended.stdout + ended.stderr
        return ended.stdout, [(int(rows), float(columns), float(memory)) for rows, columns, memory in found]

    def train(self, data, out):
        shutil.rmtree(out, ignore_errors=True)
        _, profile = self.run("train", self.folder / "reading.din", "--train", data, "--epochs", 1, "--out", out)
        return re.search(r'"train_loss":([0-9.e-]+)', (out / "metrics.jsonl").read_text())[1], profile

    def eval(self, data, run):
        said, profile = self.run("eval", run, "--data", data)
        return "".join(line for line in said.splitlines(True) if "(" in line and "rows decoded" not in line), profile

    def predict(self, data, run):
        out = self.folder / "predictions.csv"
        shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
        _, profile = self.run("predict", run, "--data", data, "--out", out)
        digest = hashlib.sha256()
        for part in sorted(out.iterdir()) if out.is_dir() else [out]:
            digest.update(part.read_bytes())
        return digest.hexdigest(), profile


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--din", required=True)
    parser.add_argument("--library", required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ranks", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2, 4])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/bench-reading"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "reading.din").write_text(SPEC)
    rows = make_files(arguments)
    run = arguments.out / "run"
    Ranks(arguments, 1).train(arguments.out / "hundred.parquet", run)
    size = row_bytes(arguments.out / "one.parquet")
    window = min(1 << 20, (256 << 20) // size, rows) * size / (1 << 20)
    print(f"{rows} rows of {size} bytes; a window of training is {window:.0f} MiB\n")
    print("| row groups | verb | ranks | rows decoded | columns, MiB | most memory, MiB | of it reading |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    results = {}
    for ranks in arguments.ranks:
        side = Ranks(arguments, ranks)
        verbs = {
            "train": lambda data: side.train(data, arguments.out / "again"),
            "eval": lambda data: side.eval(data, run),
            "predict": lambda data: side.predict(data, run),
        }
        for verb, act in verbs.items():
            _, small = act(arguments.out / "small.parquet")
            base = max(memory for _, _, memory in small)
            for name, groups in [("one", 1), ("hundred", 100)]:
                result, profile = act(arguments.out / f"{name}.parquet")
                decoded, columns, memory = zip(*profile)
                assert sum(decoded) == rows, f"{verb} of {groups} row groups on {ranks} ranks: {decoded} rows decoded"
                expected, whole = results.setdefault((verb, name), (result, sum(columns)))
                assert result == expected, f"{verb} of {groups} row groups on {ranks} ranks: another result than of the first"
                assert abs(sum(columns) - whole) < 0.1 * ranks, f"{verb} of {groups} row groups on {ranks} ranks: {columns} MiB"
                figures = [", ".join(f"{value:.{digits}f}" for value in values) for values, digits in [(decoded, 0), (columns, 1), (memory, 0)]]
                print(f"| {groups} | {verb} | {ranks} | {' | '.join(figures)} | {max(memory) - base:.0f} |", flush=True)


if __name__ == "__main__":
    main()
