"""What a step cannot be faster than: its products at the peak of all threads, and besides what they and the lookups move.

The products are those of the step with the candidate folded in, whatever a program does instead: a layer from `k` to `n` components is one product
of `2 k n` operations for each of its rows in inference; in training three, forward, towards its input and towards its weights. The rows are entries
in the activation unit, samples in the MLP. The unit's first layer, `concat(k, q, k - q, k * q)` of width `e` each, is one layer from `e` to `n`
for each entry (the candidate is folded into its weights) and one from `e` to `n` for each sample (the candidate's own term). Where candidates
share a request, what depends on the request alone has one row per request. Element-wise operations, sums of rows and updates are left out.

    floor    = operations / peak
    roofline = operations / peak + bytes of products / bandwidth of the second-level cache + bytes of rows / bandwidth of memory

A product of a layer reads or writes `4 (k + n)` bytes for each row; weights stay in the first-level cache. A lookup of a row of width `w` reads its
number and the row, `4 + 4 w` bytes; in training its gradient is written and read, `8 w` bytes more, and Adam reads and writes row and two moments
of each distinct row of the batch, `24 w` bytes. Peak and bandwidths are measured on all threads at once (`bench_step --roofline`).
"""

import dataclasses
import pathlib

import numpy as np
import pyarrow.parquet as pq

import workload as W


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer: mean rows per step, and the widths `k` of its input and `n` of its output."""

    rows: float
    k: int
    n: int


@dataclasses.dataclass(frozen=True)
class Lookups:
    """The lookups in one table: mean number per step, mean number of distinct rows, and the width of a row."""

    count: float
    distinct: float
    width: int


@dataclasses.dataclass(frozen=True)
class Work:
    layers: list
    lookups: list
    train: bool

    def operations(self):
        return (3 if self.train else 1) * sum(2.0 * x.rows * x.k * x.n for x in self.layers)

    def product_bytes(self):
        return (3 if self.train else 1) * sum(4.0 * x.rows * (x.k + x.n) for x in self.layers)

    def row_bytes(self):
        if self.train:
            return sum(x.count * (4 + 12 * x.width) + 24.0 * x.distinct * x.width for x in self.lookups)
        return sum(x.count * (4.0 + 4 * x.width) for x in self.lookups)

    def floor(self, peak):
        """Seconds. `peak` is what `bench_step --roofline` printed: operations and bytes per second."""
        return self.operations() / peak["flops"]

    def roofline(self, peak):
        return self.floor(peak) + self.product_bytes() / peak["cache_bytes"] + self.row_bytes() / peak["bytes"]


def stack(rows, sizes):
    return [Layer(rows, k, n) for k, n in zip(sizes, sizes[1:])]


def unit(entries, samples, e, sizes):
    """The activation unit, `sizes` without the score."""
    return [Layer(samples, e, sizes[0]), *stack(entries, [e, *sizes, 1])]


def of_batches(path, batch, model, train):
    """The work of a step on `step.parquet`, the mean of its batches."""
    table = pq.read_table(path).combine_chunks()
    lengths = np.diff(table["visited_good_ids"].chunk(0).offsets.to_numpy())
    steps = table.num_rows // batch
    entries = float(lengths.sum()) / steps
    layers = stack(batch, [W.MLP_WIDTH, *W.HIDDEN, 1])
    if model == "din":
        layers = unit(entries, batch, W.ITEM_WIDTH, W.UNIT) + layers
    return Work(layers, [], train)


def of_requests(path, candidates):
    """The work of a request of `rank.parquet`."""
    length = len(pq.ParquetFile(path).read_row_group(0)["visited_good_ids"][0])
    shared, first = W.WIDTH * len(W.SCALARS), W.HIDDEN[0]
    layers = unit(candidates * length, candidates, W.ITEM_WIDTH, W.UNIT)
    layers += [Layer(1, shared, first), *stack(candidates, [W.MLP_WIDTH - shared, *W.HIDDEN, 1])]
    return Work(layers, [], False)


def of(setting):
    """The work of a `run.Setting`."""
    if setting.task == "rank":
        return of_requests(setting.data, setting.batch)
    return of_batches(pathlib.Path(setting.data), setting.batch, setting.model, setting.task == "train")
