"""Makes the batches of the step benchmark once: a Parquet file in batch order and the initial weights, both read by every side.

    python bench/data.py --out target/bench [--batch 1024] [--steps 30] [--mean 31] [--most 100] [--seed 1]

Histories are skewed: most are short, a few reach `--most`; some are empty. Ids follow a Zipf law. Clicks depend on how much of the history
shares the candidate's category, so that the loss falls. `step.parquet` holds `steps * batch` rows; batch k is rows `k * batch..(k + 1) * batch`.
`init.safetensors` holds f32 weights: `init.table.<name>`, `init.param.<name>`.
"""

import argparse
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

import workload as W


def lengths(g, n, mean, most):
    """Exponential lengths cut at `most`, scaled so that the mean after the cut is `mean`."""
    u = g.exponential(1.0, n)
    low, high = 0.1, 50.0 * mean
    for _ in range(60):
        scale = (low + high) / 2
        if np.minimum(np.floor(u * scale), most).mean() < mean:
            low = scale
        else:
            high = scale
    return np.minimum(np.floor(u * high), most).astype(np.int64)


def zipf(g, rows, n, exponent=1.05):
    """Ids 0..rows, id i with weight (i + 10) ^ -exponent, shuffled over the table."""
    p = (np.arange(rows) + 10.0) ** -exponent
    edges = np.cumsum(p / p.sum())
    order = g.permutation(rows)
    return order[np.minimum(np.searchsorted(edges, g.random(n)), rows - 1)]


def initial(seed):
    """Weights in f32: tables normal(0.1), layers Glorot uniform, biases 0, alpha 0."""
    g = np.random.default_rng(seed)
    out = {}
    for name, rows in (W.ITEMS | W.SCALARS).items():
        out[f"init.table.{name}"] = g.normal(0.0, 0.1, (rows, W.WIDTH))

    def layer(name, k, n, alpha):
        limit = (6.0 / (k + n)) ** 0.5
        out[f"init.param.{name}.weight"] = g.uniform(-limit, limit, (k, n))
        out[f"init.param.{name}.bias"] = np.zeros(n)
        if alpha:
            out[f"init.param.{name}.alpha"] = np.zeros(n)
        return n

    k = 4 * W.ITEM_WIDTH
    for i, n in enumerate(W.UNIT):
        k = layer(f"unit.{i}", k, n, False)
    layer("score", k, 1, False)
    k = W.MLP_WIDTH
    for i, n in enumerate(W.HIDDEN):
        k = layer(f"hidden.{i}", k, n, True)
    layer("logit", k, 1, False)
    return {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in out.items()}


def table(arguments):
    g = np.random.default_rng(arguments.seed)
    n = arguments.batch * arguments.steps
    length = lengths(g, n, arguments.mean, arguments.most)
    offsets = np.concatenate([[0], np.cumsum(length)])
    entries = int(offsets[-1])
    columns = {}
    # A good has one shop and one category.
    shop = zipf(g, W.ITEMS["shop"], W.ITEMS["good"])
    cate = zipf(g, W.ITEMS["cate"], W.ITEMS["good"])
    good, visited = zipf(g, W.ITEMS["good"], n), zipf(g, W.ITEMS["good"], entries)
    for name, of_good in (("good", None), ("shop", shop), ("cate", cate)):
        columns[f"{name}_id"] = pa.array(good if of_good is None else of_good[good])
        values = visited if of_good is None else of_good[visited]
        columns[f"visited_{name}_ids"] = pa.ListArray.from_arrays(offsets.astype(np.int32), pa.array(values))
    for name, rows in W.SCALARS.items():
        columns[name] = pa.array(g.integers(0, rows, n))
    sample = np.repeat(np.arange(n), length)
    same = np.bincount(sample, cate[visited] == cate[good][sample], minlength=n)
    rate = 1.0 / (1.0 + np.exp(1.5 - 1.5 * same))
    columns["click"] = pa.array((g.random(n) < rate).astype(np.int64))
    print(f"{n} samples, {entries} entries, mean {entries / n:.2f}, longest {length.max()}, empty {(length == 0).mean():.3f}")
    return pa.table(columns)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/bench"))
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--mean", type=float, default=31.0)
    parser.add_argument("--most", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(arguments), arguments.out / "step.parquet", row_group_size=arguments.batch, compression="zstd")
    save_file(initial(arguments.seed + 1), arguments.out / "init.safetensors")


if __name__ == "__main__":
    main()
