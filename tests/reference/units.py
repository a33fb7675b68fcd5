"""The units of the paper in PyTorch, float64, ragged: what the fixtures are made from.

Written from the paper (Zhou et al., 2017) and the fixed choices of meaning in the language, not from the compiler. There is no
padding: the entries of all samples stand one behind the other, `segment[i]` is the sample of entry `i`, and pooling adds rows with
`index_add`. Derivatives are PyTorch's; `make_fixtures.py --check` compares them with finite differences.
"""

import torch


def linear(x, weight, bias):
    """`x: [n, k]`, `weight: [k, m]`, `bias: [m]`."""
    return x @ weight + bias


def prelu(x, alpha):
    """Eq. (3); the derivative at 0 is that of the branch `x <= 0`."""
    return torch.where(x > 0, x, alpha * x)


def moments(x):
    """Mean and biased variance of each unit over all rows, differentiable."""
    mean = x.sum(0) / x.shape[0]
    centred = x - mean
    return mean, (centred * centred).sum(0) / x.shape[0]


def dice(x, alpha, running, momentum=0.99, eps=1e-8, training=True):
    """Eqs. (4)-(7). `running` is (mean, variance); returns the value and the new running pair.

    In training the statistics are the batch's and gradients flow through them; no rows leave the running pair alone.
    """
    if training:
        if x.shape[0] == 0:
            return x, running
        mean, variance = moments(x)
        kept = 1.0 - momentum
        new = (
            momentum * running[0] + kept * mean.detach(),
            momentum * running[1] + kept * variance.detach(),
        )
    else:
        mean, variance = running
        new = running
    p = torch.sigmoid((x - mean) / torch.sqrt(variance + eps))
    return alpha * (1.0 - p) * x + p * x, new


def segment_sum(x, segment, samples):
    """`x: [n, d]` added up by sample: `[samples, d]`, 0 for a sample without entries."""
    return torch.zeros(samples, x.shape[1], dtype=x.dtype).index_add(0, segment, x)


def segment_softmax(x, segment, samples):
    """Softmax over the entries of each sample, by column; `x: [n, d]`."""
    top = torch.full((samples, x.shape[1]), -torch.inf, dtype=x.dtype)
    top = top.scatter_reduce(0, segment[:, None].expand_as(x), x.detach(), "amax")
    e = torch.exp(x - top[segment])
    return e / segment_sum(e, segment, samples)[segment]


def attention_input(history, candidate, segment):
    """`concat(k, q, k - q, k * q)`: `[n, 4 d]`."""
    q = candidate[segment]
    return torch.cat([history, q, history - q, history * q], 1)


def interest(history, candidate, segment, score, normalised=False):
    """Eq. (2). `score` maps `[n, 4 d]` to `[n, 1]`; no softmax unless `normalised`."""
    samples = candidate.shape[0]
    w = score(attention_input(history, candidate, segment))
    if normalised:
        w = segment_softmax(w, segment, samples)
    return segment_sum(w * history, segment, samples)


def by_list(x, segment, samples, f):
    """`f` of the entries of each list, `[m, d]`, as one row; 0 for an empty list."""
    rows = [f(x[segment == s]) if (segment == s).any() else None for s in range(samples)]
    width = next(row for row in rows if row is not None).shape[0]
    return torch.stack([torch.zeros(width, dtype=x.dtype) if row is None else row for row in rows])


def self_attention(x, queries, keys, values):
    """Vaswani et al., 2017, Eq. (1), of the entries of one list: `[m, d]` to `[m, width]`."""
    q, k, v = x @ queries, x @ keys, x @ values
    return torch.softmax(q @ k.T / q.shape[1] ** 0.5, 1) @ v


def where_positive(x):
    """The entries of one list whose components sum to more than 0."""
    return x[x.sum(1) > 0]


def cross_entropy(logit, label):
    """`softplus(z) - y z`, mean over the batch; written stably."""
    z = logit
    softplus = torch.clamp(z, min=0) + torch.log1p(torch.exp(-z.abs()))
    return (softplus - label * z).sum() / z.shape[0]


def adaptive(weight, count, lam):
    """Eq. (9): what the gradient of a touched row gains. `weight: [r, d]`, `count: [r]`."""
    return lam / count[:, None] * weight


def difacto(weight, count, lam):
    """Eq. (10)."""
    return lam * count[:, None] * weight


def sgd(weight, grad, slots, step, lr):
    return weight - lr * grad, {}


def adam(weight, grad, slots, step, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam; `step` is the run's, from 1. For a table only touched rows are handed in (lazy)."""
    m = beta1 * slots["m"] + (1 - beta1) * grad
    v = beta2 * slots["v"] + (1 - beta2) * grad * grad
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    return weight - lr * m_hat / (torch.sqrt(v_hat) + eps), {"m": m, "v": v}
