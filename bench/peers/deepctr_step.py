"""The training step of the benchmark by DeepCTR-Torch's DIN: `--mode padded`. Its own model, embedding, Dice and optimizer (`adam`).

Three things differ from `model.fit`, so that it trains the same model: the loss is the batch's mean instead of its sum; Dice in the MLP is
put in by hand, since `DIN(dnn_activation="dice")` builds it for 3-dimensional input and fails; and the scale and shift of its batch norm, which
Eq. (5) does not have, stay at 1 and 0.
"""

import numpy as np
import torch
import torch.nn.functional as F
from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
from deepctr_torch.layers.activation import Dice
from deepctr_torch.models import DIN

import batches
import harness
import library
import workload as W


class DeepCtr:
    def __init__(self, data):
        most = max(int(np.diff(b["offsets"]).max()) for b in data)
        columns = [SparseFeat(n, r, W.WIDTH) for n, r in (W.SCALARS | W.ITEMS).items()]
        columns += [
            VarLenSparseFeat(SparseFeat(f"hist_{n}", r, W.WIDTH, embedding_name=n), most, length_name="length")
            for n, r in W.ITEMS.items()
        ]
        self.model = DIN(
            columns,
            list(W.ITEMS),
            dnn_hidden_units=W.HIDDEN,
            dnn_activation="linear",
            att_hidden_size=W.UNIT,
            att_activation="sigmoid",
            att_weight_normalization=False,
            l2_reg_embedding=0.0,
        )
        for i, n in enumerate(W.HIDDEN):
            self.model.dnn.activation_layers[i] = Dice(n, dim=2)
            self.model.dnn.activation_layers[i].bn.requires_grad_(False)
        self.batches = []
        for b in data:
            length = np.diff(b["offsets"])
            b = batches.pad(b, most)
            values = {n: b[n] for n in W.SCALARS | W.ITEMS} | {f"hist_{n}": b[f"visited.{n}"] for n in W.ITEMS} | {"length": length}
            x = np.concatenate([values[n].reshape(len(length), -1) for n in self.model.feature_index], 1)
            self.batches.append((torch.from_numpy(x).float(), torch.from_numpy(b["label"])))

    def reset(self, tensors):
        m = self.model
        with torch.no_grad():
            for n in W.ITEMS | W.SCALARS:
                m.embedding_dict[n].weight.copy_(tensors[f"init.table.{n}"])
            layers = [(f"unit.{i}", m.attention.local_att.dnn.linears[i]) for i in range(len(W.UNIT))]
            layers += [("score", m.attention.local_att.dense)]
            layers += [(f"hidden.{i}", m.dnn.linears[i]) for i in range(len(W.HIDDEN))]
            for name, layer in layers:
                w = tensors[f"init.param.{name}.weight"]
                if name == "unit.0":
                    w = library.unit_weight(w)
                elif name == "hidden.0":
                    w = library.mlp_weight(w, [*W.SCALARS, *W.ITEMS, "taste"])
                else:
                    w = w.t()
                layer.weight.copy_(w)
                layer.bias.copy_(tensors[f"init.param.{name}.bias"])
            m.dnn_linear.weight.copy_(tensors["init.param.logit.weight"].t())
            m.out.bias.copy_(tensors["init.param.logit.bias"])
            for i, d in enumerate(m.dnn.activation_layers):
                d.bn.reset_parameters()
                d.alpha.copy_(tensors[f"init.param.hidden.{i}.alpha"])
        m.compile("adam", "binary_crossentropy")
        m.optim.param_groups[0]["lr"] = W.LR
        m.train()

    def train(self, b):
        x, y = b
        predicted = self.model(x).squeeze(-1)
        self.model.optim.zero_grad()
        loss = F.binary_cross_entropy(predicted, y)
        total = loss + self.model.get_regularization_loss() + self.model.aux_loss
        total.backward()
        self.model.optim.step()
        return loss.detach()


def build(arguments, data):
    if arguments.mode != "padded":
        raise SystemExit(f"unknown mode `{arguments.mode}`: only `padded`")
    if (arguments.model, arguments.unit, arguments.task) != ("din", "sigmoid", "train"):
        raise SystemExit("this side only trains DIN with sigmoid in the unit")
    return DeepCtr(data)


if __name__ == "__main__":
    harness.main(__doc__, build)
