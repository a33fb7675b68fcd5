"""Writes fixtures/losses.safetensors: losses and their derivatives, for tests/tests/reference/losses.rs.

Losses of numbers and counts are PyTorch's, in float64. Cross-entropies of products and means of
probabilities are evaluated by mpmath with 800 digits from the plain formula `-y ln p - (1 - y) ln (1 -
p)`, so that nothing is lost where a probability is near 0 or 1.

Run: python tests/reference/losses.py (numpy, torch, safetensors, mpmath).
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
N = 40


def put(name, inputs, label, losses):
    """`losses`: one per sample, of tensors that require gradients."""
    losses.sum().backward()
    out[f"{name}/label"] = label.numpy()
    out[f"{name}/loss"] = losses.detach().numpy()
    for key, value in inputs.items():
        out[f"{name}/{key}"] = value.detach().numpy()
        out[f"{name}/gradient.{key}"] = value.grad.numpy()


def draw(scale=1.0):
    return torch.tensor(random.normal(0, scale, N), requires_grad=True)


def number(scale=3.0):
    return torch.tensor(random.normal(0, scale, N))


def count():
    return torch.tensor(random.poisson(3.0, N).astype(float))


a, y = draw(), number()
put("squared_error", {"a": a}, y, F.mse_loss(a, y, reduction="none"))
a, y = draw(), number(1.0)
put("huber", {"a": a}, y, F.huber_loss(a, y, reduction="none", delta=0.7))
a, b, y = draw(), draw(), number()
std = F.softplus(b) + 0.1
put("gaussian_nll", {"a": a, "b": b}, y, F.gaussian_nll_loss(a, y, std * std, reduction="none", eps=0.0))
a, y = draw(), count()
put("poisson_nll", {"a": a}, y, F.poisson_nll_loss(a, y, log_input=True, full=False, reduction="none"))
a, y = draw(), count()
rate = F.softplus(a)
put("poisson_nll_rate", {"a": a}, y, F.poisson_nll_loss(rate, y, log_input=False, full=False, reduction="none", eps=0.0))
a, y = draw(), number()
difference = y - a
put("pinball", {"a": a}, y, torch.where(difference > 0, 0.9 * difference, -0.1 * difference))
a, t, y = draw(), torch.tensor(random.random(N)), torch.zeros(N, dtype=torch.float64)
put("soft_cross_entropy", {"a": a}, t, F.binary_cross_entropy_with_logits(a, t, reduction="none"))


def sigmoid(z):
    return 1 / (1 + mpmath.exp(-z))


PROBABILITIES = {
    "product": lambda a, b: sigmoid(a) * sigmoid(b),
    "complement": lambda a, b: 1 - sigmoid(a) * (1 - sigmoid(b)),
    "either": lambda a, b: 1 - (1 - sigmoid(a)) * (1 - mpmath.mpf("0.5") * sigmoid(b)),
    "between": lambda a, b: sigmoid(b) * sigmoid(a) + (1 - sigmoid(b)) * sigmoid(2 * a + 1),
    "mixture": lambda a, b: (mpmath.exp(a) * sigmoid(b) + mpmath.exp(2 * b) * sigmoid(a)) / (mpmath.exp(a) + mpmath.exp(2 * b)),
    "mean": lambda a, b: (sigmoid(a) + sigmoid(b)) / 2,
    "least": lambda a, b: min(sigmoid(a), sigmoid(b)) * max(sigmoid(a), mpmath.mpf("0.25")),
}
far = [-600.0, -90.0, -30.0, -2.5, -0.25, 0.0, 0.75, 3.0, 25.0, 80.0, 500.0]
pairs = [(x, z) for x in far for z in far if x != z]
for name, probability in PROBABILITIES.items():
    values = {key: [] for key in ("a", "b", "label", "loss", "gradient.a", "gradient.b")}
    for k, (x, z) in enumerate(pairs):
        label = k % 2

        def loss(x, z, label=label, probability=probability):
            p = probability(x, z)
            return -mpmath.log(p) if label else -mpmath.log(1 - p)

        x, z = mpmath.mpf(x), mpmath.mpf(z)
        step = mpmath.mpf(10) ** -100
        derivative_a = (loss(x + step, z) - loss(x - step, z)) / (2 * step)
        derivative_b = (loss(x, z + step) - loss(x, z - step)) / (2 * step)
        for key, value in zip(values, (x, z, label, loss(x, z), derivative_a, derivative_b)):
            values[key].append(float(value))
    out.update({f"{name}/{key}": np.array(value) for key, value in values.items()})

save_file(out, Path(__file__).parent / "fixtures" / "losses.safetensors")
