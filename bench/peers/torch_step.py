"""The training step of the benchmark in PyTorch, from what people write to the fastest form known to us.

    python bench/peers/torch_step.py --data target/bench/step.parquet --init target/bench/init.safetensors --mode eager-padded
        [--model din|base] [--unit sigmoid|dice] [--task train|infer|rank] [--threads 2] [--batch 1024] [--rounds 1] [--serve]

Modes are `<eager|compile|tune>-<padded|ragged|split>-<dense|sparse>`; `-dense` may be left out.

- `padded`: histories padded to the longest the data allow, a mask, `concat(k, q, k - q, k * q)` built, one `nn.Embedding` a table.
- `ragged`: only real entries, the concat built.
- `split`: ragged, first layer split: `k` and `k * q` share one product, the candidate's term is computed once a sample and spread; all
  tables in one, read by one gather.
- `dense`: fused `torch.optim.Adam` on whole tables, every row moves every step. `sparse`: only touched rows move (lazy); `SparseAdam` for
  `padded` and `ragged`, by hand for `split` (unique rows by a mask, gathered once, gradient of the gathered rows, compiled update).
- `compile`: forward and backward by `torch.compile`, compilation outside the timing; on a GPU with CUDA graphs where sizes stay (`padded`).
- `tune`: the same with `max-autotune`, which tries its own kernels for matrix products beside the library's and takes minutes to compile.
- `tf32` behind a mode (`compile-split-dense-tf32`): matrix products in TF32.

`--task rank` is for `split`: the request's part of both first layers is computed once, and the unit's first layer is one product of the
history and a matrix for each candidate. `harness.py` says what a round is and prints.
"""

import numpy as np
import torch
import torch._inductor.config
import torch.nn.functional as F

import batches
import harness
import workload as W

TABLES = list(W.ITEMS | W.SCALARS)
START = dict(zip(TABLES, np.cumsum([0] + list((W.ITEMS | W.SCALARS).values())[:-1]).tolist()))


def on_gpu():
    return torch.get_default_device().type == "cuda"


def to_device(x):
    return torch.as_tensor(x, device=torch.get_default_device())


def compiled_form(f, dynamic, how):
    mode = None
    if how == "tune":
        mode = "max-autotune-no-cudagraphs" if dynamic else "max-autotune"
    elif on_gpu() and not dynamic:
        mode = "reduce-overhead"
    return torch.compile(f, dynamic=dynamic, mode=mode)


def segment_sum(x, offsets):
    # `unsafe` leaves out checks of the offsets, for which the host would wait on a GPU.
    return torch.segment_reduce(x, "sum", offsets=offsets, initial=0.0, unsafe=True)


class SegmentSum(torch.autograd.Function):
    """Rows added up by sample; the samples' entries are contiguous."""

    @staticmethod
    def forward(ctx, x, segment, offsets):
        ctx.save_for_backward(segment)
        return segment_sum(x, offsets)

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
        return segment_sum(g.contiguous(), offsets), None, None


def start(tensors, name, device):
    """A table's first weights; random where the file leaves a large one out."""
    found = tensors.get(f"init.table.{name}")
    return 0.01 * torch.randn((W.ITEMS | W.SCALARS)[name], W.WIDTH, device=device) if found is None else found


class Dice(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.alpha = torch.nn.Parameter(torch.zeros(n))
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("var", torch.ones(n))

    def forward(self, x, mask=None):
        """Moments over all rows, or over those where the mask is 1."""
        mean, var = self.mean, self.var
        if self.training:
            if mask is None:
                var, mean = torch.var_mean(x, 0, correction=0)
            else:
                count = mask.sum()
                mean = (x * mask).sum((0, 1)) / count
                var = ((x - mean).square() * mask).sum((0, 1)) / count
            with torch.no_grad():
                self.mean.lerp_(mean, 1 - W.MOMENTUM)
                self.var.lerp_(var, 1 - W.MOMENTUM)
        p = torch.sigmoid((x - mean) * torch.rsqrt(var + W.EPS))
        return x * (self.alpha * (1 - p) + p)


class Net(torch.nn.Module):
    """The dense part, weights `[in, out]`. Without `label` the result is logits, else the loss."""

    def __init__(self, model, unit):
        super().__init__()
        self.base = model == "base"
        self.w = torch.nn.ParameterDict()
        sizes = {"hidden": (W.MLP_WIDTH, *W.HIDDEN)} | ({} if self.base else {"unit": (4 * W.ITEM_WIDTH, *W.UNIT)})
        layers = [(f"{n}_{i}", s[i], s[i + 1]) for n, s in sizes.items() for i in range(len(s) - 1)]
        self.dice = torch.nn.ModuleDict({name: Dice(n) for name, _, n in layers if name.startswith("hidden") or unit == "dice"})
        layers += [("logit", W.HIDDEN[-1], 1)] + ([] if self.base else [("score", W.UNIT[-1], 1)])
        for name, k, n in layers:
            self.w[f"{name}_weight"] = torch.nn.Parameter(torch.empty(k, n))
            self.w[f"{name}_bias"] = torch.nn.Parameter(torch.empty(n))

    def load(self, tensors):
        with torch.no_grad():
            for name, p in self.w.items():
                head, _, tail = name.rpartition("_")
                p.copy_(tensors[f"init.param.{head.replace('_', '.')}.{tail}"])
            for name, d in self.dice.items():
                d.alpha.copy_(tensors[f"init.param.{name.replace('_', '.')}.alpha"])
                d.mean.zero_()
                d.var.fill_(1.0)

    def linear(self, x, name):
        return F.linear(x, self.w[f"{name}_weight"].t(), self.w[f"{name}_bias"])

    def tail(self, taste, candidate, scalars, label):
        return self.tail_end(self.linear(torch.cat([scalars, taste, candidate], 1), "hidden_0"), label)

    def tail_end(self, x, label):
        x = self.dice["hidden_0"](x)
        for i in range(1, len(W.HIDDEN)):
            x = self.dice[f"hidden_{i}"](self.linear(x, f"hidden_{i}"))
        z = self.linear(x, "logit")[:, 0]
        return z if label is None else F.binary_cross_entropy_with_logits(z, label)

    def unit_end(self, x, mask=None):
        for i in range(len(W.UNIT)):
            x = x if i == 0 else self.linear(x, f"unit_{i}")
            x = self.dice[f"unit_{i}"](x, mask) if f"unit_{i}" in self.dice else torch.sigmoid(x)
        return self.linear(x, "score")

    def padded(self, history, candidate, scalars, mask, label=None):
        mask = mask[:, :, None]
        if self.base:
            w = mask
        else:
            q = candidate[:, None].expand_as(history)
            x = torch.cat([history, q, history - q, history * q], 2)
            w = self.unit_end(self.linear(x, "unit_0"), mask) * mask
        return self.tail((w * history).sum(1), candidate, scalars, label)

    def ragged(self, history, candidate, scalars, segment, offsets, label=None):
        if not self.base:
            q = Spread.apply(candidate, segment, offsets)
            x = torch.cat([history, q, history - q, history * q], 1)
            history = self.unit_end(self.linear(x, "unit_0")) * history
        return self.tail(SegmentSum.apply(history, segment, offsets), candidate, scalars, label)

    def split(self, rows, ids, history_ids, segment, offsets, label=None):
        """`rows`: the (gathered) table; `ids`: `[batch, 8]`; `history_ids`: `[entries, 3]`."""
        e = W.ITEM_WIDTH
        one = F.embedding(ids, rows).reshape(ids.shape[0], -1)
        candidate, scalars = one[:, :e], one[:, e:]
        if self.base:
            # Looked up and added up by one call.
            n = history_ids.shape[1]
            bags = torch.cat([offsets[:-1] + i * history_ids.shape[0] for i in range(n)])
            taste = F.embedding_bag(history_ids.t().reshape(-1), rows, bags, mode="sum").reshape(n, -1, W.WIDTH)
            return self.tail(taste.transpose(0, 1).reshape(-1, e), candidate, scalars, label)
        history = F.embedding(history_ids, rows).reshape(-1, e)
        wk, wq, wd, wp = self.w["unit_0_weight"].split(e)
        term = torch.addmm(self.w["unit_0_bias"], candidate, wq - wd)
        spread = Spread.apply(torch.cat([candidate, term], 1), segment, offsets)
        q, term = spread[:, :e], spread[:, e:]
        x = torch.cat([history, history * q], 1) @ torch.cat([wk + wd, wp]) + term
        taste = SegmentSum.apply(self.unit_end(x) * history, segment, offsets)
        return self.tail(taste, candidate, scalars, label)

    def rank(self, rows, scalar_ids, history_ids, candidate_ids):
        """Logits of `[candidates, 3]` of one request: `scalar_ids` `[5]`, `history_ids` `[entries, 3]`."""
        e = W.ITEM_WIDTH
        scalars = F.embedding(scalar_ids, rows).reshape(1, -1)
        history = F.embedding(history_ids, rows).reshape(-1, e)
        candidate = F.embedding(candidate_ids, rows).reshape(-1, e)
        ws, wt, wc = self.w["hidden_0_weight"].split([scalars.shape[1], e, e])
        request = torch.addmm(self.w["hidden_0_bias"], scalars, ws)
        if self.base:
            return self.tail_end(request + history.sum(0, keepdim=True) @ wt + candidate @ wc, None)
        wk, wq, wd, wp = self.w["unit_0_weight"].split(e)
        term = torch.addmm(self.w["unit_0_bias"], candidate, wq - wd)
        # k (Wk + Wd) + (k * q) Wp = k (Wk + Wd + q * Wp).
        w = (wk + wd)[:, None] + candidate.t()[:, :, None] * wp[:, None]
        x = (history @ w.reshape(e, -1)).reshape(len(history), *term.shape) + term
        taste = self.unit_end(x)[:, :, 0].t() @ history
        return self.tail_end(torch.cat([taste, candidate], 1) @ torch.cat([wt, wc]) + request, None)


class Padded:
    """`padded` and `ragged`: one embedding a table."""

    def __init__(self, layout, how, sparse, net, data):
        self.layout, self.sparse, self.net = layout, sparse, net
        most = max(int(np.diff(b["offsets"]).max()) for b in data)
        self.tables = torch.nn.ModuleDict(
            {n: torch.nn.Embedding(r, W.WIDTH, sparse=sparse) for n, r in (W.ITEMS | W.SCALARS).items()}
        )
        self.batches = []
        for b in data:
            if layout == "padded":
                b = batches.pad(b, most)
            else:
                b = b | {"segment": np.repeat(np.arange(len(b["label"])), np.diff(b["offsets"]))}
            self.batches.append({k: to_device(v) for k, v in b.items()})
        self.call = self.forward
        if how != "eager":
            # Sparse gradients cannot be traced: look-ups stay outside the compiled part then.
            dense = getattr(self.net, layout)
            if sparse:
                self.dense = compiled_form(dense, layout == "ragged", how)
                return
            self.call = compiled_form(self.forward, layout == "ragged", how)
        self.dense = getattr(self.net, layout)

    def forward(self, b, label=None):
        t = self.tables
        candidate = torch.cat([t[n](b[n]) for n in W.ITEMS], 1)
        scalars = torch.cat([t[n](b[n]) for n in W.SCALARS], 1)
        history = torch.cat([t[n](b[f"visited.{n}"]) for n in W.ITEMS], -1)
        rest = (b["mask"],) if self.layout == "padded" else (b["segment"], b["offsets"])
        return self.dense(history, candidate, scalars, *rest, label)

    def reset(self, tensors):
        self.net.load(tensors)
        with torch.no_grad():
            for n, t in self.tables.items():
                t.weight.copy_(start(tensors, n, t.weight.device))
        tables, dense = list(self.tables.parameters()), list(self.net.parameters())
        if self.sparse:
            self.optimizers = [torch.optim.SparseAdam(tables, W.LR), torch.optim.Adam(dense, W.LR, fused=True)]
        else:
            self.optimizers = [torch.optim.Adam(tables + dense, W.LR, fused=True)]

    def train(self, b):
        for o in self.optimizers:
            o.zero_grad()
        loss = self.call(b, b["label"])
        loss.backward()
        for o in self.optimizers:
            o.step()
        return loss.detach()

    def infer(self, b):
        with torch.no_grad():
            return self.call(b), b["label"]


def lazy_adam(w, m, v, g, rate, root):
    """`rate`: lr / (1 - beta1^t); `root`: 1 - beta2^t; tensors of one number, so that no step compiles anew."""
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    return w - rate * m / (torch.sqrt(v / root) + 1e-8), m, v


class Split:
    """`split`: all tables in one."""

    def __init__(self, how, sparse, net, task, data):
        self.sparse, self.net = sparse, net
        rows = sum((W.ITEMS | W.SCALARS).values())
        self.table = torch.nn.Parameter(torch.empty(rows, W.WIDTH))
        self.m, self.v = torch.empty(rows, W.WIDTH), torch.empty(rows, W.WIDTH)
        arrays = self.request if task == "rank" else self.batch
        self.batches = [[to_device(x) for x in arrays(b)] for b in data]
        self.call, self.rule = net.rank if task == "rank" else net.split, lazy_adam
        if how != "eager":
            # Requests are all of one size.
            self.call = compiled_form(self.call, task != "rank", how)
            self.rule = compiled_form(lazy_adam, True, how)

    @staticmethod
    def batch(b):
        ids = np.stack([b[n] + START[n] for n in TABLES], 1)
        history = np.stack([b[f"visited.{n}"] + START[n] for n in W.ITEMS], 1)
        segment = np.repeat(np.arange(len(b["label"])), np.diff(b["offsets"]))
        return ids, history, segment, b["offsets"], b["label"]

    @staticmethod
    def request(b):
        scalars = np.array([b[n] + START[n] for n in W.SCALARS])
        history = np.stack([b[f"visited.{n}"] + START[n] for n in W.ITEMS], 1)
        return scalars, history, np.stack([b[n] + START[n] for n in W.ITEMS], 1), b["label"]

    def reset(self, tensors):
        self.net.load(tensors)
        with torch.no_grad():
            self.table.copy_(torch.cat([start(tensors, n, self.table.device) for n in TABLES]))
        self.m.zero_()
        self.v.zero_()
        self.number = 0
        dense = list(self.net.parameters())
        self.optimizer = torch.optim.Adam(dense if self.sparse else [self.table, *dense], W.LR, fused=True)

    def train(self, b):
        ids, history, segment, offsets, label = b
        self.optimizer.zero_grad()
        self.number += 1
        if not self.sparse:
            loss = self.call(self.table, ids, history, segment, offsets, label)
            loss.backward()
            self.optimizer.step()
            return loss.detach()
        touched = torch.zeros(len(self.table), dtype=torch.bool, device=self.table.device)
        touched[ids.view(-1)] = True
        touched[history.view(-1)] = True
        rows = touched.nonzero()[:, 0]
        place = torch.cumsum(touched, 0) - 1
        weight = self.table.detach().index_select(0, rows).requires_grad_()
        loss = self.call(weight, place[ids], place[history], segment, offsets, label)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            # Filled, not copied: a copy from the host would be waited for on a GPU.
            rate = torch.full((), W.LR / (1 - 0.9**self.number), device=self.table.device)
            root = torch.full((), 1 - 0.999**self.number, device=self.table.device)
            w, m, v = self.rule(weight.detach(), self.m[rows], self.v[rows], weight.grad, rate, root)
            for whole, part in ((self.table, w), (self.m, m), (self.v, v)):
                whole.index_copy_(0, rows, part)
        return loss.detach()

    def infer(self, b):
        with torch.no_grad():
            return self.call(self.table, *b[:-1]), b[-1]

    rank = infer


def build(arguments, data):
    how, layout, *rest = arguments.mode.split("-")
    if rest[-1:] == ["tf32"]:
        torch.set_float32_matmul_precision("high")
        rest = rest[:-1]
    if how not in ("eager", "compile", "tune") or layout not in ("padded", "ragged", "split") or rest not in ([], ["dense"], ["sparse"]):
        raise SystemExit(f"unknown mode `{arguments.mode}`: see the modes in --help")
    if arguments.task != "train" and rest:
        raise SystemExit(f"mode `{arguments.mode}`: without training there is nothing sparse or dense; leave `-{rest[0]}` out")
    if arguments.task == "rank" and layout != "split":
        raise SystemExit(f"mode `{arguments.mode}`: only `split` has the task `rank`")
    # Weights as constants of the compiled code: faster for batches, slower for requests.
    torch._inductor.config.freezing = arguments.task == "infer"
    net = Net(arguments.model, arguments.unit).train(arguments.task == "train")
    if layout == "split":
        return Split(how, rest == ["sparse"], net, arguments.task, data)
    return Padded(layout, how, rest == ["sparse"], net, data)


if __name__ == "__main__":
    harness.main(__doc__, build)
