"""Writes the reference fixtures: training runs of 50 steps and single units, float64, on one thread.

    python make_fixtures.py            writes fixtures/
    python make_fixtures.py --check    compares derivatives with finite differences and optimizers with torch.optim, writes nothing

README.md describes every file and tensor.
"""

import argparse
import json
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file

import model as M
import units

HERE = pathlib.Path(__file__).parent
SAMPLES = 200
EVALUATED = 24
STEPS = 50
CASES = [
    M.Case("base_sgd", False, "prelu", "sgd", 0.1),
    M.Case("base_adam", False, "prelu", "adam", 0.01),
    M.Case("din_sgd", True, "prelu", "sgd", 0.1),
    M.Case("din_adam", True, "prelu", "adam", 0.01),
    M.Case("dice_sgd", True, "dice", "sgd", 0.1),
    M.Case("dice_adam", True, "dice", "adam", 0.01),
    M.Case("din_sgd_adaptive", True, "prelu", "sgd", 0.1, 0.2),
    M.Case("dice_adam_adaptive", True, "dice", "adam", 0.01, 0.2),
    M.Case("din_adam_dense", True, "prelu", "adam", 0.01, 0.2, True),
]


def drawer(seed):
    g = np.random.default_rng(seed)
    return lambda shape, std: torch.from_numpy(g.normal(0.0, std, shape))


def item_ids(g, count):
    """Distinct 64-bit ids: small, large and negative ones."""
    ids = list(range(1, count // 2)) + [0, -1, 2**53 + 1, -(2**63), 2**63 - 1]
    while len(ids) < count:
        ids.append(int(g.integers(-(2**62), 2**62)))
    return np.array(ids[:count], dtype=np.int64)


def dataset(seed):
    """`SAMPLES` training samples and `EVALUATED` more with some ids unseen in them (row -1), as rows of the tables and CSR."""
    g = np.random.default_rng(seed)
    sizes = {"good": 30, "shop": 12, "cate": 6}
    data = {"ids": {t: item_ids(g, n) for t, n in sizes.items()}}
    total = SAMPLES + EVALUATED

    def draw(table, n):
        p = 1.0 / (1.0 + np.arange(sizes[table]))
        return g.choice(sizes[table], n, p=p / p.sum())

    length = np.minimum(g.geometric(0.25, total) - 1, 9)
    offsets = np.concatenate([[0], np.cumsum(length)])
    data["offsets"] = offsets
    for t, n in M.SCALARS.items():
        data[t] = g.integers(0, n, total)
    for t in M.ITEMS:
        data[f"ad.{t}"] = draw(t, total)
        data[f"visited.{t}"] = draw(t, offsets[-1])
    for s in range(total):
        entries = slice(offsets[s], offsets[s + 1])
        # An id twice in one list, and the candidate in its own history.
        if length[s] > 1 and s % 3 == 0:
            for t in M.ITEMS:
                data[f"visited.{t}"][offsets[s]] = data[f"visited.{t}"][offsets[s] + 1]
        if length[s] > 0 and s % 4 == 0:
            for t in M.ITEMS:
                data[f"visited.{t}"][entries][-1] = data[f"ad.{t}"][s]
    data["label"] = (g.random(total) < 0.35).astype(np.int64)
    # The evaluated part meets ids that training never saw: row -1 stands for `unseen`.
    for s in range(SAMPLES, total, 3):
        data["ad.good"][s] = -1
    first = offsets[SAMPLES]
    data["visited.shop"][first::5] = -1
    return data


def schedule(data, seed):
    """Samples of each step: sizes 7 to 24; one step has empty histories only."""
    g = np.random.default_rng(seed)
    length = np.diff(data["offsets"])[:SAMPLES]
    empty = np.flatnonzero(length == 0)
    steps, pool = [], []
    for k in range(STEPS):
        if k == 20:
            steps.append(g.choice(empty, 9, replace=False))
            continue
        size = (16, 16, 24, 16, 7)[k % 5]
        if len(pool) < size:
            pool = list(g.permutation(SAMPLES))
        steps.append(np.array(pool[:size]))
        pool = pool[size:]
    return steps


def gather(data, samples):
    """The batch of the given samples, as tensors."""
    offsets = data["offsets"]
    entries = np.concatenate([np.arange(offsets[s], offsets[s + 1]) for s in samples] or [[]]).astype(np.int64)
    segment = np.repeat(np.arange(len(samples)), np.diff(offsets)[samples])
    batch = {"segment": segment, "label": data["label"][samples].astype(np.float64)}
    for t in M.SCALARS:
        batch[t] = data[t][samples]
    for t in M.ITEMS:
        batch[f"ad.{t}"] = data[f"ad.{t}"][samples]
        batch[f"visited.{t}"] = data[f"visited.{t}"][entries]
    return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in batch.items()}


def sample_counts(data):
    """n_i of Eq. (9): training samples that contain the id in any field of the table."""
    counts = {}
    for t in M.ITEMS:
        n = np.zeros(len(data["ids"][t]))
        for s in range(SAMPLES):
            a, b = data["offsets"][s : s + 2]
            n[list({int(data[f"ad.{t}"][s])} | set(data[f"visited.{t}"][a:b].tolist()))] += 1
        counts[t] = torch.from_numpy(n)
    return counts


def stored(model, prefix):
    """Tensors of a model under their fixture names."""
    out = {f"{prefix}.table.{k}": w for k, w in model.tables.items()}
    out |= {f"{prefix}.param.{k}": w for k, w in model.params.items()}
    out |= {f"{prefix}.state.{k}": w for k, w in model.states.items()}
    for name, slots in model.slots.items():
        kind = "table" if name in model.tables else "param"
        for k, s in slots.items():
            out[f"{prefix}.slot.{k}.{kind}.{name}"] = s
    return out


def run(case, data, steps, counts):
    """One training fixture: the tensors at the start (the same for every optimizer) and after the run."""
    sizes = M.SCALARS | {t: len(ids) for t, ids in data["ids"].items()}
    model = M.initial(case, sizes, drawer(7))
    unseen = {t: drawer(100 + i)((1, M.WIDTHS[t]), 0.4) for i, t in enumerate(M.ITEMS)}
    start = {k: w for k, w in stored(model, "init").items() if ".slot." not in k}
    start |= {f"init.unseen.{t}": w[0] for t, w in unseen.items()}
    for name, g in M.gradients(model, gather(data, steps[0]))[1].items():
        kind = "table" if name in model.tables else "param"
        start[f"gradient.{kind}.{name}"] = g
    losses = []
    for number, samples in enumerate(steps, 1):
        losses.append(M.step(model, gather(data, samples), counts, number))
    out = stored(model, "final")
    out["losses"] = torch.stack(losses)
    # Rows -1 read the last row of these.
    tables = {k: torch.cat([w, unseen[k]]) if k in unseen else w for k, w in model.tables.items()}
    batch = gather(data, np.arange(SAMPLES, SAMPLES + EVALUATED))
    out["evaluated.logits"], _ = M.forward(model, batch, False, tables)
    return arrays(start), arrays(out)


def arrays(tensors):
    return {k: np.ascontiguousarray(w.numpy()) for k, w in tensors.items()}


def data_tensors(data, steps, counts):
    out = {"offsets": data["offsets"], "label": data["label"]}
    out["step.offsets"] = np.concatenate([[0], np.cumsum([len(s) for s in steps])])
    out["step.samples"] = np.concatenate(steps)
    for t, ids in data["ids"].items():
        out[f"ids.{t}"] = ids
        out[f"count.{t}"] = counts[t].numpy().astype(np.int64)
    for k in list(M.SCALARS) + [f"{f}.{t}" for f in ("ad", "visited") for t in M.ITEMS]:
        out[k] = data[k]
    small = {k: v for k, v in out.items() if not k.startswith("ids.")}
    return {k: v.astype(np.int32) for k, v in small.items()} | {k: v for k, v in out.items() if k.startswith("ids.")}


def unit_tensors():
    """Values and derivatives of single units on random input."""
    draw = drawer(11)
    out = {}

    def put(unit, inputs, value, extra=None):
        """Stores inputs, value, an upstream gradient and the derivatives of `sum(value * upstream)`."""
        upstream = draw(tuple(value.shape), 1.0)
        found = torch.autograd.grad((value * upstream).sum(), list(inputs.values()), allow_unused=True)
        for (name, x), g in zip(inputs.items(), found):
            out[f"{unit}/{name}"] = x.detach()
            out[f"{unit}/gradient.{name}"] = torch.zeros_like(x) if g is None else g
        out[f"{unit}/value"] = value.detach()
        out[f"{unit}/upstream"] = upstream
        out.update({f"{unit}/{k}": v.detach() for k, v in (extra or {}).items()})

    def leaf(shape, std):
        return draw(shape, std).requires_grad_()

    x, alpha = leaf((9, 5), 1.0), leaf((5,), 0.3)
    with torch.no_grad():
        x[0, 0] = 0.0
    put("prelu", {"x": x, "alpha": alpha}, units.prelu(x, alpha))

    mean, var = draw((5,), 0.5), draw((5,), 1.0).abs() + 0.1
    for unit, n, training in (("dice_train", 9, True), ("dice_train_one", 1, True), ("dice_eval", 9, False)):
        x, alpha = leaf((n, 5), 1.5), leaf((5,), 0.3)
        y, new = units.dice(x, alpha, (mean, var), 0.99, 1e-8, training)
        extra = {"running.mean": mean, "running.var": var, "new.mean": new[0], "new.var": new[1]}
        put(unit, {"x": x, "alpha": alpha}, y, extra)

    # Lists of 3, 0, 1, 5 and 2 entries; `candidate` has one row a list.
    offsets = torch.tensor([0, 3, 3, 4, 9, 11], dtype=torch.int32)
    segment = torch.repeat_interleave(torch.arange(5), torch.diff(offsets))
    for unit, normalised, activation in (
        ("interest_prelu", False, "prelu"),
        ("interest_sigmoid", False, "sigmoid"),
        ("interest_dice", False, "dice"),
        ("interest_softmax_prelu", True, "prelu"),
    ):
        inputs = {"history": leaf((11, 3), 1.0), "candidate": leaf((5, 3), 1.0)}
        width = 12
        for i, n in enumerate(M.UNIT):
            inputs[f"unit.{i}.weight"] = leaf((width, n), 0.4)
            inputs[f"unit.{i}.bias"] = leaf((n,), 0.2)
            if activation != "sigmoid":
                inputs[f"unit.{i}.alpha"] = leaf((n,), 0.3)
            width = n
        inputs["score.weight"], inputs["score.bias"] = leaf((width, 1), 0.5), leaf((1,), 0.2)

        def score(x):
            for i in range(len(M.UNIT)):
                x = units.linear(x, inputs[f"unit.{i}.weight"], inputs[f"unit.{i}.bias"])
                alpha = inputs.get(f"unit.{i}.alpha")
                if activation == "sigmoid":
                    x = torch.sigmoid(x)
                elif activation == "prelu":
                    x = units.prelu(x, alpha)
                else:
                    zero, one = torch.zeros_like(alpha), torch.ones_like(alpha)
                    x, _ = units.dice(x, alpha, (zero, one), 0.99, 1e-8, True)
            return units.linear(x, inputs["score.weight"], inputs["score.bias"])

        value = units.interest(inputs["history"], inputs["candidate"], segment, score, normalised)
        put(unit, inputs, value, {"offsets": offsets})

    x = leaf((11, 3), 1.0)
    put("sum_pooling", {"x": x}, units.segment_sum(x, segment, 5), {"offsets": offsets})
    length = torch.clamp(torch.diff(offsets), min=1)[:, None]
    put("mean_pooling", {"x": x}, units.segment_sum(x, segment, 5) / length, {"offsets": offsets})

    logit = torch.tensor([-800.0, -30.0, -1.5, 0.0, 0.25, 40.0, 700.0], dtype=torch.float64)
    logit.requires_grad_()
    label = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    put("cross_entropy", {"logit": logit}, units.cross_entropy(logit, label)[None], {"label": label})

    # Row updates: 6 touched rows of width 4 at step 3 of a run, with their counts.
    w, g = draw((6, 4), 0.5), draw((6, 4), 0.2)
    count = torch.tensor([1, 2, 5, 40, 1000, 10**6], dtype=torch.int32)
    slots = {"m": draw((6, 4), 0.1), "v": draw((6, 4), 0.1).abs()}
    shared = {"weight": w, "gradient": g, "count": count, "slot.m": slots["m"], "slot.v": slots["v"]}
    out.update({f"row_update/{k}": v for k, v in shared.items()})
    for name, penalty, lam in (
        ("plain", lambda: 0.0, 0.0),
        ("adaptive", lambda: units.adaptive(w, count.double(), 0.01), 0.01),
        ("difacto", lambda: units.difacto(w, count.double(), 1e-7), 1e-7),
    ):
        joined = g + penalty()
        out[f"row_update/sgd.{name}.weight"] = units.sgd(w, joined, {}, 3, 0.1)[0]
        value, new = units.adam(w, joined, slots, 3, 0.001)
        out[f"row_update/adam.{name}.weight"] = value
        out[f"row_update/adam.{name}.slot.m"], out[f"row_update/adam.{name}.slot.v"] = new["m"], new["v"]

    # Reductions over the entries of each list, with conditions, and over their pairs.
    def lists(unit, f, **weights):
        inputs = {"x": leaf((11, 3), 1.0)} | {name: leaf(shape, 0.7) for name, shape in weights.items()}
        own = [inputs[name] for name in weights]
        value = units.by_list(inputs["x"], segment, 5, lambda x: f(x, *own))
        put(unit, inputs, value, {"offsets": offsets})

    zero = torch.zeros(3, dtype=torch.float64)
    chosen = units.where_positive
    lists("self_attention", lambda x, *w: units.self_attention(x, *w).sum(0), queries=(3, 3), keys=(3, 3), values=(3, 3))
    lists("softmax", lambda x: (torch.softmax(x, 0) * x * x).sum(0))
    lists("softmax_where", lambda x: (torch.softmax(chosen(x), 0) * chosen(x)).sum(0) if len(chosen(x)) else zero)
    lists("mean_where", lambda x: chosen(x).mean(0) if len(chosen(x)) else zero)
    lists("max_where", lambda x: chosen(x).max(0).values if len(chosen(x)) else zero)
    lists("first", lambda x: x[0] * x.shape[0])
    lists("last_where", lambda x: chosen(x)[-1] if len(chosen(x)) else zero)
    lists("positions", lambda x: (torch.arange(len(x), dtype=x.dtype)[:, None] * x * x).sum(0) - x[-1])
    lists("pairs", lambda x: torch.tanh(x[:, None] * x[None] + x[None]).mean(0).amax(0))
    return arrays(out)


def check(data, steps, counts):
    """Derivatives against finite differences, optimizers against torch.optim, running statistics against their definition."""
    sizes = M.SCALARS | {t: len(ids) for t, ids in data["ids"].items()}
    for case in CASES:
        if case.optimizer == "adam" or case.adaptive:
            continue
        model = M.initial(case, sizes, drawer(7))
        batch = gather(data, steps[0])
        names = list(model.tables | model.params)
        split = len(model.tables)

        def loss(*leaves):
            tables = dict(zip(names[:split], leaves[:split]))
            params = dict(zip(names[split:], leaves[split:]))
            return units.cross_entropy(M.forward(model, batch, True, tables, params)[0], batch["label"])

        leaves = [w.detach().requires_grad_() for w in (model.tables | model.params).values()]
        assert torch.autograd.gradcheck(loss, leaves, eps=1e-6, atol=1e-7, rtol=1e-5)
        print(f"{case.name}: gradcheck passed over {sum(w.numel() for w in leaves)} weights")
    draw = drawer(3)
    x, alpha = draw((9, 5), 1.5).requires_grad_(), draw((5,), 0.3).requires_grad_()
    pair = (torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda x, a: units.dice(x, a, pair)[0], (x, alpha))
    reference = torch.nn.BatchNorm1d(5, eps=1e-8, affine=False).double()
    p = torch.sigmoid(reference(x))
    ours = units.dice(x, alpha, pair)[0]
    assert torch.allclose(ours, p * x + (1 - p) * alpha * x, rtol=1e-12, atol=0)
    print("dice: gradcheck passed; equals the form over BatchNorm1d")
    for name, make, rule in (
        ("sgd", lambda p: torch.optim.SGD(p, 0.1), lambda *a: units.sgd(*a, 0.1)),
        ("adam", lambda p: torch.optim.Adam(p, 0.01), lambda *a: units.adam(*a, 0.01)),
    ):
        w = draw((4, 3), 1.0)
        theirs = torch.nn.Parameter(w.clone())
        optimizer = make([theirs])
        slots = {"m": torch.zeros_like(w), "v": torch.zeros_like(w)}
        for number in range(1, 20):
            theirs.grad = draw((4, 3), 1.0)
            w, new = rule(w, theirs.grad, slots, number)
            slots = new or slots
            optimizer.step()
        assert torch.allclose(w, theirs, rtol=1e-12, atol=1e-14)
        print(f"{name}: equals torch.optim over 19 steps")
    torch.sparse.check_sparse_tensor_invariants.enable()
    table = torch.nn.Parameter(draw((7, 3), 1.0))
    ours = table.detach().clone()
    slots = {"m": torch.zeros_like(ours), "v": torch.zeros_like(ours)}
    optimizer = torch.optim.SparseAdam([table], 0.01)
    for number in range(1, 20):
        touched = torch.unique(torch.from_numpy(np.random.default_rng(number).integers(0, 7, 4)))
        grad = draw((len(touched), 3), 1.0)
        table.grad = torch.sparse_coo_tensor(touched[None], grad, table.shape)
        optimizer.step()
        old = {k: s[touched] for k, s in slots.items()}
        value, new = units.adam(ours[touched], grad, old, number, 0.01)
        ours = ours.index_copy(0, touched, value)
        slots = {k: s.index_copy(0, touched, new[k]) for k, s in slots.items()}
    # SparseAdam adds eps before it corrects the second moment's bias: equal up to eps.
    assert torch.allclose(ours, table, rtol=1e-6, atol=1e-9)
    print("lazy adam: equals torch.optim.SparseAdam up to the place of eps over 19 steps")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = dataset(1)
    steps = schedule(data, 2)
    counts = sample_counts(data)
    if arguments.check:
        check(data, steps, counts)
        return
    folder = HERE / "fixtures"
    folder.mkdir(exist_ok=True)
    save_file(data_tensors(data, steps, counts), folder / "data.safetensors")
    save_file(unit_tensors(), folder / "units.safetensors")
    manifest = {"torch": torch.__version__, "numpy": np.__version__, "samples": SAMPLES, "steps": STEPS, "cases": {}}
    for case in CASES:
        start, tensors = run(case, data, steps, counts)
        save_file(start, folder / f"start_{case.network()}.safetensors")
        save_file(tensors, folder / f"{case.name}.safetensors")
        loss = tensors["losses"]
        manifest["cases"][case.name] = case.hyper() | {"start": f"start_{case.network()}", "first_loss": loss[0], "last_loss": loss[-1]}
        print(f"{case.name}: loss {loss[:5].mean():.4f} -> {loss[-5:].mean():.4f}")
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
