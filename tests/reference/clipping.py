"""Writes fixtures/clipping.safetensors: five steps with gradients limited by the norm of all of them,
for tests/tests/reference/clipping.rs.

A network over a table that two features share, whose gradient is dense here: its norm is that of the
distinct rows of a batch. `limited` multiplies by min(1, c / norm), with the norm as PyTorch computes
it; `torch` is `clip_grad_norm_` itself, which divides by norm + 1e-6.

Run: python tests/reference/clipping.py (numpy, torch, safetensors).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

IDS, WIDTH, HIDDEN, BATCH, STEPS, LIMIT = 7, 3, 4, 6, 5, 0.4
random = np.random.default_rng(20261129)
start = {
    "table": random.normal(0, 1, (IDS, WIDTH)),
    "hidden.weight": random.normal(0, 1, (2 * WIDTH, HIDDEN)),
    "hidden.bias": random.normal(0, 1, HIDDEN),
    "logit.weight": random.normal(0, 1, (HIDDEN, 1)),
    "logit.bias": random.normal(0, 1, 1),
}
# Few ids, so that they repeat within a batch and some are missing.
first, second = (random.integers(0, IDS - 2, (STEPS, BATCH)) for _ in range(2))
label = random.integers(0, 2, (STEPS, BATCH)).astype(float)
out = {f"start/{name}": value for name, value in start.items()}
out.update(first=first.astype(np.int64), second=second.astype(np.int64), label=label)

OPTIMIZERS = {
    "sgd": lambda weights: torch.optim.SGD(weights, lr=0.5),
    "adam": lambda weights: torch.optim.Adam(weights, lr=0.05),
}
for optimizer, make in OPTIMIZERS.items():
    for how in ("limited", "torch"):
        weights = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
        step = make(weights.values())
        norms = []
        for k in range(STEPS):
            ids = [torch.tensor(feature[k]) for feature in (first, second)]
            x = torch.cat([F.embedding(i, weights["table"]) for i in ids], dim=1)
            hidden = torch.tanh(x @ weights["hidden.weight"] + weights["hidden.bias"])
            logit = hidden @ weights["logit.weight"] + weights["logit.bias"]
            step.zero_grad()
            F.binary_cross_entropy_with_logits(logit[:, 0], torch.tensor(label[k])).backward()
            limit = LIMIT if how == "torch" else float("inf")
            norm = torch.nn.utils.clip_grad_norm_(weights.values(), limit)
            norms.append(norm.item())
            if how == "limited":
                for weight in weights.values():
                    weight.grad *= min(1.0, LIMIT / norm.item())
            step.step()
        assert min(norms) < LIMIT < max(norms), norms
        for name, weight in weights.items():
            out[f"{optimizer}/{how}/{name}"] = weight.detach().numpy()

out["limit"] = np.array([LIMIT])
save_file(out, Path(__file__).parent / "fixtures" / "clipping.safetensors")
