"""Inference and ranking with DIN as a graph of operators, for runtimes that take one: weights are constants, tables among them.

A form is written once, over the operators of `ops` (`onnxruntime_step.py`, `openvino_step.py`). Dice has its running statistics (mean 0,
variance 1). All tables are one. The first layer is split: `k` and `k * q` have their own parts, the candidate's term is computed once per sample.

`--task infer`:

- `split`: entries of all samples one behind the other, filled up to the same number in all batches.
- `chunks`: entries in chunks of eight of one sample: the candidate is spread to an eighth of the rows, and only sums of chunks are added up by
  sample.

Free places of both forms read a row of zeros, so that it does not matter to which sample they are added.

`--task rank`, where the request's part of both first layers is computed once:

- `fold`: `k (Wk + Wd) + (k * q) Wp = k (Wk + Wd + q * Wp)`, one product of the history and the matrices of all candidates side by side.
- `batched`: the same, one product per candidate.
- `split`: `k (Wk + Wd)` once, `(k * q) Wp` of all pairs of entry and candidate.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import workload as W  # noqa: E402

TABLES = [*W.ITEMS, *W.SCALARS]
START = dict(zip(TABLES, np.cumsum([0] + list((W.ITEMS | W.SCALARS).values())[:-1]).tolist()))
# A row of zeros behind all tables.
ZEROS = sum((W.ITEMS | W.SCALARS).values())
E, CHUNK = W.ITEM_WIDTH, 8
FORMS = {"infer": ("split", "chunks"), "rank": ("fold", "batched", "split")}


def ids(b, names, prefix=""):
    return np.stack([b[prefix + n] + START[n] for n in names], -1).astype(np.int32)


def split_batches(data):
    most = -(-max(int(b["offsets"][-1]) for b in data) // 64) * 64
    for b in data:
        n, free = len(b["label"]), most - int(b["offsets"][-1])
        segment = np.repeat(np.arange(n), np.diff(b["offsets"]))
        history = ids(b, W.ITEMS, "visited.")
        yield {
            "ids": ids(b, TABLES),
            "history": np.concatenate([history, np.full((free, len(W.ITEMS)), ZEROS, np.int32)]),
            "segment": np.concatenate([segment, np.full(free, n - 1)]).astype(np.int32),
            "offsets": b["offsets"][:-1].astype(np.int32),
        }


def chunk_batches(data):
    counts = [-(-np.diff(b["offsets"]) // CHUNK) for b in data]
    most = max(int(c.sum()) for c in counts)
    for b, count in zip(data, counts):
        n, lengths = len(b["label"]), np.diff(b["offsets"])
        segment = np.full(most, n - 1, np.int32)
        segment[: count.sum()] = np.repeat(np.arange(n), count)
        sample = np.repeat(np.arange(n), lengths)
        first = np.cumsum(count) - count
        place = first[sample] * CHUNK + np.arange(lengths.sum()) - b["offsets"][sample]
        history = np.full((most * CHUNK, len(W.ITEMS)), ZEROS, np.int32)
        history[place] = ids(b, W.ITEMS, "visited.")
        yield {"ids": ids(b, TABLES), "history": history, "segment": segment, "offsets": first.astype(np.int32)}


def requests(data):
    for b in data:
        yield {"scalars": ids(b, W.SCALARS), "history": ids(b, W.ITEMS, "visited."), "candidates": ids(b, W.ITEMS)}


def inputs(arguments, data):
    """Of each batch, by name of the graph's input."""
    if (arguments.model, arguments.unit) != ("din", "sigmoid") or arguments.task not in FORMS:
        raise SystemExit("this side only infers and ranks with DIN, sigmoid in the unit")
    if arguments.mode not in FORMS[arguments.task]:
        raise SystemExit(f"unknown mode `{arguments.mode}`: --task {arguments.task} has {', '.join(FORMS[arguments.task])}")
    form = requests if arguments.task == "rank" else split_batches if arguments.mode == "split" else chunk_batches
    return list(form(data))


class Model:
    """The dense part over `ops`."""

    def __init__(self, ops, tensors):
        self.ops, self.tensors = ops, tensors
        tables = [tensors[f"init.table.{n}"] for n in TABLES]
        self.table = ops.constant(np.concatenate([*tables, np.zeros((1, W.WIDTH), np.float32)]))

    def weight(self, name):
        return self.tensors[f"init.param.{name}.weight"]

    def bias(self, name):
        return self.tensors[f"init.param.{name}.bias"]

    def rows(self, of, shape):
        return self.ops.reshape(self.ops.gather(self.table, of), shape)

    def linear(self, x, name):
        return self.ops.linear(x, self.ops.constant(self.weight(name)), self.ops.constant(self.bias(name)))

    def unit_end(self, x):
        """Of `[rows, 80]`, the first layer's sums: `[rows, 1]`."""
        for i in range(1, len(W.UNIT)):
            x = self.linear(self.ops.sigmoid(x), f"unit.{i}")
        return self.linear(self.ops.sigmoid(x), "score")

    def dice(self, x, name):
        ops, alpha = self.ops, self.tensors[f"init.param.{name}.alpha"]
        gate = ops.sigmoid(ops.multiply(x, ops.constant(np.full_like(alpha, (1.0 + W.EPS) ** -0.5))))
        return ops.multiply(x, ops.add(ops.multiply(gate, ops.constant(1 - alpha)), ops.constant(alpha)))

    def tail_end(self, x):
        for i in range(len(W.HIDDEN)):
            x = self.dice(x if i == 0 else self.linear(x, f"hidden.{i}"), f"hidden.{i}")
        return self.linear(x, "logit")

    def first(self):
        """The unit's first layer: of `k`, of `k * q`, and the candidate's with the bias."""
        wk, wq, wd, wp = np.split(self.weight("unit.0"), 4)
        return wk + wd, wp, wq - wd

    def term(self, candidate, wq):
        return self.ops.linear(candidate, self.ops.constant(wq), self.ops.constant(self.bias("unit.0")))

    def infer(self, form, ids, history, segment, offsets, samples, entries):
        """Logits `[samples, 1]`."""
        ops, n = self.ops, W.UNIT[0]
        wk, wp, wq = self.first()
        one = self.rows(ids, [samples, W.WIDTH * len(TABLES)])
        candidate = ops.columns(one, 0, E)
        scalars = ops.columns(one, E, W.WIDTH * len(TABLES))
        q, term = (ops.gather(x, segment) for x in (candidate, self.term(candidate, wq)))
        k = self.rows(history, [entries, E])
        if form == "chunks":
            groups = entries // CHUNK
            of_group = ops.reshape(k, [groups, CHUNK, E])
            kq = ops.reshape(ops.multiply(of_group, ops.reshape(q, [groups, 1, E])), [entries, E])
            x = ops.matmul(ops.concat([k, kq], 1), ops.constant(np.concatenate([wk, wp])))
            x = ops.add(ops.reshape(x, [groups, CHUNK, n]), ops.reshape(term, [groups, 1, n]))
            score = self.unit_end(ops.reshape(x, [entries, n]))
            pooled = ops.reshape(ops.matmul(ops.reshape(score, [groups, 1, CHUNK]), of_group), [groups, E])
            taste = ops.segment_sum(pooled, None, segment, offsets, samples, E)
        else:
            x = ops.linear(ops.concat([k, ops.multiply(k, q)], 1), ops.constant(np.concatenate([wk, wp])), term)
            taste = ops.segment_sum(k, self.unit_end(x), segment, offsets, samples, E)
        return self.tail_end(self.linear(ops.concat([scalars, taste, candidate], 1), "hidden.0"))

    def rank(self, form, scalars, history, candidates, count, length):
        """Logits `[count, 1]` of one request's candidates."""
        ops, n = self.ops, W.UNIT[0]
        wk, wp, wq = self.first()
        scalars = self.rows(scalars, [1, W.WIDTH * len(W.SCALARS)])
        k = self.rows(history, [length, E])
        q = self.rows(candidates, [count, E])
        term = self.term(q, wq)
        if form == "fold":
            q_ = ops.reshape(ops.transpose(q, [1, 0]), [E, count, 1])
            w = ops.add(ops.multiply(q_, ops.constant(wp[:, None])), ops.constant(wk[:, None]))
            x = ops.reshape(ops.matmul(k, ops.reshape(w, [E, count * n])), [length, count, n])
            x = ops.add(x, ops.reshape(term, [1, count, n]))
            score = ops.transpose(ops.reshape(self.unit_end(ops.reshape(x, [length * count, n])), [length, count]), [1, 0])
        else:
            if form == "batched":
                w = ops.add(ops.multiply(ops.reshape(q, [count, E, 1]), ops.constant(wp[None])), ops.constant(wk[None]))
                x = ops.matmul(ops.reshape(k, [1, length, E]), w)
            else:
                pairs = ops.multiply(ops.reshape(q, [count, 1, E]), ops.reshape(k, [1, length, E]))
                x = ops.reshape(ops.matmul(ops.reshape(pairs, [count * length, E]), ops.constant(wp)), [count, length, n])
                x = ops.add(x, ops.reshape(ops.matmul(k, ops.constant(wk)), [1, length, n]))
            x = ops.add(x, ops.reshape(term, [count, 1, n]))
            score = ops.reshape(self.unit_end(ops.reshape(x, [count * length, n])), [count, length])
        ws, wt, wc = np.split(self.weight("hidden.0"), [W.WIDTH * len(W.SCALARS), W.WIDTH * len(W.SCALARS) + E])
        request = ops.linear(scalars, ops.constant(ws), ops.constant(self.bias("hidden.0")))
        x = ops.linear(ops.concat([ops.matmul(score, k), q], 1), ops.constant(np.concatenate([wt, wc])), request)
        return self.tail_end(x)


def logits(ops, tensors, arguments, first):
    """The graph's result; `first` are the inputs of a batch, whose shapes all batches have."""
    model = Model(ops, tensors)
    values = {name: ops.input(name, array.shape) for name, array in first.items()}
    if arguments.task == "rank":
        shapes = len(first["candidates"]), len(first["history"])
        return model.rank(arguments.mode, values["scalars"], values["history"], values["candidates"], *shapes)
    shapes = len(first["ids"]), len(first["history"])
    return model.infer(arguments.mode, values["ids"], values["history"], values["segment"], values["offsets"], *shapes)
