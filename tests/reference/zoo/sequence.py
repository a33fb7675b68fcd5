"""`models/sequence`, and `models/din.din`: what the user visited is a list of entries, padded at
its end."""

import torch
import torch.nn.functional as F
from torch import nn

from layers import Model, PRelu, cross_entropy, latest_best, masked_mean, softmax_where

ITEM = ("good", "shop", "cate")
USER = {"user.user_id": "user_id", "user.gender": "gender", "user.age_level": "age_level"}
SCENE = {"scene.pid": "pid", "scene.time": "time"}


class Sequence(Model):
    keep = 50

    def candidate(self, batch):
        return torch.cat([self.tables[name](batch[f"{name}_id"]) for name in ITEM], 1)

    def history(self, batch):
        """`[samples, entries, 24]`."""
        return torch.cat([self.tables[name](batch[f"visited_{name}_ids"], batch.mask) for name in ITEM], 2)

    def context(self, batch):
        """User and scene."""
        return torch.cat([self.tables[name](batch[column]) for name, column in (USER | SCENE).items()], 1)


class ActivationUnit(nn.Module):
    """Zhou et al., 2017, Eq. (2): weighted sum of the entries, the weights not normalised."""

    def __init__(self, model, name):
        super().__init__()
        self.unit, self.out = model.mlp(f"{name}.unit", 2, PRelu), model.linear(f"{name}.linear")

    def forward(self, history, candidate, mask):
        query = candidate[:, None].expand_as(history)
        weights = self.out(self.unit(torch.cat([history, query, history - query, history * query], 2)))
        return (weights * history * mask[..., None]).sum(1)


class TargetAttention(nn.Module):
    """Attention with two heads whose one query is the candidate; 0 where the mask is nowhere true.
    """

    def __init__(self, model, name):
        super().__init__()
        names = [f"{name}.{h}.target_head" for h in range(2)]
        self.weights = [[model.param(f"{head}.{part}") for part in ("queries", "keys", "values")] for head in names]

    def forward(self, history, candidate, mask):
        heads = []
        for queries, keys, values in self.weights:
            scores = torch.einsum("bd,bld->bl", candidate @ queries, history @ keys) / queries.shape[1] ** 0.5
            heads.append(torch.einsum("bl,bld->bd", softmax_where(scores, mask), history @ values))
        return torch.cat(heads, 1)


class Din(Sequence):
    """Zhou et al., 2017, Figure 2, with the regularizer of Eq. (9) on goods."""

    keep, lr = 100, 1e-3

    def build(self):
        self.unit = ActivationUnit(self, "taste")
        self.deep, self.out = self.mlp("hidden", 2, PRelu), self.linear("click")

    def context(self, batch):
        names = {"user.gender": "gender", "user.age_level": "age_level"} | SCENE
        return torch.cat([self.tables[name](batch[column]) for name, column in names.items()], 1)

    def penalty(self, log):
        frequencies = log.frequencies(self.start.ids("ids.good"), "good_id", "visited_good_ids")
        return {"good": 0.01 / frequencies.to(self.start.dtype)}

    def forward(self, batch):
        candidate = self.candidate(batch)
        taste = self.unit(self.history(batch), candidate, batch.mask)
        return {"click": self.out(self.deep(torch.cat([self.context(batch), taste, candidate], 1)))[:, 0]}


class Gru(nn.Module):
    """Cho et al., 2014, with the reset gate behind the product; the update gate times an attention,
    if there is one."""

    def __init__(self, model, name):
        super().__init__()
        gates = ("update", "reset", "candidate")
        parts = ("x", "h", "bias")
        self.gates = [[model.param(f"{name}.gru_cell.{gate}_{part}") for part in parts] for gate in gates]

    def forward(self, x, mask, attention=None):
        """The state after each entry."""
        (ux, uh, ub), (rx, rh, rb), (cx, ch, cb) = self.gates
        h = x.new_zeros(x.shape[0], uh.shape[0])
        states = []
        for t in range(x.shape[1]):
            entry = x[:, t]
            update = torch.sigmoid(entry @ ux + h @ uh + ub)
            if attention is not None:
                update = attention[:, t, None] * update
            reset = torch.sigmoid(entry @ rx + h @ rh + rb)
            candidate = torch.tanh(entry @ cx + reset * (h @ ch) + cb)
            h = torch.where(mask[:, t, None], (1 - update) * h + update * candidate, h)
            states.append(h)
        return torch.stack(states, 1)


class Dien(Sequence):
    """Zhou et al., 2019, without the auxiliary loss."""

    lr = 5e-3

    def build(self):
        self.extract, self.evolve = Gru(self, "interests"), Gru(self, "evolved")
        self.related = self.linear("related", bias=False)
        self.deep, self.out = self.mlp("hidden", 2, PRelu), self.linear("logit")

    def forward(self, batch):
        candidate = self.candidate(batch)
        interests = self.extract(self.history(batch), batch.mask)
        scores = (self.related(interests) * candidate[:, None]).sum(2)
        evolved = self.evolve(interests, batch.mask, softmax_where(scores, batch.mask))
        x = torch.cat([self.tables["person"](batch["user_id"]), candidate, evolved[:, -1]], 1)
        return {"click": self.out(self.deep(x))[:, 0]}


class Lstm(nn.Module):
    """Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000."""

    def __init__(self, model, name):
        super().__init__()
        gates = ("input", "forget", "candidate", "output")
        self.gates = [[model.param(f"{name}.{gate}_{part}") for part in ("x", "h", "bias")] for gate in gates]

    def forward(self, x, mask, backward):
        """The hidden state after each entry."""
        h = c = x.new_zeros(x.shape[0], self.gates[0][1].shape[0])
        states = [None] * x.shape[1]
        for t in range(x.shape[1] - 1, -1, -1) if backward else range(x.shape[1]):
            entry, there = x[:, t], mask[:, t, None]
            i, f, g, o = (entry @ w + h @ v + bias for w, v, bias in self.gates)
            c = torch.where(there, torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g), c)
            h = torch.where(there, torch.sigmoid(o) * torch.tanh(c), h)
            states[t] = h
        return torch.stack(states, 1)


class Dsin(Sequence):
    """Feng et al., 2019, on tensors of samples, sessions and the entries of each, as in the paper;
    the last session and the last entry stand first."""

    lr = 5e-3

    def build(self):
        self.bias = [self.param(f"entries.{part}.table") for part in ("sessions", "places")]
        self.component = self.param("entries.component")
        parts = ("queries", "keys", "values")
        self.heads = [[self.param(f"interests.seen.{h}.{part}") for part in parts] for h in range(2)]
        self.project = self.linear("interests.joined", bias=False)
        self.first_norm, self.second_norm = self.norm("interests.joined"), self.norm("interests.entries")
        self.inner, self.outer = self.linear("interests.entries.inner"), self.linear("interests.entries.linear")
        self.lstms = [Lstm(self, f"context.{way}.h_c") for way in ("forward", "back")]
        self.near = nn.ModuleList(self.linear(f"{name}.score", bias=False) for name in ("own", "combined"))
        self.deep, self.out = self.mlp("hidden", 2), self.linear("click")

    def forward(self, batch):
        history, candidate = self.history(batch), self.candidate(batch)
        numbers, rows = batch["visited_sessions"], []
        for sample, length in enumerate(batch.lengths.tolist()):
            entries = range(length - 1, -1, -1)
            order = sorted({numbers[sample, i].item() for i in entries}, reverse=True)
            seen = dict.fromkeys(order, 0)
            for i in entries:
                number = numbers[sample, i].item()
                rows.append((sample, order.index(number), seen[number], i))
                seen[number] += 1
        sample, session, place, entry = torch.tensor(rows).T
        shape = (len(history), int(session.max()) + 1, int(place.max()) + 1)
        mask = torch.zeros(shape, dtype=torch.bool).index_put((sample, session, place), torch.tensor(True))
        x = history.new_zeros(*shape, history.shape[2])
        x = x.index_put((sample, session, place), history[sample, entry])
        for axis, table in zip((1, 2), self.bias):
            own = torch.zeros(shape[axis], 1, dtype=x.dtype)
            own[: len(table)] = 1
            own = own * table[torch.arange(shape[axis]).clamp(max=len(table) - 1)]
            x = x + (own[:, None] if axis == 1 else own)
        x = x + self.component
        heads, width = [], x.shape[3] // 2
        for (queries, keys, values), part in zip(self.heads, x.split(width, 3)):
            scores = (part @ queries) @ (part @ keys).transpose(2, 3) / x.shape[3] ** 0.5
            heads.append(softmax_where(scores, mask[:, :, None].expand_as(scores)) @ (part @ values))
        x = self.first_norm(x + self.project(torch.cat(heads, 3)))
        x = self.second_norm(x + self.outer(torch.relu(self.inner(x))))
        there = mask.any(2)
        interests = (x * mask[..., None]).sum(2) / mask.sum(2).clamp(min=1)[..., None]
        # The sessions stand from the last to the first.
        context = torch.cat([lstm(interests, there, k == 0) for k, lstm in enumerate(self.lstms)], 2)
        found = []
        for near, vectors in zip(self.near, (interests, context)):
            scores = torch.einsum("bkd,bd->bk", near(vectors), candidate)
            found.append(torch.einsum("bk,bkd->bd", softmax_where(scores, there), vectors))
        x = torch.cat([self.context(batch), candidate, *found], 1)
        return {"click": self.out(self.deep(x))[:, 0]}


class DeepIntent(Sequence):
    """Zhai et al., 2016, over the history in place of words."""

    lr = 5e-3

    def build(self):
        self.ways = [Lstm(self, f"states.{way}.h_c") for way in ("forward", "back")]
        self.hidden, self.score = self.mlp("scores", 1, nn.Tanh), self.linear("scores", bias=False)
        self.ad, self.out = self.linear("vector"), self.linear("click")

    def forward(self, batch):
        history = self.history(batch)
        states = torch.cat([way(history, batch.mask, k == 1) for k, way in enumerate(self.ways)], 2)
        attention = softmax_where(self.score(self.hidden(states))[..., 0], batch.mask)
        query = (attention[..., None] * states).sum(1)
        nearness = (query * self.ad(self.candidate(batch))).sum(1, keepdim=True)
        return {"click": self.out(nearness)[:, 0]}


class YouTubeRanking(Sequence):
    """Covington, Adams and Sargin, 2016, Section 4."""

    def build(self):
        self.deep, self.out = self.mlp("hidden", 2), self.linear("click")

    def forward(self, batch):
        watched = masked_mean(self.history(batch), batch.mask)
        count = batch.lengths[:, None].to(watched.dtype) / 50
        powers = torch.cat([count, count**2, count**0.5], 1)
        x = torch.cat([self.context(batch), self.candidate(batch), watched, powers], 1)
        return {"click": self.out(self.deep(x))[:, 0]}


class Sdim(Sequence):
    """Cao et al., 2022, Eqs. (8)-(10): 24 hashes of two bits."""

    def build(self):
        self.random = [self.start.numbers(f"state.taste.weight.{name}") for name in ("first", "second")]
        self.deep, self.out = self.mlp("hidden", 2, PRelu), self.linear("click")

    def forward(self, batch):
        history, candidate = self.history(batch), self.candidate(batch)
        with torch.no_grad():
            agree = [torch.sign(history @ r) == torch.sign(candidate @ r)[:, None] for r in self.random]
            weights = (agree[0] & agree[1]).to(history.dtype).mean(2) * batch.mask
        taste = torch.einsum("bl,bld->bd", weights, history) / (weights.sum(1, True) + 1e-6)
        x = torch.cat([self.context(batch), candidate, taste], 1)
        return {"click": self.out(self.deep(x))[:, 0]}


class SimHard(Sequence):
    """Pi et al., 2020, hard search: the entries of the candidate's category."""

    def build(self):
        self.long, self.short = TargetAttention(self, "long"), ActivationUnit(self, "short.interest")
        self.deep, self.out = self.mlp("hidden", 2, PRelu), self.linear("click")

    def found(self, batch, history, candidate):
        return batch.mask & (batch["visited_cate_ids"] == batch["cate_id"][:, None])

    def forward(self, batch):
        history, candidate = self.history(batch), self.candidate(batch)
        long = self.long(history, candidate, self.found(batch, history, candidate))
        short = self.short(history, candidate, batch.mask & (batch.after < 10))
        x = torch.cat([self.context(batch), candidate, long, short], 1)
        return {"click": self.out(self.deep(x))[:, 0]}


class Eta(SimHard):
    """Chen et al., 2021: the 20 entries whose hash of 32 bits has the least Hamming distance."""

    def build(self):
        super().build()
        self.random = self.start.numbers("state.found.random")

    @torch.no_grad()
    def found(self, batch, history, candidate):
        differ = (history @ self.random > 0) != (candidate @ self.random > 0)[:, None]
        return latest_best(-differ.sum(2).double(), batch.mask, 20)


class SimSoft(Sequence):
    """Pi et al., 2020, soft search, its first unit trained by a loss of its own."""

    def build(self):
        self.query, self.key = self.linear("query", bias=False), self.linear("score", bias=False)
        self.search, self.searched = self.mlp("search", 1, PRelu), self.linear("searched")
        self.taste = TargetAttention(self, "taste")
        self.deep, self.out = self.mlp("hidden", 2, PRelu), self.linear("click")

    def forward(self, batch):
        history, candidate = self.history(batch), self.candidate(batch)
        scores = torch.einsum("bd,bld->bl", self.query(candidate), self.key(history))
        summary = torch.einsum("bl,bld->bd", scores * batch.mask, history)
        search = self.searched(self.search(torch.cat([summary, candidate], 1)))[:, 0]
        taste = self.taste(history, candidate, latest_best(scores.detach(), batch.mask, 20))
        x = torch.cat([self.context(batch), candidate, taste], 1)
        return {"click": self.out(self.deep(x))[:, 0], "searched": search}

    def loss(self, batch):
        return sum(cross_entropy(logit, batch["click"]) for logit in self(batch).values())


class Twin(Sequence):
    """Chang et al., 2023, Eqs. (3)-(6), one head."""

    keep = 100
    made = {"visited.age_cate": ("visited_cate_ids", "age_level")}

    def build(self):
        self.queries, self.keys, self.values, self.bias = (
            self.param(f"taste.{name}") for name in ("queries", "keys", "values", "bias")
        )
        self.deep, self.out = self.mlp("hidden", 2, PRelu), self.linear("click")

    def forward(self, batch):
        history, candidate = self.history(batch), self.candidate(batch)
        crossed = self.tables["cross"](batch["visited.age_cate"], batch.mask)
        scores = torch.einsum("bd,bld->bl", candidate @ self.queries, history @ self.keys) / 24**0.5
        scores = scores + (crossed @ self.bias)[..., 0]
        shares = softmax_where(scores, latest_best(scores.detach(), batch.mask, 20))
        taste = torch.einsum("bl,bld->bd", shares, history @ self.values)
        x = torch.cat([self.context(batch), candidate, taste], 1)
        return {"click": self.out(self.deep(x))[:, 0]}


class Recency(nn.Module):
    """Adds a learned vector of the place from the end."""

    def __init__(self, model, name):
        super().__init__()
        self.table = model.param(f"{name}.table")

    def forward(self, x, batch):
        return x + F.embedding(batch.after.clamp(min=0), self.table) * batch.mask[..., None]


def attention(q, k, v, seen):
    """Vaswani et al., 2017, Eq. (1); `seen` is true where a query, `[samples, queries, 1]`, may see
    a key."""
    # A query of padding sees everything: what it gives is not read.
    seen = seen | ~seen.any(2, keepdim=True)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


class Bst(Sequence):
    """Chen et al., 2019, Eqs. (2)-(7): the candidate is one more entry, behind the others and their
    padding."""

    lr = 5e-3

    def build(self):
        self.recency = Recency(self, "history")
        self.heads = nn.ModuleList(
            nn.ModuleList(self.linear(f"{name}.{part}", bias=False) for part in ("query", "key", "value"))
            for name in ("a_b", "c_d")
        )
        self.project, self.first_norm = self.linear("output.first", bias=False), self.norm("output.first")
        self.inner, self.outer = self.linear("output.second.inner"), self.linear("output.second.linear")
        self.second_norm = self.norm("output.layer_norm")
        self.deep, self.out = self.mlp("hidden", 2, nn.LeakyReLU), self.linear("click")

    def forward(self, batch):
        x = torch.cat([self.recency(self.history(batch), batch), self.candidate(batch)[:, None]], 1)
        there = torch.cat([batch.mask, torch.ones_like(batch.mask[:, :1])], 1)
        heads = [attention(query(x), key(x), value(x), there[:, None]) for query, key, value in self.heads]
        first = self.first_norm(x + self.project(torch.cat(heads, 2)))
        out = self.second_norm(first + self.outer(F.leaky_relu(self.inner(first))))
        taste, target = masked_mean(out[:, :-1], batch.mask), out[:, -1]
        return {"click": self.out(self.deep(torch.cat([self.context(batch), target, taste], 1)))[:, 0]}


class SasRec(Sequence):
    """Kang and McAuley, 2018, Eqs. (1)-(6); as in the authors' code, queries are normalised and
    keys and values are not."""

    lr = 5e-3

    def build(self):
        self.recency = Recency(self, "entries")
        names = ("first", "second")
        parts = ("queries", "keys", "values")
        self.projections = [[self.param(f"{name}.attended.{part}") for part in parts] for name in names]
        self.query_norms = nn.ModuleList(self.norm(f"{name}.attended.scores") for name in names)
        self.norms = nn.ModuleList(self.norm(f"{name}.inner") for name in names)
        self.inner = nn.ModuleList(self.linear(f"{name}.inner.inner") for name in names)
        self.outer = nn.ModuleList(self.linear(f"{name}.inner.linear") for name in names)
        self.last_norm = self.norm("second")

    def forward(self, batch):
        x = self.recency(self.history(batch), batch)
        length = x.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril() & batch.mask[:, None]
        blocks = zip(self.projections, self.query_norms, self.norms, self.inner, self.outer)
        for (queries, keys, values), query_norm, norm, inner, outer in blocks:
            x = x + attention(query_norm(x) @ queries, x @ keys, x @ values, causal)
            x = x + outer(torch.relu(inner(norm(x))))
        last = (self.last_norm(x) * (batch.mask & (batch.after == 0))[..., None]).sum(1)
        return {"click": (last * self.candidate(batch)).sum(1)}


class Encoder(nn.Module):
    """Vaswani et al., 2017, Section 3.1: two heads, normalised behind each sum."""

    def __init__(self, model, name):
        super().__init__()
        parts = ("queries", "keys", "values")
        self.heads = [[model.param(f"{name}.attended.{h}.self_attention.{part}") for part in parts] for h in range(2)]
        self.project = model.linear(f"{name}.attended", bias=False)
        self.first_norm, self.second_norm = model.norm(f"{name}.first"), model.norm(f"{name}.layer_norm")
        self.inner, self.outer = model.linear(f"{name}.second.inner"), model.linear(f"{name}.second.linear")

    def forward(self, x, mask):
        heads = [attention(x @ q, x @ k, x @ v, mask[:, None]) for q, k, v in self.heads]
        x = self.first_norm(x + self.project(torch.cat(heads, 2)))
        return self.second_norm(x + self.outer(torch.relu(self.inner(x))))


class TransAct(Sequence):
    """Xia et al., 2023, Section 3.3."""

    lr = 5e-3

    def build(self):
        self.join, self.recency = self.linear("entries", bias=False), Recency(self, "entries")
        self.encoders = nn.ModuleList([Encoder(self, "first"), Encoder(self, "second")])
        self.deep, self.out = self.mlp("hidden", 2), self.linear("click")

    def forward(self, batch):
        history, candidate = self.history(batch), self.candidate(batch)
        x = self.join(torch.cat([history, candidate[:, None].expand_as(history)], 2))
        x = self.recency(x, batch)
        for encoder in self.encoders:
            x = encoder(x, batch.mask)
        latest = [(x * (batch.mask & (batch.after == i))[..., None]).sum(1) for i in range(5)]
        largest = x.masked_fill(~batch.mask[..., None], -torch.inf).amax(1)
        largest = torch.where(batch.mask.any(1, keepdim=True), largest, 0.0)
        taste = torch.cat([*latest, largest], 1)
        x = torch.cat([self.context(batch), candidate, taste], 1)
        return {"click": self.out(self.deep(x))[:, 0]}


class HstuLayer(nn.Module):
    """Zhai et al., 2024, Eqs. (1)-(3)."""

    def __init__(self, model, name):
        super().__init__()
        self.norm, self.scaled = model.norm(f"{name}.norm"), model.norm(f"{name}.scaled")
        self.parts = nn.ModuleList(model.linear(f"{name}.{part}", bias=False) for part in ("gate", "query", "key", "value"))
        self.steps, self.out = model.param(f"{name}.bias.steps"), model.linear(f"{name}.output")

    def forward(self, x):
        u, q, k, v = (F.silu(part(self.norm(x))) for part in self.parts)
        places = torch.arange(x.shape[1])
        distance = places[:, None] - places
        thresholds = 2 ** torch.arange(len(self.steps)) - 1
        bias = ((distance[..., None] >= thresholds) * self.steps).sum(2)
        weights = F.silu(q @ k.transpose(1, 2) + bias) * (distance >= 0)
        mean = weights @ v / (places + 1)[:, None]
        return x + self.out(self.scaled(mean) * u)


class Hstu(Sequence):
    def build(self):
        self.layers = nn.ModuleList(HstuLayer(self, name) for name in ("x1_y1", "x2_y2", "x3_y3"))
        self.out = self.linear("click")

    def forward(self, batch):
        """The candidate stands directly behind the last entry; padding follows, which no entry
        before it sees."""
        history = self.history(batch)
        x = torch.cat([history, torch.zeros_like(history[:, :1])], 1)
        last = batch.lengths
        x = x.index_put((torch.arange(len(last)), last), self.candidate(batch))
        for layer in self.layers:
            x = layer(x)
        y = x[torch.arange(len(last)), last]
        return {"click": self.out(torch.cat([y, self.context(batch)], 1))[:, 0]}


class Can(Sequence):
    """Bian et al., 2022, Eqs. (3)-(6), beside DIN."""

    def build(self):
        self.unit = ActivationUnit(self, "taste")
        self.deep, self.out = self.mlp("hidden", 2, PRelu), self.linear("click")

    def forward(self, batch):
        history, candidate = self.history(batch), self.candidate(batch)
        weights = self.tables["induction"](batch["cate_id"])
        first, second = weights[:, :64].unflatten(1, (8, 8)), weights[:, 64:].unflatten(1, (4, 8))
        feed = self.tables["feed"](batch["visited_cate_ids"], batch.mask)
        inner = torch.tanh(torch.einsum("bok,blk->blo", first, feed))
        outer = torch.tanh(torch.einsum("bok,blk->blo", second, inner))
        action = (outer * batch.mask[..., None]).sum(1)
        taste = self.unit(history, candidate, batch.mask)
        x = torch.cat([self.context(batch), candidate, taste, action], 1)
        return {"click": self.out(self.deep(x))[:, 0]}
