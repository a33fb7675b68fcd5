"""The base model and DIN (Figure 2) on the groups of Table 2, float64, and their training loop.

Tables are dense matrices whose rows stand in the order of the ids of the data set; `Table.touched` says which rows a batch contains.
"""

from dataclasses import dataclass, field

import torch

import units

# Positions of a row, by table; the order is that of `concat` in the specs.
WIDTHS = {"gender": 2, "age_level": 2, "pid": 2, "time": 2, "good": 4, "shop": 4, "cate": 4}
SCALARS = {"gender": 2, "age_level": 10, "pid": 10, "time": 10}
ITEMS = ("good", "shop", "cate")
UNIT = (8, 4)
HIDDEN = (10, 6)
MOMENTUM = 0.9
EPS = 1e-8


@dataclass
class Case:
    """One fixture of the training kind."""

    name: str
    attention: bool
    activation: str
    optimizer: str
    lr: float
    adaptive: float = 0.0
    dense_updates: bool = False

    def network(self):
        """What the initial weights depend on."""
        return self.name.split("_")[0]

    def hyper(self):
        return {
            "attention": self.attention,
            "activation": self.activation,
            "optimizer": self.optimizer,
            "lr": self.lr,
            "adaptive": self.adaptive,
            "dense_updates": self.dense_updates,
        }


@dataclass
class Model:
    case: Case
    tables: dict = field(default_factory=dict)
    params: dict = field(default_factory=dict)
    states: dict = field(default_factory=dict)
    slots: dict = field(default_factory=dict)


def layer(model, name, k, n, draw, activation):
    """Weight, bias and what the activation learns."""
    model.params[f"{name}.weight"] = draw((k, n), (2.0 / (k + n)) ** 0.5)
    model.params[f"{name}.bias"] = draw((n,), 0.1)
    if activation == "prelu":
        # 0.25 here and there: gradients of every unit differ.
        model.params[f"{name}.alpha"] = 0.25 + draw((n,), 0.05)
    if activation == "dice":
        model.params[f"{name}.alpha"] = torch.zeros(n, dtype=torch.float64)
        model.states[f"{name}.mean"] = torch.zeros(n, dtype=torch.float64)
        model.states[f"{name}.var"] = torch.ones(n, dtype=torch.float64)


def initial(case, sizes, draw):
    """Random weights. Standard deviations are larger than in practice, so that every term counts after few steps."""
    model = Model(case)
    for name, width in WIDTHS.items():
        model.tables[name] = draw((sizes[name], width), 0.4)
    item = sum(WIDTHS[t] for t in ITEMS)
    if case.attention:
        width = 4 * item
        for i, n in enumerate(UNIT):
            layer(model, f"unit.{i}", width, n, draw, case.activation)
            width = n
        layer(model, "score", width, 1, draw, None)
    width = sum(WIDTHS[t] for t in SCALARS) + 2 * item
    for i, n in enumerate(HIDDEN):
        layer(model, f"hidden.{i}", width, n, draw, case.activation)
        width = n
    layer(model, "logit", width, 1, draw, None)
    if case.optimizer == "adam":
        for name, w in (model.tables | model.params).items():
            model.slots[name] = {"m": torch.zeros_like(w), "v": torch.zeros_like(w)}
    return model


def forward(model, batch, training=True, tables=None, params=None):
    """Logits `[samples]` and the new states."""
    tables = model.tables if tables is None else tables
    params = model.params if params is None else params
    states = dict(model.states)
    samples = batch["label"].shape[0]
    segment = batch["segment"]

    def activate(x, name):
        alpha = params[f"{name}.alpha"]
        if model.case.activation == "prelu":
            return units.prelu(x, alpha)
        running = (model.states[f"{name}.mean"], model.states[f"{name}.var"])
        y, new = units.dice(x, alpha, running, MOMENTUM, EPS, training)
        states[f"{name}.mean"], states[f"{name}.var"] = new
        return y

    def dense(x, name):
        return units.linear(x, params[f"{name}.weight"], params[f"{name}.bias"])

    candidate = torch.cat([tables[t][batch[f"ad.{t}"]] for t in ITEMS], 1)
    history = torch.cat([tables[t][batch[f"visited.{t}"]] for t in ITEMS], 1)
    if model.case.attention:

        def score(x):
            for i in range(len(UNIT)):
                x = activate(dense(x, f"unit.{i}"), f"unit.{i}")
            return dense(x, "score")

        taste = units.interest(history, candidate, segment, score)
    else:
        taste = units.segment_sum(history, segment, samples)
    x = torch.cat([tables[t][batch[t]] for t in SCALARS] + [taste, candidate], 1)
    for i in range(len(HIDDEN)):
        x = activate(dense(x, f"hidden.{i}"), f"hidden.{i}")
    return dense(x, "logit")[:, 0], states


def rows(name, batch):
    """Row of every occurrence in the batch of an id of the table."""
    if name in SCALARS:
        return batch[name]
    return torch.cat([batch[f"ad.{name}"], batch[f"visited.{name}"]])


def gradients(model, batch):
    """Loss, gradients by name (tables: of all rows, 0 where untouched) and the new states."""
    tables = {k: w.detach().requires_grad_() for k, w in model.tables.items()}
    params = {k: w.detach().requires_grad_() for k, w in model.params.items()}
    logit, states = forward(model, batch, True, tables, params)
    loss = units.cross_entropy(logit, batch["label"])
    leaves = tables | params
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    found = {
        name: torch.zeros_like(w) if g is None else g
        for (name, w), g in zip(leaves.items(), grads)
    }
    return loss.detach(), found, states


def step(model, batch, counts, number):
    """One training step, `number` from 1. Returns the loss, without the penalty."""
    case = model.case
    rule = units.adam if case.optimizer == "adam" else units.sgd
    loss, grads, states = gradients(model, batch)
    for name, w in model.params.items():
        slots = model.slots.get(name, {})
        model.params[name], new = rule(w, grads[name], slots, number, case.lr)
        if new:
            model.slots[name] = new
    for name, w in model.tables.items():
        touched = torch.unique(rows(name, batch))
        grad = grads[name]
        if case.adaptive and name in ITEMS:
            penalty = units.adaptive(w[touched], counts[name][touched], case.adaptive)
            grad = grad.index_add(0, touched, penalty)
        if case.dense_updates:
            touched = torch.arange(len(w))
        grad = grad[touched]
        slots = {k: s[touched] for k, s in model.slots.get(name, {}).items()}
        value, new = rule(w[touched], grad, slots, number, case.lr)
        model.tables[name] = w.index_copy(0, touched, value)
        for k, s in new.items():
            model.slots[name][k] = model.slots[name][k].index_copy(0, touched, s)
    model.states = states
    return loss
