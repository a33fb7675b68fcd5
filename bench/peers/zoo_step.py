"""A training step of a model of `models/` in PyTorch, for `zoo_compare.py`.

    python bench/peers/zoo_step.py --data LOG --init START --model interaction/dcnv2 --mode compile-joined-dense [--threads 2] [--batch 1024]
        [--steps 1000] [--rounds 1] [--serve]

`LOG` is the training file of `din synth`, `START` what `bench_zoo_step --start` wrote. Modes are `<eager|compile>-<form>-<dense|sparse>`.

- `plain`: the model of tests/reference/zoo in float32, as one writes it first: a table for each field, histories padded.
- `joined`: by hand (`zoo_models.py`): all tables in one, read by one gather; matrices that share an input are one; the mean of the past by
  one `embedding_bag`; recurrent layers without masks, their inputs multiplied in one product for all entries.
- `sdpa`: `joined` whose attention is `scaled_dot_product_attention`; `joined` spells it out.
- `ragged` (BST, DSIN): `sdpa`, but layers work on real entries alone; only the attention is padded.
- `stepped` (DIEN, DSIN): `joined` (DIEN) or `sdpa` (DSIN) of which parts are compiled, one of them a step of the recurrence; the whole of one, unrolled,
  takes the compiler many minutes.
- `packed` (DIEN): the samples sorted by length, the first recurrent layer PyTorch's own, and the second on the samples that go on.
- `dense`: fused `torch.optim.Adam` on whole tables. `sparse`: only the rows of the batch move, by hand as in `torch_step.py`.
"""

import argparse

import torch
import torch.nn.functional as F

import harness
import zoo_log
import zoo_models
from data import Batch
from torch_step import lazy_adam


class Rows(torch.nn.Module):
    """Stands in for the table of a reference: ids are row numbers."""

    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, ids, mask=None):
        found = F.embedding(ids, self.weight)
        return found if mask is None else found * mask[..., None]


class Plain:
    """The reference's model, dense updates."""

    def __init__(self, how, arguments, start, data):
        self.start, self.kind = start, zoo_log.REFERENCES[arguments.model]
        longest = max(int((b["offsets"][1:] - b["offsets"][:-1]).max()) for b in data)
        _, lists = zoo_log.columns(arguments.model)
        self.batches = []
        for b in data:
            own = {n: zoo_log.padded(v, b["offsets"], longest, 0) if n in lists else v for n, v in b.items() if n not in ("offsets", "visited_sessions")}
            self.batches.append(({n: torch.from_numpy(v) for n, v in own.items()}, torch.from_numpy(zoo_log.mask(b["offsets"], longest))))
        self.model = self.kind(start)
        self.model.tables = {n: Rows(start.numbers(f"table.{n}")) for n in self.model.tables}
        self.weights = [w for w, _ in self.model.named.values()] + [t.weight for t in self.model.tables.values()]
        self.begun = [w.detach().clone() for w in self.weights]
        self.call = torch.compile(self.loss) if how == "compile" else self.loss

    def loss(self, columns, mask):
        return self.model.loss(Batch(columns, mask))

    def reset(self):
        with torch.no_grad():
            for weight, begun in zip(self.weights, self.begun):
                weight.copy_(begun)
        self.optimizer = torch.optim.Adam(self.weights, self.kind.lr, fused=True)

    def train(self, b):
        self.optimizer.zero_grad()
        loss = self.call(*b)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class Joined:
    """A model of `zoo_models.py`: its tables are one."""

    def __init__(self, how, form, sparse, arguments, start, data):
        self.sparse, self.lr = sparse, zoo_log.REFERENCES[arguments.model].lr
        self.net = zoo_models.MODELS[arguments.model](start, form)
        table = self.net.joined_table()
        self.table = torch.nn.Parameter(table.clone())
        self.begun = [table, *(w.detach().clone() for w in self.net.parameters())]
        self.batches = [{n: torch.as_tensor(v) for n, v in b.items()} for b in self.net.batches(data)]
        self.call, self.rule = self.net.loss, lazy_adam
        if how == "compile":
            self.rule = torch.compile(self.rule, dynamic=True)
            if form == "stepped":
                for part in self.net.parts:
                    setattr(self.net, part, torch.compile(getattr(self.net, part)))
            else:
                self.call = torch.compile(self.call)

    def reset(self):
        with torch.no_grad():
            for weight, begun in zip([self.table, *self.net.parameters()], self.begun):
                weight.copy_(begun)
        self.m, self.v, self.number = torch.zeros_like(self.table), torch.zeros_like(self.table), 0
        own = list(self.net.parameters())
        self.optimizer = torch.optim.Adam(own if self.sparse else [self.table, *own], self.lr, fused=True)

    def train(self, b):
        self.optimizer.zero_grad()
        if not self.sparse:
            loss = self.call(self.table, b)
            loss.backward()
            self.optimizer.step()
            return loss.detach()
        self.number += 1
        looked_up = [n for n in ("ids", "entries") if n in b]
        touched = torch.zeros(len(self.table), dtype=torch.bool)
        for n in looked_up:
            touched[b[n].view(-1)] = True
        rows = touched.nonzero()[:, 0]
        place = torch.cumsum(touched, 0) - 1
        weight = self.table.detach().index_select(0, rows).requires_grad_()
        loss = self.call(weight, b | {n: place[b[n]] for n in looked_up})
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            rate, root = torch.full((), self.lr / (1 - 0.9**self.number)), torch.full((), 1 - 0.999**self.number)
            moved = self.rule(weight.detach(), self.m[rows], self.v[rows], weight.grad, rate, root)
            for whole, part in zip((self.table, self.m, self.v), moved):
                whole.index_copy_(0, rows, part)
        return loss.detach()


def parser(text):
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--init", required=True)
    parser.add_argument("--model", required=True, choices=list(zoo_log.REFERENCES))
    parser.add_argument("--mode", default="fuxictr")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--serve", action="store_true")
    parser.set_defaults(task="train")
    return parser


def build(arguments, start, data):
    how, form, updates = arguments.mode.split("-")
    if how not in ("eager", "compile") or updates not in ("dense", "sparse"):
        raise SystemExit(f"unknown mode `{arguments.mode}`: see the modes in --help")
    if form == "plain":
        if updates != "dense" or arguments.model == "sequence/dsin":
            raise SystemExit(f"mode `{arguments.mode}`: `plain` has dense updates alone, and no DSIN, whose reference finds sessions by loops in Python")
        return Plain(how, arguments, start, data)
    if form not in zoo_models.MODELS[arguments.model].forms:
        raise SystemExit(f"mode `{arguments.mode}`: {arguments.model} has {', '.join(zoo_models.MODELS[arguments.model].forms)}")
    return Joined(how, form, updates == "sparse", arguments, start, data)


def main():
    arguments = parser(__doc__).parse_args()
    torch.set_num_threads(arguments.threads)
    # Denormal numbers would slow some sides and not others.
    torch.set_flush_denormal(True)
    # Sizes that vary from batch to batch: at most two compilations, before timing begins.
    torch._dynamo.config.cache_size_limit = 16
    start = zoo_log.begin(arguments.init, torch.float32)
    data = zoo_log.read(arguments.data, arguments.model, start, arguments.batch, arguments.steps)
    side = build(arguments, start, data)
    harness.run(arguments, side.batches, side.reset, side.train)


if __name__ == "__main__":
    main()
