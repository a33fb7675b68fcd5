"""Modules whose weights are those that Din starts from, and what several models share."""

import torch
import torch.nn.functional as F
from torch import nn


class Table(nn.Module):
    """Vectors by id. `touched` are the rows that were read since it was cleared."""

    def __init__(self, ids, weight):
        """`ids` by row, or `None` where an id is its row."""
        super().__init__()
        self.ids, self.order = (None, None) if ids is None else torch.from_numpy(ids).sort()
        self.weight = nn.Parameter(weight)
        self.touched = []

    def forward(self, ids, mask=None):
        """`mask` is true where there is an id; elsewhere the vector is 0."""
        rows, there = ids, torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
        if self.ids is not None:
            places = torch.searchsorted(self.ids, ids).clamp(max=len(self.ids) - 1)
            assert torch.equal(self.ids[places[there]], ids[there]), "an id that Din does not have"
            rows = self.order[places]
        self.touched.append(rows[there])
        found = F.embedding(rows, self.weight)
        return found if mask is None else found * mask[..., None]


class LayerNorm(nn.LayerNorm):
    def __init__(self, gain, shift):
        super().__init__(len(gain), eps=1e-5, dtype=gain.dtype)
        self.weight, self.bias = nn.Parameter(gain), nn.Parameter(shift)


class PRelu(nn.Module):
    """He et al., 2015; a slope for each component, which stands last."""

    def __init__(self, slope):
        super().__init__()
        self.slope = nn.Parameter(slope)

    def forward(self, x):
        return torch.where(x > 0, x, self.slope * x)


class Model(nn.Module):
    """A model of the zoo. Its modules are made by `linear`, `mlp` and the like, from the weights of
    a name in the Din program."""

    # Din's settings of `train`.
    lr = 1e-2
    # Entries of a history.
    keep = None
    # Columns whose ids Din makes: by feature of the program, the columns that they are made of.
    made = {}
    labels = ("click",)

    def __init__(self, start):
        super().__init__()
        self.start = start
        # By name in the program: the parameter, and whether PyTorch has it transposed.
        self.named = {}
        self.tables = {}
        for name in start.names("table"):
            ids = start.ids(f"ids.{name}") if start.has(f"ids.{name}") else None
            self.tables[name] = Table(ids, start.numbers(f"table.{name}"))
        self.build()
        assert set(self.named) == set(start.names("param")), set(self.named) ^ set(start.names("param"))

    def param(self, name):
        weight = nn.Parameter(self.start.numbers(f"param.{name}"))
        self.named[name] = (weight, False)
        return weight

    def linear(self, name, bias=True):
        weight = self.start.numbers(f"param.{name}.weight").T.contiguous()
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias, dtype=weight.dtype)
        layer.weight = nn.Parameter(weight)
        self.named[f"{name}.weight"] = (layer.weight, True)
        if bias:
            layer.bias = self.param(f"{name}.bias")
        return layer

    def mlp(self, name, depth, activation=nn.ReLU):
        """`activation` is a class of modules without weights, or `PRelu`."""
        layers = []
        for i in range(depth):
            layers += [self.linear(f"{name}.{i}"), self.prelu(f"{name}.{i}") if activation is PRelu else activation()]
        return nn.Sequential(*layers)

    def prelu(self, name):
        layer = PRelu(self.start.numbers(f"param.{name}.alpha"))
        self.named[f"{name}.alpha"] = (layer.slope, False)
        return layer

    def norm(self, name):
        layer = LayerNorm(self.start.numbers(f"param.{name}.gain"), self.start.numbers(f"param.{name}.shift"))
        self.named[f"{name}.gain"], self.named[f"{name}.shift"] = (layer.weight, False), (layer.bias, False)
        return layer

    def optimizer_of(self, table):
        """The name of the optimizer of a table, or with `None` of dense weights."""
        return "adam"

    def penalty(self, log):
        """By table, what the regularizer multiplies each row by."""
        return {}

    def forward(self, batch):
        """Logits by label, `[samples]`."""
        raise NotImplementedError

    def loss(self, batch):
        logits = self(batch)
        return sum(cross_entropy(logits[label], batch[label]) for label in self.labels)


def cross_entropy(logit, label):
    """Mean over the samples."""
    return F.binary_cross_entropy_with_logits(logit, label.to(logit.dtype))


def pairs(x):
    """Both vectors of each pair of fields: `[samples, pairs, width]` twice."""
    i, j = torch.triu_indices(x.shape[1], x.shape[1], offset=1)
    return x[:, i], x[:, j]


def masked_mean(x, mask):
    """Over the entries; 0 where there are none."""
    return (x * mask[..., None]).sum(1) / mask.sum(1).clamp(min=1)[:, None]


def softmax_where(scores, mask):
    """Along the last axis, over places where the mask is true; 0 where it is nowhere."""
    scores = scores.masked_fill(~mask, -torch.inf)
    scores = scores.masked_fill(~mask.any(-1, keepdim=True), 0.0)
    return torch.softmax(scores, -1) * mask


def latest_best(scores, mask, count):
    """A mask of the `count` entries with the highest scores, of equal ones the later."""
    places = torch.arange(scores.shape[1]).expand_as(scores)
    # From the last entry to the first, so that a stable sort has the later of two equal ones first.
    backwards = scores.masked_fill(~mask, -torch.inf).flip(1)
    order = places.flip(1).gather(1, backwards.argsort(dim=1, descending=True, stable=True))
    best = torch.zeros_like(mask).scatter(1, order[:, :count], True)
    return best & mask
