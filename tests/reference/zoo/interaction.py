"""`models/interaction`: each field of the log is one vector, of several ids the mean of theirs."""

import torch
import torch.nn.functional as F
from torch import nn

from layers import Model, masked_mean, pairs

FIELDS = {
    "user.user_id": "user_id",
    "user.gender": "gender",
    "user.age_level": "age_level",
    "past.cates": "visited_cate_ids",
    "ad.good_id": "good_id",
    "ad.shop_id": "shop_id",
    "ad.cate_id": "cate_id",
    "scene.pid": "pid",
    "scene.time": "time",
}
CROSSES = {
    "cross.user_cate": ("user_id", "cate_id"),
    "cross.gender_cate": ("gender", "cate_id"),
    "cross.age_cate": ("age_level", "cate_id"),
}


class Fields(Model):
    def vector(self, batch, table, column):
        if column == "visited_cate_ids":
            return masked_mean(self.tables[table](batch[column], batch.mask), batch.mask)
        return self.tables[table](batch[column])

    def fields(self, batch, prefix=""):
        """`[samples, fields, width]`."""
        return torch.stack([self.vector(batch, prefix + table, column) for table, column in FIELDS.items()], 1)

    def first_order(self, batch):
        return self.fields(batch, "wide.").sum((1, 2))

    def build(self):
        pass


class LogisticRegression(Fields):
    """McMahan et al., 2013."""

    made = CROSSES

    def build(self):
        self.bias = self.param("bias")

    def optimizer_of(self, table):
        return "ftrl"

    def forward(self, batch):
        crosses = sum(self.tables[name](batch[name])[:, 0] for name in CROSSES)
        return {"click": self.fields(batch).sum((1, 2)) + crosses + self.bias}


class FactorizationMachine(Fields):
    """Rendle, 2010, Eq. (1)."""

    def forward(self, batch):
        a, b = pairs(self.fields(batch))
        return {"click": self.first_order(batch) + (a * b).sum((1, 2))}


class FwFM(Fields):
    """Pan et al., 2018, Eqs. (4) and (6)."""

    def build(self):
        self.linear_part, self.pair_weights = self.linear("first"), self.linear("second", bias=False)

    def forward(self, batch):
        x = self.fields(batch)
        a, b = pairs(x)
        return {"click": (self.linear_part(x.flatten(1)) + self.pair_weights((a * b).sum(2)))[:, 0]}


class FFM(Fields):
    """Juan et al., 2016, Eq. (4)."""

    def forward(self, batch):
        # Of each field, for each other: [samples, fields, fields, 4].
        v = self.fields(batch).unflatten(2, (len(FIELDS), -1))
        products = (v * v.transpose(1, 2)).sum(3)
        i, j = torch.triu_indices(len(FIELDS), len(FIELDS), offset=1)
        return {"click": self.first_order(batch) + products[:, i, j].sum(1)}


class LsPlm(Fields):
    """Gai et al., 2017, Eq. (2)."""

    def forward(self, batch):
        shares = torch.softmax(self.fields(batch, "share.").sum(1), 1)
        p = (shares * torch.sigmoid(self.fields(batch, "piece.").sum(1))).sum(1)
        return {"click": torch.logit(p)}


class WideAndDeep(Fields):
    """Cheng et al., 2016, Eq. (3)."""

    made = CROSSES
    lr = 0.05

    def build(self):
        self.deep, self.out = self.mlp("hidden", 3), self.linear("click")

    def optimizer_of(self, table):
        return "ftrl" if table is not None and table.startswith("wide.") else "adagrad"

    def forward(self, batch):
        wide = [self.tables[f"wide.{name}"](batch[name]) for name in CROSSES]
        wide += [self.tables[f"wide.{name}"](batch[FIELDS[name]]) for name in ("ad.good_id", "ad.shop_id", "ad.cate_id")]
        return {"click": (sum(wide) + self.out(self.deep(self.fields(batch).flatten(1))))[:, 0]}


class DeepFM(Fields):
    """Guo et al., 2017, Eqs. (1)-(4)."""

    def build(self):
        self.deep, self.out = self.mlp("deep", 2), self.linear("deep")

    def forward(self, batch):
        x = self.fields(batch)
        a, b = pairs(x)
        return {"click": self.first_order(batch) + (a * b).sum((1, 2)) + self.out(self.deep(x.flatten(1)))[:, 0]}


class NFM(Fields):
    """He and Chua, 2017, Eqs. (2)-(7)."""

    def build(self):
        self.deep, self.out = self.mlp("deep", 1), self.linear("deep")

    def forward(self, batch):
        a, b = pairs(self.fields(batch))
        return {"click": self.first_order(batch) + self.out(self.deep((a * b).sum(1)))[:, 0]}


class AFM(Fields):
    """Xiao et al., 2017, Eqs. (4)-(6)."""

    def build(self):
        self.unit, self.bias, self.score = (self.param(f"second.{name}") for name in ("unit", "bias", "score"))
        self.out = self.linear("second", bias=False)

    def forward(self, batch):
        a, b = pairs(self.fields(batch))
        products = a * b
        shares = torch.softmax(torch.relu(products @ self.unit + self.bias) @ self.score, 1)
        return {"click": self.first_order(batch) + self.out((shares * products).sum(1))[:, 0]}


class PNN(Fields):
    """Qu et al., 2016, IPNN, the weights of products not factorised."""

    def build(self):
        self.deep, self.out = self.mlp("hidden", 2), self.linear("click")

    def forward(self, batch):
        x = self.fields(batch)
        a, b = pairs(x)
        return {"click": self.out(self.deep(torch.cat([x.flatten(1), (a * b).sum(2)], 1)))[:, 0]}


class DeepCrossing(Fields):
    """Shan et al., 2016, Eq. (3)."""

    def build(self):
        self.units = nn.ModuleList(
            nn.ModuleList([self.linear(f"hidden.{i}.inner"), self.linear(f"hidden.{i}.linear")]) for i in range(2)
        )
        self.out = self.linear("click")

    def forward(self, batch):
        x = self.fields(batch).flatten(1)
        for inner, outer in self.units:
            x = torch.relu(outer(torch.relu(inner(x))) + x)
        return {"click": self.out(x)[:, 0]}


class DCN(Fields):
    """Wang et al., 2017, Eq. (3)."""

    def build(self):
        self.w = [self.param(f"crossed.{i}.w") for i in range(3)]
        self.b = [self.param(f"crossed.{i}.b") for i in range(3)]
        self.deep, self.out = self.mlp("deep", 2), self.linear("click")

    def forward(self, batch):
        start = self.fields(batch).flatten(1)
        x = start
        for w, b in zip(self.w, self.b):
            # x0 x^T w
            x = torch.einsum("bi,bj,jk->bi", start, x, w) + b + x
        return {"click": self.out(torch.cat([x, self.deep(start)], 1))[:, 0]}


class DCNv2(Fields):
    """Wang et al., 2021, Eq. (1), parallel."""

    def build(self):
        self.layers = nn.ModuleList(self.linear(f"crossed.{i}") for i in range(2))
        self.deep, self.out = self.mlp("deep", 2), self.linear("click")

    def forward(self, batch):
        start = self.fields(batch).flatten(1)
        x = start
        for layer in self.layers:
            x = start * layer(x) + x
        return {"click": self.out(torch.cat([x, self.deep(start)], 1))[:, 0]}


class DCNv2Mixture(Fields):
    """Wang et al., 2021, Eq. (4), stacked."""

    def build(self):
        def expert(i, e):
            name = f"crossed.{i}.outputs.{e}"
            down, across = self.linear(f"{name}.inner", bias=False), self.linear(f"{name}.mixed", bias=False)
            return nn.Sequential(down, nn.Tanh(), across, nn.Tanh(), self.linear(f"{name}.linear"))

        self.experts = nn.ModuleList(nn.ModuleList(expert(i, e) for e in range(4)) for i in range(2))
        self.gates = nn.ModuleList(self.linear(f"crossed.{i}.gates", bias=False) for i in range(2))
        self.deep, self.out = self.mlp("hidden", 2), self.linear("click")

    def forward(self, batch):
        start = self.fields(batch).flatten(1)
        x = start
        for experts, gate in zip(self.experts, self.gates):
            outputs = torch.stack([start * expert(x) for expert in experts], 2)
            x = torch.einsum("bde,be->bd", outputs, torch.softmax(gate(x), 1)) + x
        return {"click": self.out(self.deep(x))[:, 0]}


class XDeepFM(Fields):
    """Lian et al., 2018, Eqs. (6)-(8): the compression is a convolution over the maps of products,
    as the paper says."""

    def build(self):
        self.compress = nn.ModuleList(self.linear(f"explicit.{i}.compressed", bias=False) for i in range(2))
        self.explicit = self.linear("explicit", bias=False)
        self.deep, self.out = self.mlp("deep", 2), self.linear("deep")

    def forward(self, batch):
        x = self.fields(batch)
        maps, sums = x, []
        for layer in self.compress:
            products = torch.einsum("bhd,bmd->bhmd", maps, x).flatten(1, 2)
            maps = F.conv1d(products, layer.weight[:, :, None])
            sums.append(maps.sum(2))
        deep = self.out(self.deep(x.flatten(1)))
        return {"click": self.first_order(batch) + (self.explicit(torch.cat(sums, 1)) + deep)[:, 0]}


class AutoInt(Fields):
    """Song et al., 2019, Eqs. (5)-(8)."""

    def build(self):
        def heads(name):
            parts = ("query", "key", "value")
            return nn.ModuleList(
                nn.ModuleList(self.linear(f"{name}.attended.{h}.{part}", bias=False) for part in parts) for h in range(2)
            )

        self.layers = nn.ModuleList(heads(name) for name in ("first", "second"))
        self.residuals = nn.ModuleList(self.linear(f"{name}.residual", bias=False) for name in ("first", "second"))
        self.out = self.linear("click")

    def forward(self, batch):
        x = self.fields(batch)
        for heads, residual in zip(self.layers, self.residuals):
            found = [F.scaled_dot_product_attention(query(x), key(x), value(x), scale=1.0) for query, key, value in heads]
            x = torch.relu(torch.cat(found, 2) + residual(x))
        return {"click": self.out(x.flatten(1))[:, 0]}


class FiBiNET(Fields):
    """Huang et al., 2019, Eqs. (1)-(5), field-all type."""

    def build(self):
        self.squeeze, self.excite = self.linear("scaled.squeezed", bias=False), self.linear("scaled.excited", bias=False)
        self.plain, self.scaled = self.linear("plain.turned", bias=False), self.linear("scaled.turned", bias=False)
        self.deep, self.out = self.mlp("deep", 2), self.linear("deep")

    @staticmethod
    def bilinear(x, layer):
        a, b = pairs(x)
        return (layer(a) * b).flatten(1)

    def forward(self, batch):
        x = self.fields(batch)
        weights = torch.relu(self.excite(torch.relu(self.squeeze(x.mean(2)))))
        products = torch.cat([self.bilinear(x, self.plain), self.bilinear(x * weights[..., None], self.scaled)], 1)
        return {"click": self.first_order(batch) + self.out(self.deep(products))[:, 0]}


class FinalMLP(Fields):
    """Mao et al., 2023, Eqs. (5)-(10)."""

    def build(self):
        def gate(name):
            return nn.Sequential(self.linear(f"{name}.inner.0"), nn.ReLU(), self.linear(f"{name}.linear"), nn.Sigmoid())

        self.gates = nn.ModuleList(gate(name) for name in ("user_view", "ad_view"))
        self.streams = nn.ModuleList(self.mlp(name, 2) for name in ("user_side", "ad_side"))
        self.left, self.right = self.linear("click.left"), self.linear("click.right", bias=False)
        self.bilinear = nn.ModuleList(self.linear(f"click.together.{h}", bias=False) for h in range(2))

    def forward(self, batch):
        x = self.fields(batch)
        # The first three fields are the user's, and three behind the history the ad's.
        contexts = (x[:, :3].flatten(1), x[:, 4:7].flatten(1))
        x = x.flatten(1)
        first, second = (
            stream(2 * gate(context) * x) for stream, gate, context in zip(self.streams, self.gates, contexts)
        )
        chunks = zip(first.chunk(2, 1), second.chunk(2, 1), self.bilinear)
        fused = sum((form(a) * b).sum(1) for a, b, form in chunks)
        return {"click": self.left(first)[:, 0] + self.right(second)[:, 0] + fused}


class MaskNet(Fields):
    """Wang, She and Zhang, 2021, Eqs. (5)-(13), parallel."""

    def build(self):
        self.norms = nn.ModuleList(self.norm(f"x.{i}") for i in range(len(FIELDS)))
        names = [f"blocks.{i}" for i in range(3)]
        self.masks = nn.ModuleList(
            nn.Sequential(self.linear(f"{name}.inner"), nn.ReLU(), self.linear(f"{name}.mask")) for name in names
        )
        self.hidden = nn.ModuleList(
            nn.Sequential(self.linear(f"{name}.project", bias=False), self.norm(f"{name}.layer_norm"), nn.ReLU())
            for name in names
        )
        self.deep, self.out = self.mlp("hidden", 1), self.linear("click")

    def forward(self, batch):
        raw = self.fields(batch)
        x = torch.cat([norm(raw[:, i]) for i, norm in enumerate(self.norms)], 1)
        raw = raw.flatten(1)
        blocks = [hidden(mask(raw) * x) for mask, hidden in zip(self.masks, self.hidden)]
        return {"click": self.out(self.deep(torch.cat(blocks, 1)))[:, 0]}
