"""Writes fixtures/class_losses.safetensors: losses of class labels and their derivatives, for
tests/tests/reference/class_losses.rs.

The cross-entropy of a softmax is PyTorch's, in float64. Ordinal probabilities are evaluated by mpmath
with 800 digits from the plain formula `sigmoid(cut[k] - score) - sigmoid(cut[k - 1] - score)`, so that
nothing is lost where one is small; derivatives are central differences with a step of 1e-100.

Run: python tests/reference/class_losses.py (numpy, torch, safetensors, mpmath).
"""

from pathlib import Path

import mpmath
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

mpmath.mp.dps = 800
out = {}
random = np.random.default_rng(20261129)

# Logits near each other, and far apart.
CLASSES = 5
near = random.normal(0, 2, (30, CLASSES))
far = random.choice([-600.0, -40.0, -1.0, 0.0, 0.5, 30.0, 500.0], (30, CLASSES))
logits = torch.tensor(np.concatenate([near, far]), requires_grad=True)
label = torch.tensor(random.integers(0, CLASSES, 60))
losses = F.cross_entropy(logits, label, reduction="none")
losses.sum().backward()
out["categorical/logits"] = logits.detach().numpy()
out["categorical/label"] = label.numpy().astype(float)
out["categorical/loss"] = losses.detach().numpy()
out["categorical/gradient"] = logits.grad.numpy()
out["categorical/probabilities"] = F.softmax(logits.detach(), dim=1).numpy()


def sigmoid(z):
    return 1 / (1 + mpmath.exp(-z))


def probabilities(score, weights):
    """`weights`: the first cut point, and the logarithms of the distances to the next ones."""
    cuts = [weights[0]]
    for gap in weights[1:]:
        cuts.append(cuts[-1] + mpmath.exp(gap))
    below = [mpmath.mpf(0)] + [sigmoid(cut - score) for cut in cuts] + [mpmath.mpf(1)]
    return [b - a for a, b in zip(below, below[1:])]


STEP = mpmath.mpf(10) ** -100
for classes in (2, 3, 5):
    # Distances from 1e-6 to about 7.
    weights = [mpmath.mpf(-0.75)] + [mpmath.mpf(x) for x in [-13.8, 2.0, 0.25][: classes - 2]]
    scores = [-300.0, -20.0, -2.5, -0.75, 0.0, 0.5, 3.0, 25.0, 200.0]
    cases = [(mpmath.mpf(score), label) for score in scores for label in range(classes)]
    rows = {key: [] for key in ("score", "label", "loss", "gradient.score", "gradient.weights", "log_probabilities")}
    for score, label in cases:

        def loss(score, weights, label=label):
            return -mpmath.log(probabilities(score, weights)[label])

        def by_weight(k, score=score, loss=loss):
            moved = [[w + (STEP * sign if i == k else 0) for i, w in enumerate(weights)] for sign in (1, -1)]
            return (loss(score, moved[0]) - loss(score, moved[1])) / (2 * STEP)

        rows["score"].append(float(score))
        rows["label"].append(float(label))
        rows["loss"].append(float(loss(score, weights)))
        rows["gradient.score"].append(float((loss(score + STEP, weights) - loss(score - STEP, weights)) / (2 * STEP)))
        rows["gradient.weights"].append([float(by_weight(k)) for k in range(len(weights))])
        rows["log_probabilities"].append([float(mpmath.log(p)) for p in probabilities(score, weights)])
    out[f"ordinal{classes}/weights"] = np.array([float(w) for w in weights])
    out.update({f"ordinal{classes}/{key}": np.array(value) for key, value in rows.items()})

save_file(out, Path(__file__).parent / "fixtures" / "class_losses.safetensors")
