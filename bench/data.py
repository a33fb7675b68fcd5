"""Makes the batches of the step benchmark once: a Parquet file in batch order and the initial weights, both read by every side.

    python bench/data.py --out target/bench [--batch 1024] [--steps 30] [--mean 31] [--most 100] [--seed 1] [--rank [500]]

Histories are skewed: most are short, a few reach `--most`; some are empty. Ids follow a Zipf law. Clicks depend on how much of the history
shares the candidate's category, so that the loss falls. `step.parquet` holds `steps * batch` rows; batch k is rows `k * batch..(k + 1) * batch`.
`init.safetensors` holds f32 weights: `init.table.<name>`, `init.param.<name>`.

`--rank CANDIDATES` writes `rank.parquet` besides: 200 requests, each so many rows one behind the other (and a row group of its own) that
share user, scene and a history of 100 entries; no candidate twice in a request.
"""

import argparse
import functools
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

import workload as W

REQUESTS, BEHAVIOURS = 200, 100


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


def law(g, rows, exponent=1.05):
    """From uniform numbers to ids 0..rows, id i with weight (i + 10) ^ -exponent, shuffled over the table."""
    if rows > W.LARGE:
        # Too long to list: the law's integral, inverted, and a multiplication that shuffles.
        low, high = 10.0 ** (1 - exponent), (rows + 10.0) ** (1 - exponent)
        power = 1 / (1 - exponent)
        return lambda u: np.clip((low + u * (high - low)) ** power - 10, 0, rows - 1).astype(np.int64) * 2_654_435_761 % rows
    p = (np.arange(rows) + 10.0) ** -exponent
    edges = np.cumsum(p / p.sum())
    order = g.permutation(rows)
    return lambda u: order[np.minimum(np.searchsorted(edges, u), rows - 1)]


def zipf(g, rows, n):
    return law(g, rows)(g.random(n))


def distinct(g, rows, n):
    """The first `n` different ids of a Zipf draw."""
    ids = zipf(g, rows, 20 * n)
    found = ids[np.sort(np.unique(ids, return_index=True)[1])]
    if len(found) < n:
        raise SystemExit(f"--rank {n}: too many candidates for a table of {rows} rows")
    return found[:n]


def initial(seed):
    """Weights in f32: tables normal(0.1), layers Glorot uniform, biases 0, alpha 0 (the unit's for Dice there)."""
    g = np.random.default_rng(seed)
    out = {}
    for name, rows in (W.ITEMS | W.SCALARS).items():
        if rows > W.LARGE:
            continue
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
        k = layer(f"unit.{i}", k, n, True)
    layer("score", k, 1, False)
    k = W.MLP_WIDTH
    for i, n in enumerate(W.HIDDEN):
        k = layer(f"hidden.{i}", k, n, True)
    layer("logit", k, 1, False)
    return {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in out.items()}


class Goods:
    """A good has one shop and one category."""

    def __init__(self, g):
        goods, of = W.ITEMS["good"], {}
        for k, name in enumerate(("shop", "cate")):
            if goods > W.LARGE:
                of[name] = functools.partial(self.hashed, law(g, W.ITEMS[name]), k)
            else:
                of[name] = zipf(g, W.ITEMS[name], goods).__getitem__
        self.of = {"good": np.asarray} | of

    @staticmethod
    def hashed(of, k, goods):
        """As if drawn once a good, without a list of all."""
        x = (goods.astype(np.uint64) + np.uint64(k << 40)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ x >> np.uint64(29)) * np.uint64(0xBF58476D1CE4E5B9)
        return of((x >> np.uint64(11)) / 2.0**53)

    def columns(self, good, visited, offsets):
        out = {}
        for name in W.ITEMS:
            out[f"{name}_id"] = pa.array(self.of[name](good))
            out[f"visited_{name}_ids"] = pa.ListArray.from_arrays(offsets.astype(np.int32), pa.array(self.of[name](visited)))
        return out


def clicks(g, same):
    """Labels by how many entries share the candidate's category."""
    return pa.array((g.random(len(same)) < 1.0 / (1.0 + np.exp(1.5 - 1.5 * same))).astype(np.int64))


def table(arguments):
    g = np.random.default_rng(arguments.seed)
    n = arguments.batch * arguments.steps
    length = lengths(g, n, arguments.mean, arguments.most)
    offsets = np.concatenate([[0], np.cumsum(length)])
    entries = int(offsets[-1])
    goods = Goods(g)
    good, visited = zipf(g, W.ITEMS["good"], n), zipf(g, W.ITEMS["good"], entries)
    columns = goods.columns(good, visited, offsets)
    for name, rows in W.SCALARS.items():
        columns[name] = pa.array(g.integers(0, rows, n))
    sample, cate = np.repeat(np.arange(n), length), goods.of["cate"]
    columns["click"] = clicks(g, np.bincount(sample, cate(visited) == cate(good)[sample], minlength=n))
    print(f"{n} samples, {entries} entries, mean {entries / n:.2f}, longest {length.max()}, empty {(length == 0).mean():.3f}")
    return pa.table(columns)


def requests(candidates, seed):
    """One table a request."""
    g = np.random.default_rng(seed)
    goods = Goods(g)
    cate = goods.of["cate"]
    for request in range(REQUESTS):
        good, visited = distinct(g, W.ITEMS["good"], candidates), zipf(g, W.ITEMS["good"], BEHAVIOURS)
        columns = goods.columns(good, np.tile(visited, candidates), np.arange(candidates + 1) * BEHAVIOURS)
        for name, rows in W.SCALARS.items():
            columns[name] = pa.array(np.full(candidates, g.integers(0, rows)))
        columns["click"] = clicks(g, (cate(good)[:, None] == cate(visited)).sum(1))
        columns["request_id"] = pa.array(np.full(candidates, request))
        yield pa.table(columns)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/bench"))
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--mean", type=float, default=31.0)
    parser.add_argument("--most", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rank", type=int, nargs="?", const=500, metavar="CANDIDATES", help="write rank.parquet too")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(arguments), arguments.out / "step.parquet", row_group_size=arguments.batch, compression="zstd")
    save_file(initial(arguments.seed + 1), arguments.out / "init.safetensors")
    if arguments.rank:
        writer = None
        for one in requests(arguments.rank, arguments.seed + 2):
            writer = writer or pq.ParquetWriter(arguments.out / "rank.parquet", one.schema, compression="zstd")
            writer.write_table(one)
        writer.close()


if __name__ == "__main__":
    main()
