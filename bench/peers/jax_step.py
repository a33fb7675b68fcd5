"""The training step of the benchmark in JAX, `jit`, f32: `--mode split` or `ragged`.

Entries of all samples stand one behind the other, filled up to one static size over all batches (free places belong to a sample that is
dropped); all tables in one; Adam on the whole table. `split`: the first layer split as in `torch_step.py`, which also says how `--task
rank` is computed; `ragged`: the concat built. `harness.py` says what a round is and prints.
"""

import os

import numpy as np

import harness
import workload as W

TABLES = list(W.ITEMS | W.SCALARS)
START = dict(zip(TABLES, np.cumsum([0] + list((W.ITEMS | W.SCALARS).values())[:-1]).tolist()))
E = W.ITEM_WIDTH


def arrays(data):
    """Batches with entries filled up to one size."""
    most = max(int(b["offsets"][-1]) for b in data)
    most = (most + 511) // 512 * 512
    out = []
    for b in data:
        n, free = len(b["label"]), most - int(b["offsets"][-1])
        segment = np.repeat(np.arange(n), np.diff(b["offsets"]))
        history = np.stack([b[f"visited.{t}"] + START[t] for t in W.ITEMS], 1)
        out.append(
            {
                "ids": np.stack([b[t] + START[t] for t in TABLES], 1).astype(np.int32),
                "history": np.concatenate([history, np.zeros((free, len(W.ITEMS)), np.int64)]).astype(np.int32),
                "segment": np.concatenate([segment, np.full(free, n)]).astype(np.int32),
                "label": b["label"],
            }
        )
    return out


def requests(data):
    return [
        {
            "scalars": np.array([b[t] + START[t] for t in W.SCALARS], np.int32),
            "history": np.stack([b[f"visited.{t}"] + START[t] for t in W.ITEMS], 1).astype(np.int32),
            "ids": np.stack([b[t] + START[t] for t in W.ITEMS], 1).astype(np.int32),
            "label": b["label"],
        }
        for b in data
    ]


def main():
    arguments = harness.options(__doc__)
    if arguments.mode not in ("split", "ragged") or (arguments.task == "rank" and arguments.mode != "split"):
        raise SystemExit(f"unknown mode `{arguments.mode}`: `split` or `ragged`; only `split` has the task `rank`")
    # XLA sizes its pool by the cores that the process may use.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    import jax
    import jax.numpy as jnp
    from safetensors.numpy import load_file

    tensors = load_file(arguments.init)
    base, training = arguments.model == "base", arguments.task == "train"
    sizes = {f"hidden.{i}": n for i, n in enumerate(W.HIDDEN)}
    if not base and arguments.unit == "dice":
        sizes |= {f"unit.{i}": n for i, n in enumerate(W.UNIT)}

    def linear(p, x, name):
        return x @ p[f"{name}.weight"] + p[f"{name}.bias"]

    def dice(p, state, new, x, name, mask=None):
        """Moments over all rows, or over those where the mask is 1; `new` gets the running ones."""
        mean, var = state[f"{name}.mean"], state[f"{name}.var"]
        if training:
            over = (lambda x: x.mean(0)) if mask is None else (lambda x: (x * mask).sum(0) / mask.sum())
            batch = over(x)
            moments = batch, over(jnp.square(x - batch))
            for what, old, value in zip(("mean", "var"), (mean, var), moments):
                new[f"{name}.{what}"] = W.MOMENTUM * old + (1 - W.MOMENTUM) * jax.lax.stop_gradient(value)
            mean, var = moments
        gate = jax.nn.sigmoid((x - mean) * jax.lax.rsqrt(var + W.EPS))
        return x * (p[f"{name}.alpha"] * (1 - gate) + gate)

    def unit_end(p, state, new, x, mask=None):
        for i in range(len(W.UNIT)):
            name = f"unit.{i}"
            x = x if i == 0 else linear(p, x, name)
            x = dice(p, state, new, x, name, mask) if name in sizes else jax.nn.sigmoid(x)
        return linear(p, x, "score")

    def tail_end(p, state, new, x):
        x = dice(p, state, new, x, "hidden.0")
        for i in range(1, len(W.HIDDEN)):
            x = dice(p, state, new, linear(p, x, f"hidden.{i}"), f"hidden.{i}")
        return linear(p, x, "logit")[:, 0]

    def logits(p, state, b):
        new, n = {}, b["label"].shape[0]
        one = p["table"][b["ids"]].reshape(n, -1)
        candidate, scalars = one[:, :E], one[:, E:]
        k = p["table"][b["history"]].reshape(-1, E)
        if not base:
            spread = jnp.minimum(b["segment"], n - 1)
            if arguments.mode == "split":
                wk, wq, wd, wp = jnp.split(p["unit.0.weight"], 4)
                term = candidate @ (wq - wd) + p["unit.0.bias"]
                x = jnp.concatenate([k, k * candidate[spread]], 1) @ jnp.concatenate([wk + wd, wp]) + term[spread]
            else:
                q = candidate[spread]
                x = linear(p, jnp.concatenate([k, q, k - q, k * q], 1), "unit.0")
            k = unit_end(p, state, new, x, (b["segment"] < n)[:, None].astype(x.dtype)) * k
        taste = jax.ops.segment_sum(k, b["segment"], n + 1, indices_are_sorted=True)[:n]
        x = linear(p, jnp.concatenate([scalars, taste, candidate], 1), "hidden.0")
        return tail_end(p, state, new, x), new

    def rank(p, state, b):
        scalars = p["table"][b["scalars"]].reshape(-1)
        k = p["table"][b["history"]].reshape(-1, E)
        candidate = p["table"][b["ids"]].reshape(-1, E)
        ws, wt, wc = jnp.split(p["hidden.0.weight"], [len(scalars), len(scalars) + E])
        request = scalars @ ws + p["hidden.0.bias"]
        if base:
            return tail_end(p, state, {}, request + k.sum(0) @ wt + candidate @ wc)
        wk, wq, wd, wp = jnp.split(p["unit.0.weight"], 4)
        term = candidate @ (wq - wd) + p["unit.0.bias"]
        w = (wk + wd)[:, None] + candidate.T[:, :, None] * wp[:, None]
        x = (k @ w.reshape(E, -1)).reshape(len(k), *term.shape) + term
        taste = unit_end(p, state, {}, x)[:, :, 0].T @ k
        return tail_end(p, state, {}, request + taste @ wt + candidate @ wc)

    def loss_of(p, state, b):
        z, new = logits(p, state, b)
        return (jax.nn.softplus(z) - b["label"] * z).mean(), new

    def step(p, m, v, state, number, b):
        (loss, state), g = jax.value_and_grad(loss_of, has_aux=True)(p, state, b)
        number = number + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate, root = W.LR / (1 - 0.9**number), 1 - 0.999**number
        p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v / root) + 1e-8), p, m, v)
        return p, m, v, state, number, loss

    step = jax.jit(step, donate_argnums=(0, 1, 2, 3))
    score = jax.jit(rank if arguments.task == "rank" else lambda p, state, b: logits(p, state, b)[0])
    now = []

    def reset():
        now.clear()
        names = [f"{name}.{what}" for name in ("unit.0", "unit.1", "score") for what in ("weight", "bias")] if not base else []
        names += [f"{name}.{what}" for name in ("hidden.0", "hidden.1", "logit") for what in ("weight", "bias")]
        p = {name: jnp.array(tensors[f"init.param.{name}"]) for name in names + [f"{name}.alpha" for name in sizes]}
        p["table"] = jnp.array(np.concatenate([tensors[f"init.table.{t}"] for t in TABLES]))
        state = {f"{name}.mean": jnp.zeros(n) for name, n in sizes.items()} | {f"{name}.var": jnp.ones(n) for name, n in sizes.items()}
        slots = [jax.tree.map(jnp.zeros_like, p) for _ in range(2)] if training else []
        now.extend([p, *slots, state] + [jnp.float32(0)] * training)

    def train(b):
        *now[:], loss = step(*now, b)
        return jax.block_until_ready([*now, loss])[-1]

    def infer(b):
        return score(*now, b).block_until_ready(), b["label"]

    data = (requests if arguments.task == "rank" else arrays)(harness.read(arguments))
    harness.run(arguments, [{k: jnp.array(v) for k, v in b.items()} for b in data], reset, train if training else infer)


if __name__ == "__main__":
    main()
