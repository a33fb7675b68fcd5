"""What the two CTR libraries share: initial weights turned into theirs.

Both feed their activation unit `concat(q, k, q - k, q * k)`: rows of our first weight (`k, q, k - q, k * q`) trade places and the difference
changes sign. Both pool before the MLP's input in another order of fields; `order` says which.
"""

import torch

import workload as W


def unit_weight(weight):
    """`[192, 80]` of ours as `[80, 192]` of theirs."""
    k, q, d, p = weight.split(W.ITEM_WIDTH)
    return torch.cat([q, k, -d, p]).t()


def mlp_weight(weight, order):
    """`[176, 200]` of ours as `[200, 176]` with fields in `order`; `taste` is the pooled history."""
    ours = [*W.SCALARS, "taste", *W.ITEMS]
    width = {n: W.WIDTH for n in ours} | {"taste": W.ITEM_WIDTH}
    parts = dict(zip(ours, weight.split([width[n] for n in ours])))
    return torch.cat([parts[n] for n in order]).t()
