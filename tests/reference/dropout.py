"""Writes fixtures/dropout.safetensors: a network with dropout after a layer, over entries and over pairs
of entries, for tests/tests/reference/dropout.rs.

Which components are kept is drawn here once more, from the definition of `program/src/dropout.rs`
(Threefry-2x32 with 13 rounds), with NumPy and nothing of Din. PyTorch computes values and gradients in
float64 with these masks, kept components being divided by `1 - rate`.

Run: python tests/reference/dropout.py (numpy, torch, safetensors).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

MASK = 0xFFFFFFFF


def rotate(x, bits):
    return ((x << bits) | (x >> (32 - bits))) & MASK


def threefry(counter, key):
    keys = [key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA]
    x, y = (counter[0] + keys[0]) & MASK, (counter[1] + keys[1]) & MASK
    for i in range(13):
        x = (x + y) & MASK
        y = rotate(y, [13, 15, 26, 6, 17, 29, 16, 24][i % 8]) ^ x
        if i % 4 == 3:
            n = i // 4 + 1
            x = (x + keys[n % 3]) & MASK
            y = (y + keys[(n + 1) % 3] + n) & MASK
    return x, y


assert threefry((0, 0), (0, 0)) == (0x9D1C5EC6, 0x8BD50731), "a known answer of Random123"


def words(x):
    return x & MASK, x >> 32


def bits(x):
    return int(np.float32(x).view(np.uint32))


def keep(seed, site, step, rate, sample, first, second, width):
    """Whether each of `width` components is kept, as factors 0 and 1."""
    key = threefry(words(step), threefry((site, 0), threefry((0x64726F70, 0x006F7574), words(seed))))
    key = ((key[0] + bits(first)) & MASK, (key[1] + bits(second)) & MASK)
    drawn = [threefry((bits(sample), bits(c)), key)[0] for c in range(width)]
    return torch.tensor([0.0 if word >> 8 < round(rate * 2**24) else 1.0 for word in drawn], dtype=torch.float64)


SEED, LENGTHS = 20261129 + (7 << 40), [3, 0, 1, 5, 2]
random = np.random.default_rng(41)
samples, entries = len(LENGTHS), sum(LENGTHS)
offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
one, many = random.integers(0, 4, samples), random.integers(0, 6, entries)
label = torch.tensor(random.integers(0, 2, samples).astype(float))
weights = {
    "one_rows": (4, 4), "many_rows": (6, 3),
    "a.weight": (4, 5), "a.bias": (5,), "b.weight": (3, 4), "b.bias": (4,), "y.weight": (12, 1), "y.bias": (1,),
}
weights = {name: torch.tensor(random.normal(0, 0.7, shape), requires_grad=True) for name, shape in weights.items()}
out = {
    "seed": np.array([SEED], dtype=np.int64), "offsets": offsets.astype(np.int32), "label": label.numpy(),
    "one": one.astype(np.int32), "many": many.astype(np.int32),
}
out.update({name: w.detach().numpy() for name, w in weights.items()})


def dropped(x, mask, rate):
    return x * mask / (1 - rate)


for step in (1, 2, 1000):
    masks = []
    logits = []
    for s in range(samples):
        keys = [keep(SEED, 0, step, 0.3, s, 0, 0, 5)]
        a = dropped(weights["one_rows"][one[s]] @ weights["a.weight"] + weights["a.bias"], keys[0], 0.3)
        x = weights["many_rows"][many[offsets[s]:offsets[s + 1]]]
        b, c = torch.zeros(4, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        for i in range(LENGTHS[s]):
            keys.append(keep(SEED, 1, step, 0.5, s, i, 0, 4))
            b = b + dropped(torch.tanh(x[i] @ weights["b.weight"] + weights["b.bias"]), keys[-1], 0.5)
            for j in range(LENGTHS[s]):
                keys.append(keep(SEED, 2, step, 0.25, s, i, j, 3))
                c = c + dropped(x[i] * x[j] + x[i], keys[-1], 0.25)
        logits.append(torch.cat([a, b, c]) @ weights["y.weight"] + weights["y.bias"])
        masks.extend(keys)
    logits = torch.cat(logits)
    for w in weights.values():
        w.grad = None
    loss = F.binary_cross_entropy_with_logits(logits, label)
    loss.backward()
    out[f"{step}/kept"] = torch.cat(masks).numpy()
    out[f"{step}/logits"], out[f"{step}/loss"] = logits.detach().numpy(), loss.detach().numpy()[None]
    out.update({f"{step}/gradient.{name}": w.grad.numpy() for name, w in weights.items()})

save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, Path(__file__).parent / "fixtures" / "dropout.safetensors")
