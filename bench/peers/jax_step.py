"""The training step of the benchmark in JAX, `jit`, f32: `--mode split` or `ragged`.

Entries of all samples stand one behind the other, filled up to one static size over all batches (free places belong to a sample that is
dropped); all tables in one; Adam on the whole table. `split`: the first layer split as in `torch_step.py`; `ragged`: the concat built. A round
is as in `harness.py`, which needs PyTorch and is not used here.
"""

import argparse
import json
import os
import resource
import sys
import time

import numpy as np

import batches
import workload as W

TABLES = list(W.ITEMS | W.SCALARS)
START = dict(zip(TABLES, np.cumsum([0] + list((W.ITEMS | W.SCALARS).values())[:-1]).tolist()))


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--init", required=True)
    parser.add_argument("--mode", required=True, choices=["split", "ragged"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--serve", action="store_true")
    arguments = parser.parse_args()
    # XLA sizes its pool by the cores that the process may use.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    import jax
    import jax.numpy as jnp
    from safetensors.numpy import load_file

    tensors = load_file(arguments.init)

    def linear(p, x, name):
        return x @ p[f"{name}.weight"] + p[f"{name}.bias"]

    def loss_of(p, state, b):
        n, e = b["label"].shape[0], W.ITEM_WIDTH
        one = p["table"][b["ids"]].reshape(n, -1)
        candidate, scalars = one[:, :e], one[:, e:]
        k = p["table"][b["history"]].reshape(-1, e)
        spread = jnp.minimum(b["segment"], n - 1)
        if arguments.mode == "split":
            wk, wq, wd, wp = jnp.split(p["unit.0.weight"], 4)
            term = candidate @ (wq - wd) + p["unit.0.bias"]
            x = jnp.concatenate([k, k * candidate[spread]], 1) @ jnp.concatenate([wk + wd, wp]) + term[spread]
        else:
            q = candidate[spread]
            x = linear(p, jnp.concatenate([k, q, k - q, k * q], 1), "unit.0")
        x = linear(p, jax.nn.sigmoid(linear(p, jax.nn.sigmoid(x), "unit.1")), "score")
        taste = jax.ops.segment_sum(x * k, b["segment"], n + 1, indices_are_sorted=True)[:n]
        x = jnp.concatenate([scalars, taste, candidate], 1)
        new = {}
        for i in range(len(W.HIDDEN)):
            x = linear(p, x, f"hidden.{i}")
            mean = x.mean(0)
            var = jnp.square(x - mean).mean(0)
            for what, value in (("mean", mean), ("var", var)):
                old = state[f"hidden.{i}.{what}"]
                new[f"hidden.{i}.{what}"] = W.MOMENTUM * old + (1 - W.MOMENTUM) * jax.lax.stop_gradient(value)
            gate = jax.nn.sigmoid((x - mean) * jax.lax.rsqrt(var + W.EPS))
            x = x * (p[f"hidden.{i}.alpha"] * (1 - gate) + gate)
        z = linear(p, x, "logit")[:, 0]
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

    def start():
        p = {k.removeprefix("init.param."): jnp.array(v) for k, v in tensors.items() if ".param." in k}
        p["table"] = jnp.array(np.concatenate([tensors[f"init.table.{t}"] for t in TABLES]))
        state = {f"hidden.{i}.mean": jnp.zeros(n) for i, n in enumerate(W.HIDDEN)}
        state |= {f"hidden.{i}.var": jnp.ones(n) for i, n in enumerate(W.HIDDEN)}
        return [p, jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p), state, jnp.float32(0)]

    data = arrays(batches.read(arguments.data, arguments.batch)[: arguments.steps])
    data = [{k: jnp.array(v) for k, v in b.items()} for b in data]
    *now, _ = step(*start(), data[0])
    for _ in sys.stdin if arguments.serve else range(arguments.rounds):
        now = start()
        seconds, cpu, losses = [], [], []
        for b in data:
            begin, used = time.perf_counter(), time.process_time()
            *now, loss = step(*now, b)
            losses.append(float(loss))
            jax.block_until_ready(now)
            seconds.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - used)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        out = {"mode": arguments.mode, "threads": arguments.threads, "step_seconds": seconds, "cpu_seconds": cpu, "losses": losses}
        print(json.dumps(out | {"peak_kib": peak}), flush=True)


if __name__ == "__main__":
    main()
