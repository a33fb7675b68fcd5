"""`models/retrieval`: the logit is a function of the product of two vectors."""

import torch
import torch.nn.functional as F

from layers import Model, masked_mean
from sequence import ITEM, USER


def unit_length(x):
    # Din adds 1e-12 to the square, so as not to divide by 0.
    return x / torch.sqrt((x * x).sum(1, keepdim=True) + 1e-12)


class TwoTower(Model):
    """Yi et al., 2019, Section 3."""

    keep = 50

    def build(self):
        self.user_tower = torch.nn.Sequential(self.mlp("user_hidden", 1), self.linear("query"))
        self.ad_tower = torch.nn.Sequential(self.mlp("ad_hidden", 1), self.linear("vector"))
        self.build_score()

    def build_score(self):
        self.out = self.linear("click")

    def vectors(self, batch):
        user = torch.cat([self.tables[name](batch[column]) for name, column in USER.items()], 1)
        history = torch.cat([self.tables[name](batch[f"visited_{name}_ids"], batch.mask) for name in ITEM], 2)
        ad = torch.cat([self.tables[name](batch[f"{name}_id"]) for name in ITEM], 1)
        query = unit_length(self.user_tower(torch.cat([user, masked_mean(history, batch.mask)], 1)))
        return query, unit_length(self.ad_tower(ad))

    def forward(self, batch):
        query, vector = self.vectors(batch)
        return {"click": self.out((query * vector).sum(1, keepdim=True) / 0.1)[:, 0]}


class TwoTowerInBatch(TwoTower):
    """The same, Eq. (4) without the correction: each click against all ads of the batch."""

    def build_score(self):
        pass

    def loss(self, batch):
        query, vector = self.vectors(batch)
        scores = query @ vector.T / 0.1
        own = torch.arange(len(scores))
        return (F.cross_entropy(scores, own, reduction="none") * batch["click"].to(scores.dtype)).mean()


class Dssm(Model):
    """Huang et al., 2013, Eqs. (3) and (4)."""

    made = {"query.goods": ("visited_good_ids",), "document.good": ("good_id",)}

    def build(self):
        def layers(name):
            first, second = self.linear(f"{name}.0"), self.linear(f"{name}.1")
            return torch.nn.Sequential(first, torch.nn.Tanh(), second, torch.nn.Tanh())

        self.query, self.document, self.out = layers("query_vector"), layers("document_vector"), self.linear("click")

    def forward(self, batch):
        good, cate = self.tables["good"], self.tables["cate"]
        goods, cates = good(batch["query.goods"], batch.mask), cate(batch["visited_cate_ids"], batch.mask)
        query = self.query(torch.cat([goods.sum(1), cates.sum(1)], 1))
        document = self.document(torch.cat([good(batch["document.good"]), cate(batch["cate_id"])], 1))
        cosine = (unit_length(query) * unit_length(document)).sum(1, keepdim=True)
        return {"click": self.out(10 * cosine)[:, 0]}
