"""Models of `models/` in the fastest forms that we could write in PyTorch by hand, with the weights and the mathematics of
tests/reference/zoo. `zoo_step.py` says what the forms are."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import interaction
import zoo_log
from layers import cross_entropy
from torch_step import SegmentSum

EPSILON = 1e-5


class Net(nn.Module):
    """Weights by the names of the Din program. The table is an argument of `loss`."""

    forms = ("joined",)

    def __init__(self, start, form):
        super().__init__()
        self.start, self.form = start, form
        self.taken = set()
        self.build()
        left = set(start.names("param")) - self.taken
        assert not left, left

    def number(self, name):
        self.taken.add(name)
        return self.start.numbers(f"param.{name}")

    def joined(self, names, axis=1):
        """Weights side by side, as one parameter."""
        return nn.Parameter(torch.cat([self.number(name) for name in names], axis).contiguous())

    def stacked(self, names):
        return nn.Parameter(torch.stack([self.number(name) for name in names]).contiguous())

    def param(self, name):
        return nn.Parameter(self.number(name).contiguous())

    def linear(self, name):
        return nn.ParameterList([self.param(f"{name}.bias"), self.param(f"{name}.weight")])

    def mlp(self, name, slopes=False):
        """Two layers and the last one; `slopes` are of PReLU."""
        names = [f"{name}.0", f"{name}.1"]
        layers = nn.ModuleList(self.linear(each) for each in names)
        return layers, nn.ParameterList([self.param(f"{each}.alpha") for each in names]) if slopes else None

    def joined_table(self):
        """All tables, one below the other, and a last row of 0 for padding."""
        tables = [self.start.numbers(f"table.{name}") for name in self.tables()]
        return torch.cat([*tables, torch.zeros(1, tables[0].shape[1])])

    def tables(self):
        """Names, in an order of their own."""
        return sorted(self.start.names("table"))

    def first_rows(self):
        sizes = [len(self.start.numbers(f"table.{name}")) for name in self.tables()]
        return dict(zip(self.tables(), np.cumsum([0, *sizes[:-1]]).tolist())), sum(sizes)


def apply(layer, x):
    bias, weight = layer
    return torch.addmm(bias, x, weight) if x.dim() == 2 else x @ weight + bias


def normalised(x, gain, shift):
    return F.layer_norm(x, gain.shape, gain, shift, EPSILON)


class Fields(Net):
    """`models/interaction`."""

    def batches(self, data):
        first, _ = self.first_rows()
        scalars, lists = zoo_log.columns("interaction/dcnv2")
        past = first[lists["visited_cate_ids"]]
        for b in data:
            ids = np.stack([b[column] + first[table] for column, table in scalars.items()], 1)
            yield {"ids": ids, "entries": b["visited_cate_ids"] + past, "offsets": b["offsets"], "click": b["click"]}

    def fields(self, table, b):
        """`[samples, fields, width]`."""
        one = F.embedding(b["ids"], table)
        past = F.embedding_bag(b["entries"], table, b["offsets"], mode="mean", include_last_offset=True)
        return torch.cat([one[:, :3], past[:, None], one[:, 3:]], 1)

    def loss(self, table, b):
        return cross_entropy(self.logit(self.fields(table, b)), b["click"])


class FieldsAndFirstOrder(Fields):
    """The table of weights stands beside that of vectors: column 0."""

    def tables(self):
        return sorted(name for name in self.start.names("table") if not name.startswith("wide."))

    def joined_table(self):
        both = []
        for name in self.tables():
            assert np.array_equal(*(self.start.ids(f"ids.{n}") for n in (name, f"wide.{name}"))) if self.start.has(f"ids.{name}") else True
            both.append(torch.cat([self.start.numbers(f"table.wide.{name}"), self.start.numbers(f"table.{name}")], 1))
        return torch.cat([*both, torch.zeros(1, both[0].shape[1])])


def mlp(layers, x):
    for layer in layers:
        x = torch.relu(apply(layer, x))
    return x


class AutoInt(Fields):
    forms = ("joined", "sdpa")

    def build(self):
        self.blocks = nn.ParameterList()
        for name in ("first", "second"):
            heads = [f"{name}.attended.{h}" for h in range(2)]
            parts = [f"{head}.{part}.weight" for part in ("query", "key", "value") for head in heads]
            self.blocks.append(self.joined([*parts, f"{name}.residual.weight"]))
        self.out = self.linear("click")

    def logit(self, x):
        for weight in self.blocks:
            q, k, v, residual = (x @ weight).chunk(4, 2)
            q, k, v = (part.unflatten(2, (2, 8)).transpose(1, 2) for part in (q, k, v))
            if self.form == "sdpa":
                found = F.scaled_dot_product_attention(q, k, v, scale=1.0)
            else:
                found = torch.softmax(q @ k.transpose(2, 3), 3) @ v
            x = torch.relu(found.transpose(1, 2).flatten(2) + residual)
        return apply(self.out, x.flatten(1))[:, 0]


class DCNv2(Fields):
    def build(self):
        parts = ["crossed.0", "deep.0"]
        self.first = nn.ParameterList([self.joined([f"{p}.bias" for p in parts], 0), self.joined([f"{p}.weight" for p in parts])])
        self.cross, self.deep, self.out = self.linear("crossed.1"), self.linear("deep.1"), self.linear("click")

    def logit(self, x):
        start = x.flatten(1)
        width = start.shape[1]
        first = apply(self.first, start)
        crossed = start * first[:, :width] + start
        crossed = start * apply(self.cross, crossed) + crossed
        deep = torch.relu(apply(self.deep, torch.relu(first[:, width:])))
        return apply(self.out, torch.cat([crossed, deep], 1))[:, 0]


class XDeepFM(FieldsAndFirstOrder):
    def build(self):
        self.compress = nn.ParameterList(self.param(f"explicit.{i}.compressed.weight") for i in range(2))
        self.explicit = self.param("explicit.weight")
        self.deep, _ = self.mlp("deep")
        self.out = self.linear("deep")

    def logit(self, x):
        first, x = x[:, :, 0].sum(1), x[:, :, 1:]
        turned = x.transpose(1, 2)
        maps, sums = turned, []
        for weight in self.compress:
            # By component, all products of a map and a field, times one matrix.
            products = maps[..., None] * turned[:, :, None]
            maps = (products.flatten(0, 1).flatten(1) @ weight).unflatten(0, turned.shape[:2])
            sums.append(maps.sum(1))
        deep = apply(self.out, mlp(self.deep, x.flatten(1)))
        return first + (torch.cat(sums, 1) @ self.explicit + deep)[:, 0]


class FiBiNET(FieldsAndFirstOrder):
    def build(self):
        self.squeeze, self.excite = self.param("scaled.squeezed.weight"), self.param("scaled.excited.weight")
        self.turns = nn.ParameterList([self.param("plain.turned.weight"), self.param("scaled.turned.weight")])
        self.deep, _ = self.mlp("deep")
        self.out = self.linear("deep")
        self.pairs = torch.triu_indices(len(interaction.FIELDS), len(interaction.FIELDS), offset=1)

    def logit(self, x):
        first, x = x[:, :, 0].sum(1), x[:, :, 1:]
        weights = torch.relu(torch.relu(x.mean(2) @ self.squeeze) @ self.excite)
        (i, j), products = self.pairs, []
        for fields, turn in zip((x, x * weights[..., None]), self.turns):
            products.append(((fields @ turn)[:, i] * fields[:, j]).flatten(1))
        return first + apply(self.out, mlp(self.deep, torch.cat(products, 1)))[:, 0]


class Histories(Net):
    """`models/sequence` and `models/multitask`: samples' ids in the order of `scalars`, and an entry's three ids."""

    backward = False

    def batches(self, data):
        first, free = self.first_rows()
        scalars, lists = zoo_log.columns(self.model)
        longest = max(int(np.diff(b["offsets"]).max()) for b in data)
        for b in data:
            ids = np.stack([b[column] + first[table] for column, table in scalars.items()], 1)
            entries = np.stack([b[column] + first[table] for column, table in lists.items()], 1)
            labels = {n: b[n] for n in zoo_log.REFERENCES[self.model].labels}
            yield {"ids": ids} | self.arranged(b, entries, longest, free) | labels

    def arranged(self, b, entries, longest, free):
        """`entries` `[samples, longest, 3]`, and whether there is one."""
        columns = [zoo_log.padded(own, b["offsets"], longest, free, self.backward) for own in entries.T]
        return {"entries": np.stack(columns, 2), "mask": zoo_log.mask(b["offsets"], longest)}

    @staticmethod
    def look_up(table, ids):
        return F.embedding(ids, table).flatten(-2)


class Mmoe(Histories):
    """The mean of a history is one of bags: three by sample."""

    model = "multitask/mmoe"

    def build(self):
        experts = [f"shared.{i}.mlp.0" for i in range(4)]
        gates = [f"{task}_tower.shares.weight" for task in ("click", "gender")]
        self.first = self.joined([*(f"{e}.weight" for e in experts), *gates])
        self.bias = self.joined([f"{e}.bias" for e in experts], 0)
        towers = ("click_tower.0", "gender_tower.0")
        self.tower, self.tower_bias = self.stacked([f"{t}.weight" for t in towers]), self.stacked([f"{t}.bias" for t in towers])
        self.out, self.out_bias = self.stacked(["click.weight", "gender.weight"]), self.stacked(["click.bias", "gender.bias"])

    def arranged(self, b, entries, longest, free):
        count = len(entries)
        bags = np.concatenate([b["offsets"][:-1] + i * count for i in range(3)])
        return {"entries": entries.T.reshape(-1).copy(), "bags": bags}

    def loss(self, table, b):
        samples = len(b["ids"])
        mean = F.embedding_bag(b["entries"], table, b["bags"], mode="mean").unflatten(0, (3, samples))
        x = torch.cat([self.look_up(table, b["ids"]), mean.transpose(0, 1).flatten(1)], 1)
        first = x @ self.first
        width = len(self.bias)
        experts = torch.relu(first[:, :width] + self.bias).unflatten(1, (4, -1))
        shares = torch.softmax(first[:, width:].unflatten(1, (2, 4)), 2)
        # [tasks, samples, width]
        seen = (shares @ experts).transpose(0, 1)
        hidden = torch.relu(torch.baddbmm(self.tower_bias[:, None], seen, self.tower))
        logits = torch.baddbmm(self.out_bias[:, None], hidden, self.out)[:, :, 0]
        return cross_entropy(logits[0], b["click"]) + cross_entropy(logits[1], b["gender"])


class Attended(Histories):
    """Layers on entries and the attention on padded ones, or with `ragged` layers on real entries."""

    forms = ("joined", "sdpa", "ragged")

    def attention(self, q, k, v, seen):
        """Of `[samples, places, heads, width]`; `seen` is `[samples, 1, 1 or places, places]`."""
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        if self.form == "joined":
            scores = (q @ k.transpose(2, 3)) * self.scale
            found = torch.softmax(scores.masked_fill(~seen, -torch.inf), 3) @ v
        else:
            found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=self.scale)
        return found.transpose(1, 2)


def spread(x, places, shape):
    """Rows to places of a tensor of zeros, of this shape and the rows' width."""
    flat = x.new_zeros(shape[0] * shape[1], x.shape[1])
    return flat.index_copy(0, places, x).unflatten(0, shape)


class Bst(Attended):
    """The entries stand behind the candidate, the last first."""

    model, backward, scale = "sequence/bst", True, 12**-0.5

    def build(self):
        self.recency = self.param("history.table")
        self.heads = self.joined([f"{h}.{part}.weight" for part in ("query", "key", "value") for h in ("a_b", "c_d")])
        self.project = self.param("output.first.weight")
        self.norms = nn.ParameterList(self.param(f"output.{n}.{part}") for n in ("first", "layer_norm") for part in ("gain", "shift"))
        self.inner, self.outer = self.linear("output.second.inner"), self.linear("output.second.linear")
        self.deep, _ = self.mlp("hidden")
        self.out = self.linear("click")

    def arranged(self, b, entries, longest, free):
        if self.form != "ragged":
            return super().arranged(b, entries, longest, free)
        # Rows are the candidates and then the entries, in the order of samples.
        samples, lengths = len(b["click"]), np.diff(b["offsets"])
        sample = np.repeat(np.arange(samples), lengths)
        after = np.repeat(b["offsets"][1:], lengths) - 1 - np.arange(len(entries))
        places = np.concatenate([np.arange(samples) * (longest + 1), sample * (longest + 1) + 1 + after])
        out = {"entries": entries, "after": after, "sample": sample, "offsets": b["offsets"], "places": places}
        return out | {"mask": zoo_log.mask(b["offsets"], longest)}

    def block(self, x, attended):
        first = normalised(x + attended @ self.project, self.norms[0], self.norms[1])
        second = apply(self.outer, F.leaky_relu(apply(self.inner, first)))
        return normalised(first + second, self.norms[2], self.norms[3])

    def loss(self, table, b):
        one, history = self.look_up(table, b["ids"]), self.look_up(table, b["entries"])
        context, candidate = one[:, :-24], one[:, -24:]
        there = F.pad(b["mask"], (1, 0), value=True)
        if self.form == "ragged":
            x = torch.cat([candidate, history + F.embedding(b["after"], self.recency)])
            projected = spread(x @ self.heads, b["places"], there.shape)
        else:
            x = torch.cat([candidate[:, None], history + self.recency[: history.shape[1]]], 1)
            projected = x @ self.heads
        q, k, v = projected.unflatten(2, (3, 2, 12)).unbind(2)
        attended = self.attention(q, k, v, there[:, None, None]).flatten(2)
        if self.form == "ragged":
            out = self.block(x, attended.flatten(0, 1).index_select(0, b["places"]))
            target, entries = out[: len(one)], out[len(one) :]
            sums = SegmentSum.apply(entries, b["sample"], b["offsets"])
        else:
            out = self.block(x, attended)
            target, sums = out[:, 0], (out[:, 1:] * b["mask"][..., None]).sum(1)
        taste = sums / b["mask"].sum(1).clamp(min=1)[:, None]
        x = torch.cat([context, target, taste], 1)
        for layer in self.deep:
            x = F.leaky_relu(apply(layer, x))
        return cross_entropy(apply(self.out, x)[:, 0], b["click"])


class Dien(Histories):
    """The update gate of an entry that is padding is 0, since its attention is: neither layer needs a mask."""

    model, forms = "sequence/dien", ("joined", "packed", "stepped")
    parts, width = ("step", "attention", "tail"), 24

    def build(self):
        gates = ("update", "reset", "candidate")
        self.cells = nn.ModuleList()
        for name in ("interests", "evolved"):
            parts = [[f"{name}.gru_cell.{gate}_{part}" for gate in gates] for part in ("x", "h", "bias")]
            self.cells.append(nn.ParameterList([self.joined(parts[0]), self.joined(parts[1]), self.joined(parts[2], 0)]))
        self.related = self.param("related.weight")
        self.deep, self.slopes = self.mlp("hidden", slopes=True)
        self.out = self.linear("logit")

    def batches(self, data):
        for b in super().batches(data):
            lengths = b["mask"].sum(1)
            if self.form == "packed":
                order = np.argsort(-lengths, kind="stable")
                b = {n: v[order] for n, v in b.items()}
                # How many samples have an entry at each place.
                b["going"] = b["mask"].sum(0)[: max(1, lengths.max())]
            # Time first.
            yield b | {"entries": np.ascontiguousarray(b["entries"].transpose(1, 0, 2))}

    def step(self, x, h, weight, attention=None):
        """`x` is what the entry gives the three gates."""
        ux, rx, cx = x.chunk(3, 1)
        uh, rh, ch = (h @ weight).chunk(3, 1)
        update = torch.sigmoid(ux + uh)
        if attention is not None:
            update = update * attention[:, None]
        return h + update * (torch.tanh(cx + torch.sigmoid(rx + rh) * ch) - h)

    def loss(self, table, b):
        one, history = self.look_up(table, b["ids"]), self.look_up(table, b["entries"])
        interests = self.extracted(history, b)
        h = self.evolved(interests, self.attention(interests, one[:, 8:], b["mask"].t()), b)
        return self.tail(one, h, b["click"])

    def attention(self, interests, candidate, mask):
        scores = ((interests @ self.related) * candidate).sum(2).masked_fill(~mask, -torch.inf)
        # A sample without entries has no attention at all.
        scores = scores.masked_fill(~mask.any(0), 0.0)
        return torch.softmax(scores, 0) * mask

    def tail(self, one, h, click):
        x = torch.cat([one, h], 1)
        for layer, slope in zip(self.deep, self.slopes):
            x = apply(layer, x)
            x = torch.where(x > 0, x, slope * x)
        return cross_entropy(apply(self.out, x)[:, 0], click)

    def extracted(self, history, b):
        wx, wh, bias = self.cells[0]
        if self.form == "packed":
            # PyTorch's update gate is 1 - ours, so its product changes sign, and its gates have another order.
            (ux, rx, cx), (uh, rh, ch), (ub, rb, cb) = wx.chunk(3, 1), wh.chunk(3, 1), bias.chunk(3)
            weights = [torch.cat([rx, -ux, cx], 1).t().contiguous(), torch.cat([rh, -uh, ch], 1).t().contiguous()]
            own = [torch.cat([rb, -ub, cb]), torch.zeros_like(bias)]
            packed = torch.cat([entry[:n] for entry, n in zip(history.unbind(0), b["going"].tolist())])
            h = history.new_zeros(1, int(b["going"][0]), self.width)
            states, _ = torch._VF.gru(packed, b["going"], h, weights + own, True, 1, 0.0, True, False)
            parts = states.split(b["going"].tolist())
            ended = [states.new_zeros(history.shape[1:])] * (len(history) - len(parts))
            return torch.stack([F.pad(part, (0, 0, 0, history.shape[1] - len(part))) for part in parts] + ended)
        x = history @ wx + bias
        h, states = history.new_zeros(history.shape[1:]), []
        for entry in x.unbind(0):
            h = self.step(entry, h, wh)
            states.append(h)
        return torch.stack(states)

    def evolved(self, interests, attention, b):
        wx, wh, bias = self.cells[1]
        x = interests @ wx + bias
        h = interests.new_zeros(interests.shape[1:])
        if self.form != "packed":
            for entry, share in zip(x.unbind(0), attention.unbind(0)):
                h = self.step(entry, h, wh, share)
            return h
        ended = []
        # Cut apart at once: the gradient of each single cut would be as large as the whole.
        for entry, share, n in zip(x.unbind(0), attention.unbind(0), b["going"].tolist()):
            if n < len(h):
                ended.append(h[n:])
                h = h[:n]
            h = self.step(entry[:n], h, wh, share[:n])
        return torch.cat([h, *reversed(ended)])


class Dsin(Attended):
    model, scale = "sequence/dsin", 24**-0.5
    forms, parts = (*Attended.forms, "stepped"), ("front", "step", "tail")

    def build(self):
        self.bias = nn.ParameterList(self.param(f"entries.{part}.table") for part in ("sessions", "places"))
        self.component = self.param("entries.component")
        heads = [torch.cat([self.number(f"interests.seen.{h}.{part}") for part in ("queries", "keys", "values")], 1) for h in range(2)]
        self.heads = nn.Parameter(torch.stack(heads))
        self.project = self.param("interests.joined.weight")
        self.norms = nn.ParameterList(self.param(f"interests.{n}.{part}") for n in ("joined", "entries") for part in ("gain", "shift"))
        self.inner, self.outer = self.linear("interests.entries.inner"), self.linear("interests.entries.linear")
        gates = ("input", "forget", "candidate", "output")
        for part, axis in (("x", 1), ("h", 1), ("bias", 0)):
            ways = [torch.cat([self.number(f"context.{way}.h_c.{gate}_{part}") for gate in gates], axis) for way in ("forward", "back")]
            setattr(self, f"lstm_{part}", nn.Parameter(torch.stack(ways)))
        self.near = nn.ParameterList(self.param(f"{name}.score.weight") for name in ("own", "combined"))
        self.deep, _ = self.mlp("hidden")
        self.out = self.linear("click")

    def batches(self, data):
        self.most = max(int(self.sessions(b)[2].max()) for b in data)
        return super().batches(data)

    @staticmethod
    def sessions(b):
        """By entry its session, counted from 0 over the batch; by session its sample; by sample, how many there are."""
        lengths, numbers = np.diff(b["offsets"]), b["visited_sessions"]
        sample = np.repeat(np.arange(len(lengths)), lengths)
        begins = np.ones(len(numbers), dtype=bool)
        begins[1:] = (numbers[1:] != numbers[:-1]) | (sample[1:] != sample[:-1])
        own = sample[begins]
        return np.cumsum(begins) - 1, own, np.bincount(own, minlength=len(lengths))

    def arranged(self, b, entries, longest, free):
        session, sample, counts = self.sessions(b)
        ends = np.cumsum(counts)
        sizes = np.bincount(session)
        # From the end: 0 is the last, and 20 has no bias.
        later = np.minimum((ends[sample] - 1 - np.arange(len(sample)))[session], 20)
        after = np.minimum(np.cumsum(sizes)[session] - 1 - np.arange(len(session)), 20)
        begins = ends - counts
        order = np.arange(len(sample)) - begins[sample]
        # Places in [sessions, samples], from the first session and from the last.
        forward, back = order * len(counts) + sample, (counts[sample] - 1 - order) * len(counts) + sample
        lengths = np.diff(b["offsets"])
        row = np.repeat(np.arange(len(lengths)), lengths)
        place = row * longest + np.arange(len(session)) - np.repeat(b["offsets"][:-1], lengths)
        numbers = zoo_log.padded(session, b["offsets"], longest, -1)
        out = {"numbers": numbers, "session": session, "sizes": sizes.astype(np.float32), "forward": forward, "back": back}
        out |= {"places": place, "begins": np.concatenate([[0], np.cumsum(sizes)]), "session_mask": np.arange(self.most) < counts[:, None]}
        if self.form == "ragged":
            return out | {"entries": entries, "later": later, "after": after}
        out |= super().arranged(b, entries, longest, free)
        return out | {n: zoo_log.padded(v, b["offsets"], longest, 20) for n, v in (("later", later), ("after", after))}

    def loss(self, table, b):
        one, ways, gates = self.front(table, b)
        h = c = gates.new_zeros(2, len(one), 12)
        states = []
        for entry in gates.unbind(0):
            h, c = self.step(entry, h, c)
            states.append(h)
        return self.tail(one, ways, torch.stack(states), b)

    def step(self, entry, h, c):
        i, f, g, o = torch.baddbmm(entry, h, self.lstm_h).chunk(4, 2)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def front(self, table, b):
        """Vectors of samples; sessions from the first and from the last; what they give the recurrent layers' gates."""
        one, x = self.look_up(table, b["ids"]), self.look_up(table, b["entries"])
        for n, bias in zip(("later", "after"), self.bias):
            x = x + F.embedding(b[n], F.pad(bias, (0, 0, 0, 1)))
        x = x + self.component
        ragged = self.form == "ragged"
        # [heads, rows, 12] by [heads, 12, 36]
        rows = x if ragged else x.flatten(0, 1)
        projected = torch.bmm(rows.unflatten(1, (2, 12)).transpose(0, 1), self.heads).transpose(0, 1).flatten(1)
        numbers = b["numbers"]
        projected = spread(projected, b["places"], numbers.shape) if ragged else projected.unflatten(0, numbers.shape)
        q, k, v = projected.unflatten(2, (2, 3, 12)).unbind(3)
        seen = (numbers[:, :, None] == numbers[:, None])[:, None]
        attended = self.attention(q, k, v, seen).flatten(2)
        if ragged:
            attended = attended.flatten(0, 1).index_select(0, b["places"])
        x = normalised(x + attended @ self.project, self.norms[0], self.norms[1])
        x = normalised(x + apply(self.outer, torch.relu(apply(self.inner, x))), self.norms[2], self.norms[3])
        if not ragged:
            x = x.flatten(0, 1).index_select(0, b["places"])
        interests = SegmentSum.apply(x, b["session"], b["begins"]) / b["sizes"][:, None]
        ways = [spread(interests, b[n], (self.most, len(one))) for n in ("forward", "back")]
        # Both ways at once: [sessions, ways, samples, 4 * 12].
        return one, ways, torch.stack(ways, 1) @ self.lstm_x + self.lstm_bias[:, None]

    def tail(self, one, ways, states, b):
        candidate, shape = one[:, -24:], (len(states), len(one))
        back = states[:, 1].flatten(0, 1).index_select(0, b["back"])
        both = torch.cat([states[:, 0], spread(back, b["forward"], shape)], 2)
        mask, found = b["session_mask"].t(), []
        for near, vectors in zip(self.near, (ways[0], both)):
            scores = ((vectors @ near) * candidate).sum(2).masked_fill(~mask, -torch.inf)
            scores = scores.masked_fill(~mask.any(0), 0.0)
            found.append((vectors * (torch.softmax(scores, 0) * mask)[..., None]).sum(0))
        x = mlp(self.deep, torch.cat([one, *found], 1))
        return cross_entropy(apply(self.out, x)[:, 0], b["click"])


MODELS = {
    "interaction/autoint": AutoInt,
    "interaction/dcnv2": DCNv2,
    "interaction/fibinet": FiBiNET,
    "interaction/xdeepfm": XDeepFM,
    "multitask/mmoe": Mmoe,
    "sequence/bst": Bst,
    "sequence/dien": Dien,
    "sequence/dsin": Dsin,
}
