"""The training step of the benchmark in PyTorch, from what people write to the fastest form known to us.

    python bench/peers/torch_step.py --data target/bench/step.parquet --init target/bench/init.safetensors --mode eager-padded
        [--threads 2] [--batch 1024] [--rounds 1] [--serve]

Modes are `<eager|compile>-<padded|ragged|split>-<dense|sparse>`; `-dense` may be left out.

- `padded`: histories padded to the longest the data allow, a mask, `concat(k, q, k - q, k * q)` built, one `nn.Embedding` a table.
- `ragged`: only real entries, the concat built.
- `split`: ragged, first layer split: `k` and `k * q` share one product, the candidate's term is computed once a sample and spread; all
  tables in one, read by one gather.
- `dense`: fused `torch.optim.Adam` on whole tables, every row moves every step. `sparse`: only touched rows move (lazy); `SparseAdam` for
  `padded` and `ragged`, by hand for `split` (unique rows by a mask, gathered once, gradient of the gathered rows, compiled update).
- `compile`: forward and backward by `torch.compile`, compilation outside the timing.

`harness.py` says what a round is and prints.
"""

import numpy as np
import torch
import torch.nn.functional as F

import batches
import harness
import workload as W

TABLES = list(W.ITEMS | W.SCALARS)
START = dict(zip(TABLES, np.cumsum([0] + list((W.ITEMS | W.SCALARS).values())[:-1]).tolist()))


class SegmentSum(torch.autograd.Function):
    """Rows added up by sample; the samples' entries are contiguous."""

    @staticmethod
    def forward(ctx, x, segment, offsets):
        ctx.save_for_backward(segment)
        return torch.segment_reduce(x, "sum", offsets=offsets, initial=0.0)

    @staticmethod
    def backward(ctx, g):
        (segment,) = ctx.saved_tensors
        return g.index_select(0, segment), None, None


class Spread(torch.autograd.Function):
    """A sample's row for each of its entries."""

    @staticmethod
    def forward(ctx, x, segment, offsets):
        ctx.save_for_backward(offsets)
        return x.index_select(0, segment)

    @staticmethod
    def backward(ctx, g):
        (offsets,) = ctx.saved_tensors
        return torch.segment_reduce(g.contiguous(), "sum", offsets=offsets, initial=0.0), None, None


class Dice(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.alpha = torch.nn.Parameter(torch.zeros(n))
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("var", torch.ones(n))

    def forward(self, x):
        var, mean = torch.var_mean(x, 0, correction=0)
        with torch.no_grad():
            self.mean.lerp_(mean, 1 - W.MOMENTUM)
            self.var.lerp_(var, 1 - W.MOMENTUM)
        p = torch.sigmoid((x - mean) * torch.rsqrt(var + W.EPS))
        return x * (self.alpha * (1 - p) + p)


class Net(torch.nn.Module):
    """The dense part, weights `[in, out]`."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.ParameterDict()
        sizes = {"unit": (4 * W.ITEM_WIDTH, *W.UNIT), "hidden": (W.MLP_WIDTH, *W.HIDDEN)}
        layers = [(f"{n}_{i}", s[i], s[i + 1]) for n, s in sizes.items() for i in range(len(s) - 1)]
        for name, k, n in layers + [("score", W.UNIT[-1], 1), ("logit", W.HIDDEN[-1], 1)]:
            self.w[f"{name}_weight"] = torch.nn.Parameter(torch.empty(k, n))
            self.w[f"{name}_bias"] = torch.nn.Parameter(torch.empty(n))
        self.dice = torch.nn.ModuleList(Dice(n) for n in W.HIDDEN)

    def load(self, tensors):
        with torch.no_grad():
            for name, p in self.w.items():
                head, _, tail = name.rpartition("_")
                p.copy_(tensors[f"init.param.{head.replace('_', '.')}.{tail}"])
            for i, d in enumerate(self.dice):
                d.alpha.copy_(tensors[f"init.param.hidden.{i}.alpha"])
                d.mean.zero_()
                d.var.fill_(1.0)

    def linear(self, x, name):
        return F.linear(x, self.w[f"{name}_weight"].t(), self.w[f"{name}_bias"])

    def tail(self, taste, candidate, scalars, label):
        x = torch.cat([scalars, taste, candidate], 1)
        for i in range(len(W.HIDDEN)):
            x = self.dice[i](self.linear(x, f"hidden_{i}"))
        return F.binary_cross_entropy_with_logits(self.linear(x, "logit")[:, 0], label)

    def unit_end(self, x):
        return self.linear(torch.sigmoid(self.linear(torch.sigmoid(x), "unit_1")), "score")

    def padded(self, history, candidate, scalars, mask, label):
        q = candidate[:, None].expand_as(history)
        x = torch.cat([history, q, history - q, history * q], 2)
        w = self.unit_end(self.linear(x, "unit_0")) * mask[:, :, None]
        return self.tail((w * history).sum(1), candidate, scalars, label)

    def ragged(self, history, candidate, scalars, segment, offsets, label):
        q = Spread.apply(candidate, segment, offsets)
        x = torch.cat([history, q, history - q, history * q], 1)
        w = self.unit_end(self.linear(x, "unit_0"))
        taste = SegmentSum.apply(w * history, segment, offsets)
        return self.tail(taste, candidate, scalars, label)

    def split(self, rows, ids, history_ids, segment, offsets, label):
        """`rows`: the (gathered) table; `ids`: `[batch, 8]`; `history_ids`: `[entries, 3]`."""
        e = W.ITEM_WIDTH
        one = F.embedding(ids, rows).reshape(ids.shape[0], -1)
        candidate, scalars = one[:, :e], one[:, e:]
        history = F.embedding(history_ids, rows).reshape(-1, e)
        wk, wq, wd, wp = self.w["unit_0_weight"].split(e)
        term = torch.addmm(self.w["unit_0_bias"], candidate, wq - wd)
        spread = Spread.apply(torch.cat([candidate, term], 1), segment, offsets)
        q, term = spread[:, :e], spread[:, e:]
        x = torch.cat([history, history * q], 1) @ torch.cat([wk + wd, wp]) + term
        taste = SegmentSum.apply(self.unit_end(x) * history, segment, offsets)
        return self.tail(taste, candidate, scalars, label)


class Padded:
    """`padded` and `ragged`: one embedding a table."""

    def __init__(self, layout, compiled, sparse, data, most):
        self.layout, self.sparse = layout, sparse
        self.net = Net()
        self.tables = torch.nn.ModuleDict(
            {n: torch.nn.Embedding(r, W.WIDTH, sparse=sparse) for n, r in (W.ITEMS | W.SCALARS).items()}
        )
        self.batches = []
        for b in data:
            if layout == "padded":
                b = batches.pad(b, most)
            else:
                b = b | {"segment": np.repeat(np.arange(len(b["label"])), np.diff(b["offsets"]))}
            self.batches.append({k: torch.from_numpy(v) for k, v in b.items()})
        self.call = self.forward
        if compiled:
            # Sparse gradients cannot be traced: look-ups stay outside the compiled part then.
            dense = getattr(self.net, layout)
            if sparse:
                self.dense = torch.compile(dense, dynamic=layout == "ragged")
                return
            self.call = torch.compile(self.forward, dynamic=layout == "ragged")
        self.dense = getattr(self.net, layout)

    def forward(self, b):
        t = self.tables
        candidate = torch.cat([t[n](b[n]) for n in W.ITEMS], 1)
        scalars = torch.cat([t[n](b[n]) for n in W.SCALARS], 1)
        history = torch.cat([t[n](b[f"visited.{n}"]) for n in W.ITEMS], -1)
        rest = (b["mask"],) if self.layout == "padded" else (b["segment"], b["offsets"])
        return self.dense(history, candidate, scalars, *rest, b["label"])

    def reset(self, tensors):
        self.net.load(tensors)
        with torch.no_grad():
            for n, t in self.tables.items():
                t.weight.copy_(tensors[f"init.table.{n}"])
        tables, dense = list(self.tables.parameters()), list(self.net.parameters())
        if self.sparse:
            self.optimizers = [torch.optim.SparseAdam(tables, W.LR), torch.optim.Adam(dense, W.LR, fused=True)]
        else:
            self.optimizers = [torch.optim.Adam(tables + dense, W.LR, fused=True)]

    def step(self, b):
        for o in self.optimizers:
            o.zero_grad()
        loss = self.call(b)
        loss.backward()
        for o in self.optimizers:
            o.step()
        return loss


def lazy_adam(w, m, v, g, rate, root):
    """`rate`: lr / (1 - beta1^t); `root`: 1 - beta2^t; tensors of one number, so that no step compiles anew."""
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    return w - rate * m / (torch.sqrt(v / root) + 1e-8), m, v


class Split:
    """`split`: all tables in one."""

    def __init__(self, compiled, sparse, data):
        self.sparse = sparse
        self.net = Net()
        rows = sum((W.ITEMS | W.SCALARS).values())
        self.table = torch.nn.Parameter(torch.empty(rows, W.WIDTH))
        self.m, self.v = torch.empty(rows, W.WIDTH), torch.empty(rows, W.WIDTH)
        self.batches = []
        for b in data:
            ids = np.stack([b[n] + START[n] for n in TABLES], 1)
            history = np.stack([b[f"visited.{n}"] + START[n] for n in W.ITEMS], 1)
            segment = np.repeat(np.arange(len(b["label"])), np.diff(b["offsets"]))
            self.batches.append([torch.from_numpy(x) for x in (ids, history, segment, b["offsets"], b["label"])])
        self.call, self.rule = self.net.split, lazy_adam
        if compiled:
            self.call = torch.compile(self.net.split, dynamic=True)
            self.rule = torch.compile(lazy_adam, dynamic=True)

    def reset(self, tensors):
        self.net.load(tensors)
        with torch.no_grad():
            self.table.copy_(torch.cat([tensors[f"init.table.{n}"] for n in TABLES]))
        self.m.zero_()
        self.v.zero_()
        self.number = 0
        dense = list(self.net.parameters())
        self.optimizer = torch.optim.Adam(dense if self.sparse else [self.table, *dense], W.LR, fused=True)

    def step(self, b):
        ids, history, segment, offsets, label = b
        self.optimizer.zero_grad()
        self.number += 1
        if not self.sparse:
            loss = self.call(self.table, ids, history, segment, offsets, label)
            loss.backward()
            self.optimizer.step()
            return loss
        touched = torch.zeros(len(self.table), dtype=torch.bool)
        touched[ids.view(-1)] = True
        touched[history.view(-1)] = True
        rows = touched.nonzero()[:, 0]
        place = torch.cumsum(touched, 0) - 1
        weight = self.table.detach().index_select(0, rows).requires_grad_()
        loss = self.call(weight, place[ids], place[history], segment, offsets, label)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            rate = torch.tensor(W.LR / (1 - 0.9**self.number))
            root = torch.tensor(1 - 0.999**self.number)
            w, m, v = self.rule(weight.detach(), self.m[rows], self.v[rows], weight.grad, rate, root)
            for whole, part in ((self.table, w), (self.m, m), (self.v, v)):
                whole.index_copy_(0, rows, part)
        return loss


def build(mode, data):
    """A side: `batches`, `reset(tensors)`, `step(batch)`."""
    parts = mode.split("-")
    how, layout = parts[0], parts[1]
    sparse = len(parts) > 2 and parts[2] == "sparse"
    if how not in ("eager", "compile") or layout not in ("padded", "ragged", "split"):
        raise SystemExit(f"unknown mode `{mode}`")
    if layout == "split":
        return Split(how == "compile", sparse, data)
    most = max(int(np.diff(b["offsets"]).max()) for b in data)
    return Padded(layout, how == "compile", sparse, data, most)


if __name__ == "__main__":
    harness.main(__doc__, build)
