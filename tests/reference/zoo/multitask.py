"""`models/multitask`: the click, and the gender of the user or the purchase."""

import torch
import torch.nn.functional as F
from torch import nn

from layers import Model, cross_entropy, masked_mean
from sequence import ITEM

TASKS = ("click", "gender")


class Tasks(Model):
    keep = 50
    labels = TASKS

    def candidate(self, batch):
        return torch.cat([self.tables[name](batch[f"{name}_id"]) for name in ITEM], 1)

    def bottom(self, batch):
        """User, scene, candidate and the mean of the history: `[samples, 72]`."""
        history = torch.cat([self.tables[name](batch[f"visited_{name}_ids"], batch.mask) for name in ITEM], 2)
        flat = {"user.age_level": "age_level", "scene.pid": "pid", "scene.time": "time"}
        first = [self.tables[name](batch[column]) for name, column in flat.items()]
        return torch.cat([*first, self.candidate(batch), masked_mean(history, batch.mask)], 1)

    def build_towers(self):
        self.towers = nn.ModuleDict(
            {task: nn.Sequential(self.mlp(f"{task}_tower", 1), self.linear(task)) for task in TASKS}
        )


class SharedBottom(Tasks):
    """Caruana, 1997."""

    def build(self):
        self.shared = self.mlp("bottom", 2)
        self.build_towers()

    def forward(self, batch):
        x = self.shared(self.bottom(batch))
        return {task: tower(x)[:, 0] for task, tower in self.towers.items()}


class Uncertainty(SharedBottom):
    """Kendall, Gal and Cipolla, 2018, Eq. (10), with s = log sigma^2."""

    def build(self):
        super().build()
        self.s = [self.param(f"loss.{i}.uncertainty_weighted.s") for i in range(2)]

    def loss(self, batch):
        logits = self(batch)
        losses = [cross_entropy(logits[task], batch[task]) for task in TASKS]
        return sum(torch.exp(-s[0]) * loss + s[0] / 2 for s, loss in zip(self.s, losses))


def mixture(experts, shares):
    """Of experts `[samples, d]` the sum, weighted by `[samples, experts]`."""
    return torch.einsum("bed,be->bd", torch.stack(experts, 1), shares)


class Mmoe(Tasks):
    """Ma et al., 2018, Eqs. (6) and (7)."""

    def build(self):
        self.experts = nn.ModuleList(self.mlp(f"shared.{i}.mlp", 1) for i in range(4))
        self.gates = nn.ModuleDict({task: self.linear(f"{task}_tower.shares", bias=False) for task in TASKS})
        self.build_towers()

    def forward(self, batch):
        x = self.bottom(batch)
        experts = [expert(x) for expert in self.experts]
        seen = {task: mixture(experts, torch.softmax(self.gates[task](x), 1)) for task in TASKS}
        return {task: self.towers[task](seen[task])[:, 0] for task in TASKS}


class Extraction(nn.Module):
    """A layer of PLE: experts of each task and shared ones, and a gate for each task."""

    def __init__(self, model, shared, own, gates):
        """Names of experts: of the shared ones, and by task of its own; and of the gates."""
        super().__init__()
        self.shared = nn.ModuleList(model.mlp(name, 1) for name in shared)
        self.own = nn.ModuleList(nn.ModuleList(model.mlp(name, 1) for name in names) for names in own)
        self.gates = nn.ModuleList(model.linear(name, bias=False) for name in gates)

    def forward(self, tasks, common):
        """By task what it sees, and all experts' results, the shared ones first."""
        shared = [expert(common) for expert in self.shared]
        own = [[expert(x) for expert in experts] for x, experts in zip(tasks, self.own)]
        seen = [mixture(o + shared, torch.softmax(gate(x), 1)) for x, o, gate in zip(tasks, own, self.gates)]
        return seen, shared + own[0] + own[1]


class Ple(Tasks):
    """Tang et al., 2020, Eqs. (1)-(8): an extraction layer below customized gates."""

    def build(self):
        two = range(2)
        name = "own_common"
        self.below = Extraction(
            self,
            [f"{name}.shared.{i}.mlp" for i in two],
            [[f"{name}.own.{t}.{i}.mlp" for i in two] for t in two],
            [f"{name}.{t}.gated.shares" for t in two],
        )
        self.common = self.linear(f"{name}.gated.shares", bias=False)
        self.above = Extraction(
            self,
            [f"views.shared.{i}.mlp" for i in two],
            [[f"views.{t}.experts.{i}.mlp" for i in two] for t in two],
            [f"views.{t}.gated.shares" for t in two],
        )
        self.build_towers()

    def forward(self, batch):
        x = self.bottom(batch)
        seen, experts = self.below([x, x], x)
        common = mixture(experts, torch.softmax(self.common(x), 1))
        seen, _ = self.above(seen, common)
        return {task: self.towers[task](view)[:, 0] for task, view in zip(TASKS, seen)}


class PepNet(Tasks):
    """Chang et al., 2023, Eqs. (1)-(8)."""

    def build(self):
        self.domain = self.gate("bottom.gate")
        self.gates = nn.ModuleDict(
            {task: nn.ModuleList(self.gate(f"{task}_logit.{i}") for i in range(2)) for task in TASKS}
        )
        self.layers = nn.ModuleDict(
            {task: nn.ModuleList(self.linear(f"{task}_logit.{i}") for i in range(2)) for task in TASKS}
        )
        self.outs = nn.ModuleDict({task: self.linear(f"{task}_logit.linear") for task in TASKS})

    def gate(self, name):
        return nn.Sequential(self.linear(f"{name}.inner"), nn.ReLU(), self.linear(f"{name}.linear"), nn.Sigmoid())

    def forward(self, batch):
        x = self.bottom(batch)
        domain = self.tables["scene.pid"](batch["pid"])
        x = 2 * self.domain(torch.cat([domain, x.detach()], 1)) * x
        person = self.tables["person.user_id"](batch["user_id"])
        prior = torch.cat([person, self.candidate(batch), x.detach()], 1)
        logits = {}
        for task in TASKS:
            hidden = x
            for gate, layer in zip(self.gates[task], self.layers[task]):
                hidden = torch.relu(layer(2 * gate(prior) * hidden))
            logits[task] = self.outs[task](hidden)[:, 0]
        return logits


class Esmm(Tasks):
    """Ma et al., 2018 (ESMM), Eqs. (1)-(3)."""

    labels = ("click", "bought")

    def build(self):
        self.networks = nn.ModuleList(
            nn.Sequential(self.mlp(f"{part}_net", 2), self.linear(factor))
            for part, factor in (("click", "ctr"), ("bought", "cvr"))
        )

    def forward(self, batch):
        """Logits of the two factors, not of the labels."""
        x = self.bottom(batch)
        return [network(x)[:, 0] for network in self.networks]

    def loss(self, batch):
        click, after = self(batch)
        log_both = F.logsigmoid(click) + F.logsigmoid(after)
        bought = batch["bought"].to(log_both.dtype)
        purchase = -(bought * log_both + (1 - bought) * torch.log(-torch.expm1(log_both)))
        return cross_entropy(click, batch["click"]) + purchase.mean()
