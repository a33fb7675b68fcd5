"""Prints the tests of functions of the standard library whose values PyTorch computes.

    python stdlib_values.py layer|interaction|attention|transformer|multitask|recurrent

The blocks stand at the ends of `stdlib/*.din`. Nothing of the library's own formulas is used: each
value is computed as the paper writes it, with loops and `einsum`, or by a module of PyTorch.
"""

import re
import sys

import torch
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
torch.manual_seed(7)


def some(*shape, scale=1.0):
    """Numbers with one decimal place."""
    return (torch.randn(*shape) * scale * 10).round() / 10


def text(value):
    """As Din writes it."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if isinstance(value, list):
        return "[" + ", ".join(text(v) for v in value) + "]"
    short = round(value, 1) + 0.0
    if short == value:
        return f"{short:g}"
    return f"{value:.9f}"


def given(name, kind, value):
    return f"    given {name}: {kind} = {text(value)}"


def weight(path, value):
    return f"    given param {path} = {text(value)}"


def block(title, lines, what, value, lets=()):
    expect = f"    expect {what} = {text(value)} within 1e-8"
    print("\n".join([f'test "{title}" {{', *lines, *(f"    {line}" for line in lets), expect, "}", ""]))


def names(count):
    return "[" + ", ".join("abcdef"[:count]) + "]"


def fields(x):
    return [given("abcdef"[i], f"[{len(v)}]", v) for i, v in enumerate(x)]


def layer():
    x, w = some(3), some(3, 2)
    block("product with a matrix", [given("x", "[3]", x), weight("project.weight", w)], "project(x, 2)", x @ w)

    x, gain, shift = some(2, 4), some(4), some(4)
    lines = [given("x", "samples => [4]", x), weight("layer_norm.gain", gain), weight("layer_norm.shift", shift)]
    block("layer normalisation", lines, "layer_norm(x)", F.layer_norm(x, [4], gain, shift, 1e-5))

    x, w1, b1, w2, b2 = some(2), some(2, 3), some(3), some(3, 2), some(2)
    lines = [given("x", "[2]", x)]
    lines += [weight("y.inner.weight", w1), weight("y.inner.bias", b1), weight("y.linear.weight", w2)]
    lines += [weight("y.linear.bias", b2)]
    value = F.linear(torch.tanh(F.linear(x, w1.T, b1)), w2.T, b2)
    block("two layers", lines, "y", value, ["let y = feed_forward(x, 3, tanh)"])

    x = some(2, 3)
    block("vectors of length 1", [given("x", "samples => [3]", x)], "l2_normalize(x)", F.normalize(x, dim=1))


def interaction():
    x = some(4, 3)
    value = sum(x[i] * x[j] for i in range(4) for j in range(i + 1, 4))
    block("sum of the products of all pairs", fields(x), f"bi_interaction({names(4)})", value)

    x, w, b = some(3), some(2, 3, 3, scale=0.5), some(2, 3)
    lines = [given("x", "[3]", x)]
    for i in range(2):
        lines += [weight(f"y.{i}.weight", w[i]), weight(f"y.{i}.bias", b[i])]
    value = x
    for i in range(2):
        value = x * F.linear(value, w[i].T, b[i]) + value
    block("cross network of two layers", lines, "y", value, ["let y = cross(x, 2)"])

    x, w0, w1 = some(3, 2), some(2, 3, 3, scale=0.5), some(2, 2, 3, scale=0.5)
    maps0 = torch.einsum("hij,id,jd->hd", w0, x, x)
    maps1 = torch.einsum("hij,id,jd->hd", w1, maps0, x)
    value = torch.cat([maps0.sum(1), maps1.sum(1)])
    lines = fields(x)
    lines += [weight("y.0.compressed.weight", w0.reshape(2, 9).T), weight("y.1.compressed.weight", w1.reshape(2, 6).T)]
    block("compressed interaction network", lines, "y", value, [f"let y = cin({names(3)}, [2, 2])"])

    x, w1, w2 = some(3, 2), some(3, 2), some(2, 3)
    value = F.relu(F.relu(x.mean(1) @ w1) @ w2)[:, None] * x
    lines = fields(x) + [weight("y.squeezed.weight", w1), weight("y.excited.weight", w2)]
    block("squeeze and excitation", lines, "y", value, [f"let y = senet({names(3)}, 2)"])

    x, w = some(3, 2), some(2, 2)
    value = torch.cat([(x[i] @ w) * x[j] for i in range(3) for j in range(i + 1, 3)])
    lines = fields(x) + [weight("y.turned.weight", w)]
    block("bilinear interaction", lines, "y", value, [f"let y = bilinear({names(3)})"])


def attention():
    histories, candidate = [some(4, 3), some(1, 3), some(2, 3)], some(2)
    chosen = [torch.tensor([1.0, 0, 1, 1]), torch.tensor([1.0]), torch.tensor([0.0, 0])]
    q, k, v = some(2, 2, 2), some(2, 3, 2), some(2, 3, 2)
    lines = [
        given("history", "samples => s => [3]", [h.tolist() for h in histories]),
        given("chosen", "samples => s => [1]", [[[x] for x in c.tolist()] for c in chosen]),
        given("candidate", "[2]", candidate),
    ]
    for i in range(2):
        path = f"y.{i}.target_head"
        lines += [weight(f"{path}.queries", q[i]), weight(f"{path}.keys", k[i]), weight(f"{path}.values", v[i])]

    def one(history, mask):
        if not mask.any():
            return torch.zeros(4)
        heads = [
            F.scaled_dot_product_attention(
                (candidate @ q[i])[None], history @ k[i], history @ v[i], attn_mask=(mask > 0)[None]
            )[0]
            for i in range(2)
        ]
        return torch.cat(heads)

    value = [one(h, c).tolist() for h, c in zip(histories, chosen)]
    block("target attention", lines, "y", value, ["let y = target_attention(history, candidate, chosen, 2, 2)"])

    scores = [[0.5, 2.0, 0.5, -1.0, 2.0], [3.0], []]
    value = []
    for row in scores:
        order = sorted(range(len(row)), key=lambda i: (-row[i], -i))
        value.append([1.0 if i in order[:3] else 0.0 for i in range(len(row))])
    lines = [given("score", "samples => s => [1]", [[[x] for x in row] for row in scores])]
    block("the entries with the best scores", lines, "top(score, 3)", value)

    history, candidate = some(4, 2), some(2)
    w, b, out, out_bias = some(8, 1), some(1), some(1, 1), some(1)
    recent = history[2:]
    both = candidate.expand(2, 2)
    read = torch.cat([recent, both, recent - both, recent * both], 1)
    scores = (read @ w + b).abs() @ out + out_bias
    value = (scores * recent).sum(0)
    lines = [given("history", "s => [2]", history), given("candidate", "[2]", candidate)]
    path = "y.interest"
    lines += [weight(f"{path}.unit.0.weight", w), weight(f"{path}.unit.0.bias", b)]
    lines += [weight(f"{path}.linear.weight", out), weight(f"{path}.linear.bias", out_bias)]
    call = "let y = recent_interest(history, candidate, 2, [1], abs)"
    block("interest in the latest entries", lines, "y", value, [call])


def transformer():
    x, table = some(3, 2), some(2, 2)
    value = x.clone()
    value[2] += table[0]
    value[1] += table[1]
    lines = [given("x", "s => [2]", x), weight("with_recency.table", table)]
    block("a vector for each of the last two places", lines, "with_recency(x, 2)", value)

    d, heads, hidden = 4, 2, 3
    x = some(3, d)
    q, k, v = some(heads, d, 2), some(heads, d, 2), some(heads, d, 2)
    out, gain1, shift1, gain2, shift2 = some(d, d), some(d), some(d), some(d), some(d)
    w1, b1, w2, b2 = some(d, hidden), some(hidden), some(hidden, d), some(d)
    module = torch.nn.TransformerEncoderLayer(d, heads, hidden, dropout=0, activation="relu", batch_first=True)
    join = lambda parts: torch.cat(list(parts), 1).T
    state = {
        "self_attn.in_proj_weight": torch.cat([join(q), join(k), join(v)]),
        "self_attn.in_proj_bias": torch.zeros(3 * d),
        "self_attn.out_proj.weight": out.T,
        "self_attn.out_proj.bias": torch.zeros(d),
        "linear1.weight": w1.T,
        "linear1.bias": b1,
        "linear2.weight": w2.T,
        "linear2.bias": b2,
        "norm1.weight": gain1,
        "norm1.bias": shift1,
        "norm2.weight": gain2,
        "norm2.bias": shift2,
    }
    module.load_state_dict(state)
    value = module(x[None])[0].detach()
    lines = [given("x", f"s => [{d}]", x)]
    for i in range(heads):
        path = f"y.attended.{i}.self_attention"
        lines += [weight(f"{path}.queries", q[i]), weight(f"{path}.keys", k[i]), weight(f"{path}.values", v[i])]
    lines += [weight("y.attended.weight", out)]
    lines += [weight("y.first.gain", gain1), weight("y.first.shift", shift1)]
    lines += [weight("y.second.inner.weight", w1), weight("y.second.inner.bias", b1)]
    lines += [weight("y.second.linear.weight", w2), weight("y.second.linear.bias", b2)]
    lines += [weight("y.layer_norm.gain", gain2), weight("y.layer_norm.shift", shift2)]
    call = "let y = transformer_block(x, heads = 2, width = 2, hidden = 3, activation = relu)"
    block("an encoder layer of PyTorch", lines, "y", value, [call])


def multitask():
    x, e, g = some(2), some(3, 2), some(2, 3)
    shares = torch.softmax(x @ g, 0)
    lines = [given("x", "[2]", x), *fields(e), weight("y.shares.weight", g)]
    block("a gate", lines, "y", shares @ e, [f"let y = gated(x, {names(3)})"])

    tasks, count, d, n = 2, 1, 2, 2
    x, common = some(tasks, d), some(d)
    own_w, own_b = some(tasks, d, n), some(tasks, n)
    shared_w, shared_b = some(d, n), some(n)
    gates, last = some(tasks, d, 2), some(d, 3)
    own = [torch.tanh(x[t] @ own_w[t] + own_b[t]) for t in range(tasks)]
    shared = torch.tanh(common @ shared_w + shared_b)
    task = [torch.softmax(x[t] @ gates[t], 0) @ torch.stack([own[t], shared]) for t in range(tasks)]
    both = torch.softmax(common @ last, 0) @ torch.stack([shared, *own])
    lines = [given("a", "[2]", x[0]), given("b", "[2]", x[1]), given("common", "[2]", common)]
    expert = [weight("y.shared.0.mlp.0.weight", shared_w), weight("y.shared.0.mlp.0.bias", shared_b)]
    for t in range(tasks):
        expert += [weight(f"y.own.{t}.0.mlp.0.weight", own_w[t]), weight(f"y.own.{t}.0.mlp.0.bias", own_b[t])]
    gate = [weight(f"y.{t}.gated.shares.weight", gates[t]) for t in range(tasks)]
    more = [weight("y.gated.shares.weight", last)]
    call = "let y = extraction([a, b], common, 1, [2], tanh)"
    block("a layer of extraction", lines + expert + gate + more, "y", [[t.tolist() for t in task], both.tolist()], [call])

    expert = [re.sub(r"y\.own\.(\d)", r"y.\1.experts", line) for line in expert]
    call = "let y = customized_gates([a, b], common, 1, [2], tanh)"
    block("the last layer of extraction", lines + expert + gate, "y", [t.tolist() for t in task], [call])


def gates_of(k, n, path, names):
    """By gate: weights of the entry, of the state, bias; and as Din is given them."""
    gates = [(some(k, n), some(n, n), some(n)) for _ in names]
    lines = []
    for name, (x, h, bias) in zip(names, gates):
        parts = zip(["x", "h", "bias"], [x, h, bias])
        lines += [weight(f"{path}{name}_{part}", value) for part, value in parts]
    return gates, lines


def recurrent():
    k, n, length = 2, 3, 4
    x = some(length, k)
    gates, lines = gates_of(k, n, "gru.gru_cell.", ["update", "reset", "candidate"])
    gru = torch.nn.GRU(k, n)
    # PyTorch's z is 1 - u, and its gates are in the order r, z, n.
    order = [(1, 1.0), (0, -1.0), (2, 1.0)]
    with torch.no_grad():
        gru.weight_ih_l0.copy_(torch.cat([sign * gates[g][0].T for g, sign in order]))
        gru.weight_hh_l0.copy_(torch.cat([sign * gates[g][1].T for g, sign in order]))
        gru.bias_ih_l0.copy_(torch.cat([sign * gates[g][2] for g, sign in order]))
        gru.bias_hh_l0.zero_()
    value, _ = gru(x)
    block("a gated recurrent unit of PyTorch", [given("x", f"s => [{k}]", x), *lines], f"gru(x, {n})", value)

    x, a = some(length, k), torch.tensor([[0.3], [0.0], [0.6], [0.1]])
    gates, lines = gates_of(k, n, "augru.gru_cell.", ["update", "reset", "candidate"])
    h, states = torch.zeros(n), []
    for entry, score in zip(x, a):
        u, r = (torch.sigmoid(entry @ w + h @ v + b) for w, v, b in gates[:2])
        w, v, b = gates[2]
        candidate = torch.tanh(entry @ w + r * (h @ v) + b)
        h = (1 - score * u) * h + score * u * candidate
        states.append(h)
    lines = [given("x", f"s => [{k}]", x), given("a", "s => [1]", a), *lines]
    block("a gated recurrent unit with attention", lines, f"augru(x, a, {n})", torch.stack(states))

    x, a = some(length, k), torch.tensor([[0.6], [0.1], [0.0], [0.3]])
    gates, lines = gates_of(k, n, "agru.agru_cell.", ["reset", "candidate"])
    h, states = torch.zeros(n), []
    for entry, score in reversed(list(zip(x, a))):
        w, v, b = gates[0]
        r = torch.sigmoid(entry @ w + h @ v + b)
        w, v, b = gates[1]
        h = (1 - score) * h + score * torch.tanh(entry @ w + r * (h @ v) + b)
        states.insert(0, h)
    lines = [given("x", f"s => [{k}]", x), given("a", "s => [1]", a), *lines]
    call = f"agru(x, a, {n}, backward = true)"
    block("attention in place of the update gate, from the last entry", lines, call, torch.stack(states))

    # PyTorch's gates are in the same order.
    names, n = ["input", "forget", "candidate", "output"], 2
    x, lstm, lines = some(length, k), torch.nn.LSTM(k, n, bidirectional=True), []
    for direction, suffix in [("forward", ""), ("back", "_reverse")]:
        gates, given_gates = gates_of(k, n, f"bidirectional.{direction}.h_c.", names)
        lines += given_gates
        with torch.no_grad():
            getattr(lstm, f"weight_ih_l0{suffix}").copy_(torch.cat([x.T for x, _, _ in gates]))
            getattr(lstm, f"weight_hh_l0{suffix}").copy_(torch.cat([h.T for _, h, _ in gates]))
            getattr(lstm, f"bias_ih_l0{suffix}").copy_(torch.cat([bias for _, _, bias in gates]))
            getattr(lstm, f"bias_hh_l0{suffix}").zero_()
    value, _ = lstm(x)
    lines = [given("x", f"s => [{k}]", x), *lines]
    block("bidirectional long short-term memory of PyTorch", lines, f"bidirectional(x, lstm(_, {n}))", value)


{"layer": layer, "interaction": interaction, "attention": attention, "transformer": transformer, "multitask": multitask, "recurrent": recurrent}[
    sys.argv[1]
]()
