"""The training step of the benchmark on FuxiCTR's layers and training step: `--mode padded`.

Its DIN lives in the repository's model zoo, not in the package; the model here joins the package's own embedding, attention and MLP blocks
in the same way. Ids are one up, since 0 is its padding.
"""

from collections import OrderedDict

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import DIN_Attention, Dice, FeatureEmbeddingDict, MLP_Block
from fuxictr.pytorch.torch_utils import get_loss, get_optimizer

import batches
import harness
import library
import workload as W

HISTORY = {n: f"visited_{n}" for n in W.ITEMS}


def feature_map(most):
    found = FeatureMap("bench", ".")
    found.labels = ["click"]
    features = [(n, {"type": "categorical", "vocab_size": r + 1, "padding_idx": 0}) for n, r in (W.SCALARS | W.ITEMS).items()]
    features += [
        (HISTORY[n], {"type": "sequence", "vocab_size": r + 1, "padding_idx": 0, "max_len": most, "share_embedding": n})
        for n, r in W.ITEMS.items()
    ]
    found.features = OrderedDict(features)
    return found


class Model(torch.nn.Module):
    def __init__(self, features):
        super().__init__()
        self.embedding = FeatureEmbeddingDict(features, W.WIDTH)
        self.attention = DIN_Attention(W.ITEM_WIDTH, attention_units=list(W.UNIT), hidden_activations="Sigmoid", use_softmax=False)
        activations = [Dice(n) for n in W.HIDDEN]
        self.mlp = MLP_Block(W.MLP_WIDTH, list(W.HIDDEN), activations, output_dim=1, output_activation="sigmoid")

    def forward(self, x):
        found = self.embedding(x)
        target = torch.cat([found[n] for n in W.ITEMS], -1)
        sequence = torch.cat([found[HISTORY[n]] for n in W.ITEMS], -1)
        mask = x[HISTORY["good"]].long() != 0
        pooled = self.attention(target, sequence, mask)
        for n, part in zip(W.ITEMS, pooled.split(W.WIDTH, dim=-1)):
            found[HISTORY[n]] = part
        return self.mlp(self.embedding.dict2tensor(found, flatten_emb=True))


class FuxiCtr:
    def __init__(self, data):
        most = max(int(np.diff(b["offsets"]).max()) for b in data)
        self.model = Model(feature_map(most))
        self.loss = get_loss("binary_crossentropy")
        self.batches = []
        for b in data:
            b = batches.pad(b, most)
            mask = b["mask"].astype(np.int64)
            x = {n: b[n] + 1 for n in W.SCALARS | W.ITEMS} | {HISTORY[n]: (b[f"visited.{n}"] + 1) * mask for n in W.ITEMS}
            self.batches.append(({n: torch.from_numpy(v) for n, v in x.items()}, torch.from_numpy(b["label"])[:, None]))

    def reset(self, tensors):
        m = self.model
        dense = [x for x in m.mlp.mlp if isinstance(x, torch.nn.Linear)]
        unit = [x for x in m.attention.attention_layer.mlp if isinstance(x, torch.nn.Linear)]
        names = [(f"unit.{i}", x) for i, x in enumerate(unit[:-1])] + [("score", unit[-1])]
        names += [(f"hidden.{i}", x) for i, x in enumerate(dense[:-1])] + [("logit", dense[-1])]
        with torch.no_grad():
            for n in W.ITEMS | W.SCALARS:
                m.embedding.embedding_layers[n].weight[1:].copy_(tensors[f"init.table.{n}"])
                m.embedding.embedding_layers[n].weight[0].zero_()
            for name, layer in names:
                w = tensors[f"init.param.{name}.weight"]
                if name == "unit.0":
                    w = library.unit_weight(w)
                elif name == "hidden.0":
                    w = library.mlp_weight(w, [*W.SCALARS, *W.ITEMS, "taste"])
                else:
                    w = w.t()
                layer.weight.copy_(w)
                layer.bias.copy_(tensors[f"init.param.{name}.bias"])
            for i, d in enumerate(x for x in m.mlp.mlp if isinstance(x, Dice)):
                d.bn.reset_running_stats()
                d.alpha.copy_(tensors[f"init.param.hidden.{i}.alpha"])
        self.optimizer = get_optimizer("adam", m.parameters(), W.LR)
        m.train()

    def train(self, b):
        x, y = b
        self.optimizer.zero_grad()
        loss = self.loss(self.model(x), y, reduction="mean")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimizer.step()
        return loss.detach()


def build(arguments, data):
    if arguments.mode != "padded":
        raise SystemExit(f"unknown mode `{arguments.mode}`: only `padded`")
    if (arguments.model, arguments.unit, arguments.task) != ("din", "sigmoid", "train"):
        raise SystemExit("this side only trains DIN with sigmoid in the unit")
    return FuxiCtr(data)


if __name__ == "__main__":
    harness.main(__doc__, build)
