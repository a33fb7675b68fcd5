"""A training step of FuxiCTR's own models, for `zoo_compare.py`: the classes of `model_zoo` in a checkout of reczoo/FuxiCTR.

    python bench/peers/zoo_fuxictr_step.py --fuxictr CHECKOUT --data LOG --init START --model interaction/dcnv2 [--threads 2] [--serve]

Features, and sizes of embeddings and layers, are those of the model of `models/`; initial weights are FuxiCTR's own, and so are losses.
Optimizer and step are FuxiCTR's too: `torch.optim.Adam` on whole tables, and gradients clipped. What differs by definition:

- BST: the position is a vector of 8 beside an entry's 24, so that the attention has a width of 32 and its inner layer too; the mean is over
  entries and candidate.
- DIEN: ReLU where the model of `models/` has PReLU.
- AutoInt: the second layer adds its input itself, where the model of `models/` multiplies it with a matrix first.
- xDeepFM, FiBiNET: the first-order weights of the past are a sum, not a mean.
"""

import importlib.util
import os
import pathlib
import tempfile
from collections import OrderedDict

import numpy as np
import torch
from fuxictr.features import FeatureMap

import harness
import zoo_log
import zoo_step

LISTS = list(zoo_log.ITEM_LISTS)
TARGET = tuple(zoo_log.ITEMS)
COMMON = {"embedding_dim": 8, "optimizer": "adam", "verbose": 0, "metrics": ["AUC"], "gpu": -1, "net_dropout": 0, "batch_norm": False}
# By model: folder and class in model_zoo, and settings.
MODELS = {
    "interaction/autoint": ("AutoInt", {"dnn_hidden_units": [], "attention_layers": 2, "num_heads": 2, "attention_dim": 16}),
    "interaction/dcnv2": ("DCNv2", {"parallel_dnn_hidden_units": [64, 32], "num_cross_layers": 2}),
    "interaction/fibinet": ("FiBiNET", {"hidden_units": [64, 32], "bilinear_type": "field_all"}),
    "interaction/xdeepfm": ("xDeepFM", {"dnn_hidden_units": [64, 32], "cin_hidden_units": [16, 16]}),
    "multitask/mmoe": (
        "multitask/MMoE",
        {
            "task": ["binary_classification"] * 2,
            "num_tasks": 2,
            "expert_hidden_units": [32],
            "gate_hidden_units": [],
            "tower_hidden_units": [16],
        },
    ),
    "sequence/bst": ("BST", {"dnn_hidden_units": [64, 32], "dnn_activations": "LeakyReLU", "bst_target_field": [TARGET], "bst_sequence_field": [tuple(LISTS)]}),
    "sequence/dien": (
        "DIEN",
        {"dnn_hidden_units": [64, 32], "dien_target_field": [TARGET], "dien_sequence_field": [tuple(LISTS)], "dien_neg_seq_field": []},
    ),
}


def model_class(checkout, name):
    path = pathlib.Path(checkout) / "model_zoo" / name / "src" / f"{name.split('/')[-1]}.py"
    spec = importlib.util.spec_from_file_location("fuxictr_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name.split("/")[-1])


def feature_map(model, start, longest):
    """Row 0 of each table is padding."""
    scalars, lists = zoo_log.columns(model)
    found = FeatureMap("zoo", ".")
    found.labels = list(zoo_log.REFERENCES[model].labels)
    features = OrderedDict()
    for column, table in scalars.items():
        rows = len(start.numbers(f"table.{table}"))
        features[column] = {"type": "categorical", "vocab_size": rows + 1, "padding_idx": 0, "source": ""}
    for column, table in lists.items():
        rows = len(start.numbers(f"table.{table}"))
        features[column] = {"type": "sequence", "vocab_size": rows + 1, "padding_idx": 0, "max_len": longest, "source": ""}
        shared = [c for c, t in scalars.items() if t == table]
        if shared:
            features[column]["share_embedding"] = shared[0]
        if not model.startswith("sequence/"):
            features[column]["feature_encoder"] = "layers.MaskedAveragePooling()"
    found.features, found.default_emb_dim = features, 8
    found.num_fields = len(features)
    return found


class FuxiCtr:
    def __init__(self, arguments, start, data):
        longest = max(int(np.diff(b["offsets"]).max()) for b in data)
        name, settings = MODELS[arguments.model]
        features = feature_map(arguments.model, start, longest)
        lr = zoo_log.REFERENCES[arguments.model].lr
        torch.manual_seed(1)
        make = model_class(arguments.fuxictr, name)
        loss = ["binary_crossentropy"] * 2 if "num_tasks" in settings else "binary_crossentropy"
        given = COMMON | settings | {"learning_rate": lr, "loss": loss, "model_root": tempfile.mkdtemp()}
        self.model = make(features, **given)
        self.model._max_gradient_norm = 10.0
        self.rate, self.losses = lr, loss
        self.begun = {n: w.clone() for n, w in self.model.state_dict().items()}
        scalars, lists = zoo_log.columns(arguments.model)
        self.batches = []
        for b in data:
            one = {n: b[n] + 1 for n in scalars} | {n: zoo_log.padded(b[n] + 1, b["offsets"], longest, 0) for n in lists}
            self.batches.append({n: torch.from_numpy(v) for n, v in (one | {n: b[n] for n in features.labels}).items()})

    def reset(self):
        self.model.load_state_dict(self.begun)
        self.model.compile("adam", self.losses, self.rate)
        self.model.train()

    def train(self, b):
        return self.model.train_step(b).detach()


def main():
    parser = zoo_step.parser(__doc__)
    parser.add_argument("--fuxictr", default=os.environ.get("FUXICTR"), help="a checkout of reczoo/FuxiCTR [default: $FUXICTR]")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    start = zoo_log.begin(arguments.init, torch.float32)
    data = zoo_log.read(arguments.data, arguments.model, start, arguments.batch, arguments.steps)
    side = FuxiCtr(arguments, start, data)
    harness.run(arguments, side.batches, side.reset, side.train)


if __name__ == "__main__":
    main()
