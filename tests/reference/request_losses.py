"""Writes fixtures/request_losses.safetensors: losses over the samples of requests, and their
derivatives, for tests/tests/reference/request_losses.rs. All of it is PyTorch's, in float64, request
by request, with autograd for the derivatives.

Run: python tests/reference/request_losses.py (numpy, torch, safetensors).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

random = np.random.default_rng(20261129)
sizes = [1, 7, 2, 12, 1, 4, 3]
offsets = np.concatenate([[0], np.cumsum(sizes)])
samples = int(offsets[-1])
# One request without a positive, one without a negative, and scores at which `exp` overflows.
label = (random.random(samples) < 0.4).astype(float)
label[offsets[1] : offsets[2]] = 0.0
label[offsets[6] : offsets[7]] = 1.0
score = random.normal(0, 2, samples)
score[offsets[3] : offsets[4]] += 800.0
# Whose label is known: of one request none, of one a single sample, the scores of others being far
# above it.
known = random.random(samples) < 0.7
known[offsets[2] : offsets[3]] = False
known[offsets[1] : offsets[2]] = np.arange(sizes[1]) == 2
known[offsets[6]] = False
score_known = score.copy()
score_known[offsets[6]] += 900.0


def listwise(z, y):
    return y * -F.log_softmax(z, 0)


def pairwise(z, y):
    worse = y[:, None] > y[None, :]
    return (F.softplus(z[None, :] - z[:, None]) * worse).sum(1)


def weighted(z, y):
    """Pairs weighted by the difference of `1 / log(1 + rank)`."""
    rank = 1 + (z[None, :] > z[:, None]).double().sum(1)
    gain = 1 / torch.log(1 + rank)
    apart = (gain[:, None] - gain[None, :]).abs()
    worse = y[:, None] > y[None, :]
    return (apart * F.softplus(z[None, :] - z[:, None]) * worse).sum(1)


def spread(z, y):
    """The greatest less the mean of the positives (0 if there are none), shared by softmax."""
    positive = y > 0
    mean = z[positive].mean() if positive.any() else torch.zeros((), dtype=z.dtype)
    return F.softmax(z, 0) * (z.max() - mean) / len(z)


def nearness(z, y):
    """Of all samples, how far they are from each other one, taken to the second of the pairs."""
    distance = (z[:, None] - z[None, :]).abs()
    return (distance.mean(0).sum() + (z[:, None] * z[None, :] * (y > 0)[None, :]).max(1).values).expand(len(z))


def listwise_known(z, y, known):
    """Of the samples with a known label alone; the others add nothing."""
    return listwise(z[known], y[known])


def pairwise_known(z, y, known):
    return pairwise(z[known], y[known])


out = {"score": score, "label": label, "requests": offsets.astype(np.int32)}
for function in (listwise, pairwise, weighted, spread, nearness):
    z = torch.tensor(score, requires_grad=True)
    y = torch.tensor(label)
    parts = [function(z[a:b], y[a:b]) for a, b in zip(offsets, offsets[1:])]
    # The loss of a batch is the mean over its samples.
    loss = torch.cat(parts).sum() / samples
    loss.backward()
    out[f"{function.__name__}/loss"] = np.array([loss.item()])
    out[f"{function.__name__}/gradient"] = z.grad.numpy()
out |= {"score_known": score_known, "known": known.astype(float), "label_known": label * known}
for function in (listwise_known, pairwise_known):
    z = torch.tensor(score_known, requires_grad=True)
    y, k = torch.tensor(label), torch.tensor(known)
    parts = [function(z[a:b], y[a:b], k[a:b]) for a, b in zip(offsets, offsets[1:])]
    loss = torch.cat(parts).sum() / samples
    loss.backward()
    out[f"{function.__name__}/loss"] = np.array([loss.item()])
    out[f"{function.__name__}/gradient"] = z.grad.numpy()
save_file(out, Path(__file__).parent / "fixtures" / "request_losses.safetensors")
