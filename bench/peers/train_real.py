"""Plain PyTorch on the real sets: AUC and GAUC that our models are compared with.

    python bench/peers/train_real.py --data ../shared/data [--set kuairand-long_view|kuairand-is_click|movietweetings|all]
        [--model base|din|both] [--variant plain|same] [--adam ..] [--unseen ..] [--layers ..] [--seeds 3] [--epochs 3] [--threads 1] [--out bench/results]

The model: item and category embeddings of 16 (candidate and history share the tables), user_id 8, context (tab, hour) 4 each; base adds
the history up, DIN pools it by Eq. (2) with an activation unit 80-40-1; MLP 200-80-1; PReLU (one slope a unit, 0.25) everywhere; Adam 1e-3,
batch 512, cross-entropy. Ragged, f32. The epoch is chosen by AUC on the validation split; the test split is looked at once, there.

Choices that move AUC, by variant:

| | plain (what one writes in PyTorch) | same (what the language means) |
| --- | --- | --- |
| `adam`: table rows | Adam on whole tables: untouched rows keep moving by their moments | lazy: only rows of the batch move |
| `unseen`: ids not in training | row 0, left at its start | row 0: the mean of the rows that at most 3 batches had (of all, where none is so rare) |
| `layers`: their start | U(+-1/sqrt(k)), bias too | Glorot uniform, bias 0 |
| both | tables N(0, 0.01), last batch of an epoch kept, rows shuffled anew each epoch | |
"""

import argparse
import datetime
import json
import pathlib
import platform
import statistics
import time

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

SETS = {
    "kuairand-long_view": ("kuairand", "long_view", ("video_id", "tag"), ("hist_video_ids", "hist_tags"), ("tab", "hour")),
    "kuairand-is_click": ("kuairand", "is_click", ("video_id", "tag"), ("hist_video_ids", "hist_tags"), ("tab", "hour")),
    "movietweetings": ("movietweetings", "liked", ("movie_id", "genre"), ("hist_movie_ids", "hist_genres"), ()),
}
ITEM, CONTEXT, USER = 16, 4, 8
# By variant: see the table above.
VARIANTS = {
    "plain": {"adam": "whole", "unseen": "start", "layers": "torch"},
    "same": {"adam": "lazy", "unseen": "mean", "layers": "glorot"},
}
UNIT, HIDDEN = (80, 40), (200, 80)
BATCH = 512
SPLITS = ("train", "valid", "test")


def gauc(label, score, group):
    """Eq. (1) weighted by impressions; groups of one class left out."""
    order = np.argsort(group, kind="stable")
    edges = np.flatnonzero(np.diff(group[order])) + 1
    top = bottom = 0.0
    for rows in np.split(order, edges):
        y = label[rows]
        if 0 < y.sum() < len(y):
            top += len(y) * roc_auc_score(y, score[rows])
            bottom += len(y)
    return top / bottom


class Data:
    """One set, ids as rows of the tables; row 0 is `unk`."""

    def __init__(self, folder, name):
        place, self.label, self.items, self.lists, self.context = SETS[name]
        tables = {s: pq.read_table(folder / place / f"{s}.parquet").combine_chunks() for s in SPLITS}
        self.one = (*self.items, "user_id", *self.context)
        vocabulary = {}
        for c in self.one:
            values = [tables["train"][c].to_numpy()]
            if c in self.items:
                values.append(tables["train"][self.lists[self.items.index(c)]].chunk(0).values.to_numpy(zero_copy_only=False))
            vocabulary[c] = np.unique(np.concatenate(values).astype(str if values[0].dtype == object else values[0].dtype))
        self.vocabulary = vocabulary
        self.sizes = {c: len(v) + 1 for c, v in vocabulary.items()}

        def rows(column, values):
            v = vocabulary[column]
            values = values.astype(v.dtype if v.dtype.kind == "i" else str)
            at = np.minimum(np.searchsorted(v, values), len(v) - 1)
            return np.where(v[at] == values, at + 1, 0)

        self.splits = {}
        for s, t in tables.items():
            out = {c: rows(c, t[c].to_numpy()) for c in self.one}
            for c, l in zip(self.items, self.lists):
                column = t[l].chunk(0)
                out["offsets"] = column.offsets.to_numpy().astype(np.int64)
                out[f"hist.{c}"] = rows(c, column.values.to_numpy(zero_copy_only=False))
            out["label"] = t[self.label].to_numpy().astype(np.float32)
            out["group"] = t["user_id"].to_numpy()
            self.splits[s] = out

    def batch(self, split, samples):
        d = self.splits[split]
        length = np.diff(d["offsets"])[samples]
        ends = np.cumsum(length)
        entries = np.arange(length.sum()) + np.repeat(d["offsets"][samples] - (ends - length), length)
        out = {c: d[c][samples] for c in self.one}
        out |= {f"hist.{c}": d[f"hist.{c}"][entries] for c in self.items}
        out["segment"] = np.repeat(np.arange(len(samples)), length)
        out["offsets"] = np.concatenate([[0], ends])
        out["label"] = d["label"][samples]
        return out


class SegmentSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, segment, offsets):
        ctx.save_for_backward(segment)
        return torch.segment_reduce(x, "sum", offsets=offsets, initial=0.0)

    @staticmethod
    def backward(ctx, g):
        return g.index_select(0, ctx.saved_tensors[0]), None, None


class Net(torch.nn.Module):
    def __init__(self, data, attention, choices, unit=None):
        super().__init__()
        self.data, self.attention = data, attention
        width = {c: ITEM for c in data.items} | {"user_id": USER} | {c: CONTEXT for c in data.context}
        self.tables = torch.nn.ModuleDict({c: torch.nn.Embedding(n, width[c], sparse=choices["adam"] == "lazy") for c, n in data.sizes.items()})
        for t in self.tables.values():
            torch.nn.init.normal_(t.weight, 0.0, 0.01)
        item = ITEM * len(data.items)
        self.unit = self.stack(4 * item, UNIT, unit) if attention else None
        self.mlp = self.stack(USER + CONTEXT * len(data.context) + 2 * item, HIDDEN)
        if choices["layers"] == "glorot":
            for m in self.modules():
                if isinstance(m, torch.nn.Linear):
                    torch.nn.init.xavier_uniform_(m.weight)
                    torch.nn.init.zeros_(m.bias)

    @staticmethod
    def stack(k, sizes, activation=None):
        """Layers with PReLU, or with `activation`, and one linear output."""
        layers = []
        for n in sizes:
            layers += [torch.nn.Linear(k, n), activation() if activation else torch.nn.PReLU(n)]
            k = n
        return torch.nn.Sequential(*layers, torch.nn.Linear(k, 1))

    def forward(self, b):
        d = self.data
        candidate = torch.cat([self.tables[c](b[c]) for c in d.items], 1)
        history = torch.cat([self.tables[c](b[f"hist.{c}"]) for c in d.items], 1)
        if self.attention:
            q = candidate.index_select(0, b["segment"])
            history = self.unit(torch.cat([history, q, history - q, history * q], 1)) * history
        taste = SegmentSum.apply(history, b["segment"], b["offsets"])
        rest = [self.tables[c](b[c]) for c in ("user_id", *d.context)]
        return self.mlp(torch.cat([*rest, taste, candidate], 1))[:, 0]


def tensors(batch):
    return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in batch.items()}


def logits(net, data, split):
    n = len(data.splits[split]["label"])
    with torch.no_grad():
        found = [net(tensors(data.batch(split, np.arange(a, min(a + 4096, n))))) for a in range(0, n, 4096)]
    return torch.cat(found).double().numpy()


def scores(net, data, split):
    d = data.splits[split]
    score = logits(net, data, split)
    return roc_auc_score(d["label"], score), gauc(d["label"], score, d["group"])


def settle_unseen(net, updates):
    with torch.no_grad():
        for column, table in net.tables.items():
            rare = (updates[column] > 0) & (updates[column] <= 3)
            rows = np.flatnonzero(rare if rare.any() else updates[column] > 0)
            table.weight[0] = table.weight[torch.from_numpy(rows)].mean(0)


def one_run(data, attention, choices, seed, epochs):
    torch.manual_seed(seed)
    g = np.random.default_rng(seed)
    net = Net(data, attention, choices)
    tables = list(net.tables.parameters())
    dense = [p for n, p in net.named_parameters() if not n.startswith("tables.")]
    if choices["adam"] == "lazy":
        optimizers = [torch.optim.SparseAdam(tables, 1e-3), torch.optim.Adam(dense, 1e-3)]
    else:
        optimizers = [torch.optim.Adam(tables + dense, 1e-3)]
    n = len(data.splits["train"]["label"])
    # By row: batches that had it.
    updates = {c: np.zeros(k, dtype=np.int64) for c, k in data.sizes.items()}
    best, history = None, []
    for epoch in range(1, epochs + 1):
        order, total = g.permutation(n), 0.0
        start = time.perf_counter()
        for a in range(0, n, BATCH):
            batch = data.batch("train", order[a : a + BATCH])
            for c in data.one:
                updates[c][np.unique(np.concatenate([batch[k] for k in (c, f"hist.{c}") if k in batch]))] += 1
            b = tensors(batch)
            for o in optimizers:
                o.zero_grad()
            loss = F.binary_cross_entropy_with_logits(net(b), b["label"])
            loss.backward()
            for o in optimizers:
                o.step()
            total += float(loss.detach()) * len(b["label"])
        if choices["unseen"] == "mean":
            settle_unseen(net, updates)
        auc, grouped = scores(net, data, "valid")
        history.append({"epoch": epoch, "loss": total / n, "valid": [auc, grouped], "seconds": time.perf_counter() - start})
        if best is None or auc > best["valid"][0]:
            best = {"epoch": epoch, "valid": [auc, grouped], "test": list(scores(net, data, "test"))}
    return best | {"seed": seed, "epochs": history}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--set", choices=[*SETS, "all"], default="all")
    parser.add_argument("--model", choices=["base", "din", "both"], default="both")
    parser.add_argument("--variant", choices=list(VARIANTS), default="same")
    for name in ("adam", "unseen", "layers"):
        parser.add_argument(f"--{name}", choices=sorted({v[name] for v in VARIANTS.values()}), help="one choice changed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench/results"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.sparse.check_sparse_tensor_invariants.disable()
    day = datetime.date.today().isoformat()
    choices = dict(VARIANTS[arguments.variant])
    title = arguments.variant
    for name in choices:
        if getattr(arguments, name) not in (None, choices[name]):
            choices[name] = getattr(arguments, name)
            title += f"-{name}-{choices[name]}"
    path = arguments.out / f"{day}-pytorch-real-{title}.json"
    record = {"variant": title, "choices": choices, "torch": torch.__version__, "python": platform.python_version(), "runs": {}}
    if path.exists():
        record = json.loads(path.read_text())
    for name in SETS if arguments.set == "all" else [arguments.set]:
        data = Data(arguments.data, name)
        for model in ("base", "din") if arguments.model == "both" else (arguments.model,):
            runs = record["runs"].setdefault(f"{name} {model}", [])
            for seed in range(len(runs) + 1, arguments.seeds + 1):
                runs.append(one_run(data, model == "din", choices, seed, arguments.epochs))
                path.write_text(json.dumps(record, indent=1) + "\n")

            def mean(split, k):
                return statistics.mean(r[split][k] for r in runs)

            print(
                f"{title:6} {name:20} {model:5} valid {mean('valid', 0):.4f} ({mean('valid', 1):.4f})"
                f"  test {mean('test', 0):.4f} ({mean('test', 1):.4f})  epochs {[r['epoch'] for r in runs]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
