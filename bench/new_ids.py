"""How should an id be treated that training meets for the first time? Rules side by side, with PyTorch beside them.

    python bench/new_ids.py make  --data DIR [--real ../shared/data]   # two synthetic logs, and the real ones with ids as row numbers
    python bench/new_ids.py din   --data DIR --din target/release/din --rule today [--sets ..] [--seeds 10]
    python bench/new_ids.py torch --data DIR --rule own [--sets ..] [--seeds 10]
    python bench/new_ids.py table --data DIR                           # every result as a Markdown table

Every run trains at most 3 epochs, chooses the epoch by AUC on the validation split, and is measured once on the test split: AUC and
GAUC of all rows, and AUC of the rows whose item, or whose user, no row of training has ("new item", "new user").
Results are appended to DIR/results.jsonl, one line per run; a run that is there already is not done again.

| set | rows of train / valid / test | what is special |
| --- | --- | --- |
| `kuairand` | 74 k / 17 k / 131 k | label `long_view` |
| `movietweetings` | 59 k / 7 k / 7 k | a quarter of the test rows have new users |
| `reviews` | 252 k / 44 k / 44 k | synthetic, after 5-core review sets: next item against a drawn one, long tail, short histories, sigmoid in the unit |
| `arrivals` | 120 k / 20 k / 40 k | synthetic: items and users keep arriving, so that many ids of the test split are new |
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "peers"))

SPLITS = ("train", "valid", "test")
SETS = {
    "kuairand": dict(label="long_view", item="video_id", category="tag", items="hist_video_ids", categories="hist_tags", context=("tab", "hour"), batch=512, unit="prelu"),
    "movietweetings": dict(label="liked", item="movie_id", category="genre", items="hist_movie_ids", categories="hist_genres", context=(), batch=512, unit="prelu"),
    "reviews": dict(label="liked", item="item_id", category="cate_id", items="hist_items", categories="hist_cates", context=(), batch=1024, unit="sigmoid"),
    "arrivals": dict(label="click", item="item_id", category="cate_id", items="hist_items", categories="hist_cates", context=(), batch=512, unit="prelu"),
}
EPOCHS = 3


def reviews(rng):
    """Users with 1 to 4 categories of interest write at least 5 reviews; each after the first is a positive row, beside it a drawn item."""
    users, items, categories = 22_000, 12_000, 200
    weight = 1 / np.arange(1, categories + 1) ** 0.75
    category_of = rng.choice(categories, items, p=weight / weight.sum())
    popularity = 1 / rng.permutation(np.arange(1, items + 1)) ** 0.8
    members = [np.flatnonzero(category_of == c) for c in range(categories)]
    chances = [popularity[m] / popularity[m].sum() for m in members]
    everywhere = popularity / popularity.sum()
    rows = {s: [] for s in SPLITS}
    known = [c for c in range(categories) if len(members[c])]
    for user in range(users):
        interests = rng.choice(known, rng.integers(1, 5))
        share = rng.dirichlet(np.ones(len(interests)))
        length = 5 + min(int(rng.exponential(4.2)), 95)
        chosen = rng.choice(interests, length, p=share)
        sequence = [rng.choice(members[c], p=chances[c]) if rng.random() < 0.75 else rng.choice(items, p=everywhere) for c in chosen]
        for at in range(1, length):
            split = "test" if at == length - 1 else "valid" if at == length - 2 else "train"
            drawn = rng.choice(items, p=everywhere) if rng.random() < 0.5 else rng.integers(items)
            history = sequence[max(0, at - 50) : at]
            for item, label in ((sequence[at], 1), (drawn, 0)):
                rows[split].append((user, item, category_of[item], history, [category_of[h] for h in history], label))
    return rows


def arrivals(rng):
    """Items and users come one after the other; an item is shown mostly while it is young, a user reads for a while and goes."""
    total, users, items, categories = 180_000, 24_000, 12_000, 80
    category_of = rng.integers(categories, size=items)
    quality = rng.normal(0, 0.8, items)
    weight = rng.pareto(1.5, items) + 0.05
    activity = rng.pareto(1.2, users) + 0.1
    interests = rng.normal(0, 1.2, (users, categories)) * (rng.random((users, categories)) < 0.15)
    leaning = rng.normal(0, 0.5, users)
    histories = [[] for _ in range(users)]
    rows = {s: [] for s in SPLITS}
    for at in range(total):
        split = "train" if at < total * 2 // 3 else "valid" if at < total * 7 // 9 else "test"
        there = 3000 + (items - 3000) * at // total
        old = max(0, there - 6000)
        if at % 200 == 0:
            young = weight[old:there] / weight[old:there].sum()
            offered = old + rng.choice(there - old, 200, p=young)
            present = 6000 + (users - 6000) * at // total
            since = max(0, present - 14000)
            visiting = activity[since:present] / activity[since:present].sum()
            visitors = since + rng.choice(present - since, 200, p=visiting)
        item, user = int(offered[at % 200]), int(visitors[at % 200])
        logit = -1.2 + quality[item] + leaning[user] + interests[user, category_of[item]]
        click = int(rng.random() < 1 / (1 + np.exp(-logit)))
        history = histories[user][-30:]
        rows[split].append((user, item, category_of[item], history, [category_of[h] for h in history], click))
        if click:
            histories[user].append(item)
    return rows


def write(folder, table, split):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / f"{split}.parquet", compression="zstd")


def make(data, real):
    for name, generate in (("reviews", reviews), ("arrivals", arrivals)):
        s = SETS[name]
        for split, rows in generate(np.random.default_rng(7)).items():
            user, item, cate, items, cates, label = zip(*rows)
            columns = {"user_id": pa.array(user, pa.int64()), s["item"]: pa.array(item, pa.int64()), s["category"]: pa.array(cate, pa.int64())}
            columns |= {s["items"]: pa.array(items, pa.list_(pa.int64())), s["categories"]: pa.array(cates, pa.list_(pa.int64())), s["label"]: pa.array(label, pa.int64())}
            write(data / name, pa.table(columns), split)
    if real:
        for name in ("kuairand", "movietweetings"):
            for split in SPLITS:
                write(data / name, pq.read_table(real / name / f"{split}.parquet"), split)
    for name, s in SETS.items():
        if (data / name).exists():
            number(data / name, s)


def number(folder, s):
    """Ids as row numbers, those of training first: what a fixed table needs. Adds the columns `sample`, `new_item` and `new_user`."""
    tables = {x: pq.read_table(folder / f"{x}.parquet").combine_chunks() for x in SPLITS}
    sizes = {}
    for column, lists in ((s["item"], s["items"]), (s["category"], s["categories"]), ("user_id", None), *((c, None) for c in s["context"])):
        numbers = {}
        for split, table in tables.items():
            flat = table[column].to_pylist()
            entries = table[lists].chunk(0).values.to_pylist() if lists else []
            for value in entries + flat:
                numbers.setdefault(value, len(numbers))
            if split == "train":
                known = len(numbers)
            out = np.array([numbers[v] for v in flat], dtype=np.int64)
            table = table.set_column(table.column_names.index(column), column, pa.array(out))
            if lists:
                offsets = table[lists].chunk(0).offsets
                inner = pa.array([numbers[v] for v in entries], pa.int64())
                table = table.set_column(table.column_names.index(lists), lists, pa.ListArray.from_arrays(offsets, inner))
            if column in (s["item"], "user_id"):
                table = table.append_column("new_item" if column == s["item"] else "new_user", pa.array((out >= known).astype(np.int64)))
            tables[split] = table
        sizes[column] = len(numbers)
    for split, table in tables.items():
        write(folder, table.append_column("sample", pa.array(np.arange(table.num_rows))), split)
    (folder / "sizes.json").write_text(json.dumps(sizes))


def spec(name, model, kind, sizes):
    s = SETS[name]

    def of(column):
        return f"category({sizes[column]})" if kind == "fixed" else "category"

    unit = "relu" if s["unit"] == "relu" else s["unit"]
    context = "".join(f" {c}: {of(c)}" for c in s["context"])
    return f"""edition 2026

use std.activation.prelu
use std.attention.interest
use std.layer.{{linear, mlp}}
use std.loss.cross_entropy
use std.metric.auc
use std.optimizer.adam

fn logistic(x) {{ sigmoid(x) }}

model m {{
    features user {{ user_id: {of("user_id")} }}
    features ad   {{ item: {of(s["item"])} from {s["item"]}   cate: {of(s["category"])} from {s["category"]} }}
    {"features scene {" + context + " }" if context else ""}
    sequence seen (keep last 100) {{
        item: {of(s["item"])} from {s["items"]}
        cate: {of(s["category"])} from {s["categories"]}
    }}
    label {s["label"]}: binary
    key   sample: int64

    embedding item [16] for ad.item, seen.item
    embedding cate [16] for ad.cate, seen.cate
    embedding person [8] for user.user_id
    {"embedding [4] for each of scene" if context else ""}

    let candidate = embed(ad)
    let history   = embed(seen)
    let taste     = {"interest(history, candidate, activation = " + ("logistic" if unit == "sigmoid" else unit) + ")" if model == "din" else "sum(history over seen)"}
    let hidden    = mlp(concat(embed(user), {"embed(scene), " if context else ""}taste, candidate), [200, 80], prelu)

    predict {s["label"]} ~ bernoulli(logit = linear(hidden, 1))

    train {{
        loss      cross_entropy({s["label"]})
        optimizer adam(lr = 1e-3) with dense updates
        batch     {s["batch"]}
        epochs    {EPOCHS}
    }}
    report auc({s["label"]})
}}
"""


def measures(folder, s, score):
    """AUC, GAUC, and AUC of rows with new items and new users; none where one class is missing."""
    table = pq.read_table(folder / "test.parquet", columns=[s["label"], "user_id", "new_item", "new_user"])
    label, user, new_item, new_user = (table[c].to_numpy() for c in table.column_names)

    def auc(rows):
        return roc_auc_score(label[rows], score[rows]) if rows.sum() > 50 and 0 < label[rows].sum() < rows.sum() else None

    # GAUC, Eq. (1) weighted by rows: ranks within a user, ties sharing their mean.
    cell, counts = np.unique(np.stack([user, score]), axis=1, return_inverse=True, return_counts=True)[1:]
    sizes = np.bincount(np.unique(user, return_inverse=True)[1])
    who = np.unique(user, return_inverse=True)[1]
    rank = (np.cumsum(counts) - (counts - 1) / 2)[cell] - (np.cumsum(sizes) - sizes)[who]
    positive = np.bincount(who, label)
    pairs = positive * (sizes - positive)
    grouped = (np.bincount(who, rank * label) - positive * (positive + 1) / 2)[pairs > 0] / pairs[pairs > 0]
    gauc = np.average(grouped, weights=sizes[pairs > 0])
    every = np.ones(len(label), bool)
    return {"test": auc(every), "gauc": gauc, "new_item": auc(new_item == 1), "new_user": auc(new_user == 1)}


class Results:
    def __init__(self, data):
        self.path = data / "results.jsonl"
        self.lines = [json.loads(x) for x in self.path.read_text().splitlines()] if self.path.exists() else []
        self.done = {self.key(x) for x in self.lines}

    @staticmethod
    def key(line):
        return tuple(line[k] for k in ("side", "rule", "set", "model", "kind", "seed"))

    def add(self, line):
        with self.path.open("a") as out:
            out.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


def run_din(arguments, results, name, model, kind, seed):
    s, folder = SETS[name], arguments.data / name
    work = arguments.data / f"work-{arguments.rule.replace(':', '-')}-{kind}"
    work.mkdir(exist_ok=True)
    (work / "m.din").write_text(spec(name, model, kind, json.loads((folder / "sizes.json").read_text())))
    subprocess.run(["rm", "-rf", work / "run", work / "out.parquet"], check=True)
    environment = {"DIN_RULE": arguments.rule}
    common = ["--threads", str(arguments.threads), "-q"]
    start = time.perf_counter()
    subprocess.run(
        [arguments.din, "train", work / "m.din", "--train", folder / "train.parquet", "--valid", folder / "valid.parquet", "--out", work / "run", "--seed", str(seed), *common],
        check=True, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )
    subprocess.run([arguments.din, "predict", work / "run", "--data", folder / "test.parquet", "--out", work / "out.parquet", *common], check=True, env=environment, stdout=subprocess.DEVNULL)
    out = pq.read_table(work / "out.parquet")
    score = np.empty(out.num_rows)
    column = next(c for c in out.column_names if c not in ("sample", s["label"]))
    score[out["sample"].to_numpy()] = out[column].to_numpy()
    epochs = [json.loads(x) for x in (work / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [e["train_loss"] for e in epochs]
    valid = max(v for e in epochs for k, v in e["valid"].items() if k.startswith("auc"))
    results.add({"side": "din", "rule": arguments.rule, "set": name, "model": model, "kind": kind, "seed": seed, "losses": losses, "valid": valid, **measures(folder, s, score), "seconds": time.perf_counter() - start})


def begin_as_din(net, data, s, checkpoint):
    """Weights of a checkpoint with fixed tables that training has not moved (lr = 1e-30), so that both sides start alike."""
    import torch
    from safetensors.torch import load_file

    dense = load_file(checkpoint / "dense.safetensors")
    names = {"mlp.0": "hidden.0", "mlp.2": "hidden.1", "mlp.4": s["label"]}
    if net.unit is not None:
        names |= {"unit.0": "taste.unit.0", "unit.2": "taste.unit.1", "unit.4": "taste.linear"}
    with torch.no_grad():
        for ours, theirs in names.items():
            layer = net.get_submodule(ours)
            layer.weight.copy_(dense[f"{theirs}.weight"].T)
            layer.bias.copy_(dense[f"{theirs}.bias"])
        for column, name in ((s["item"], "item"), (s["category"], "cate"), ("user_id", "person")):
            weight = load_file(checkpoint / f"table.{name}.safetensors")["weight"]
            net.tables[column].weight[1:] = weight[torch.from_numpy(data.vocabulary[column].astype(np.int64))]


def run_torch(arguments, results, name, model, kind, seed):
    import torch
    import torch.nn.functional as F
    import train_real as T

    torch.set_num_threads(arguments.threads)
    s, folder = SETS[name], arguments.data / name
    T.SETS[name] = (name, s["label"], (s["item"], s["category"]), (s["items"], s["categories"]), s["context"])
    start = time.perf_counter()
    data = T.Data(arguments.data, name)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    choices = {"adam": "whole", "layers": "glorot"}
    net = T.Net(data, model == "din", choices, unit=torch.nn.Sigmoid if s["unit"] == "sigmoid" else None)
    if arguments.start:
        begin_as_din(net, data, s, next((arguments.start / f"s{seed}" / "checkpoints").iterdir()))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    n, batch = len(data.splits["train"]["label"]), s["batch"]
    met = {c: np.zeros(k, bool) for c, k in data.sizes.items()}
    # `copy:k`: the gradients of ids in their first k batches are added to that of the shared row.
    copied = int(arguments.rule.partition(":")[2]) if arguments.rule.startswith("copy:") else 0
    batches = {c: np.zeros(k, np.int64) for c, k in data.sizes.items()}
    losses, best = [], None
    for epoch in range(EPOCHS):
        window = arguments.window or n
        order, total = np.concatenate([at + rng.permutation(min(window, n - at)) for at in range(0, n, window)]), 0.0
        for at in range(0, n, batch):
            b = data.batch("train", order[at : at + batch])
            if arguments.rule == "today" and epoch == 0:
                names = {c: [k for k in (c, f"hist.{c}") if k in b] for c in data.one}
                for c, keys in names.items():
                    ids = [b[k] for k in keys]
                    for k in keys:
                        b[k] = np.where(met[c][b[k]], b[k], 0)
                    met[c][np.concatenate(ids)] = True
            read = {c: np.unique(np.concatenate([b[k] for k in (c, f"hist.{c}") if k in b])) for c in data.one} if copied else {}
            b = T.tensors(b)
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(net(b), b["label"])
            loss.backward()
            for c, ids in read.items():
                gradient = net.tables[c].weight.grad
                gradient[0] += gradient[torch.from_numpy(ids[batches[c][ids] < copied])].sum(0)
                batches[c][ids] += 1
            optimizer.step()
            total += float(loss.detach()) * len(b["label"])
        losses.append(total / n)
        valid = roc_auc_score(data.splits["valid"]["label"], T.logits(net, data, "valid"))
        if best is None or valid > best[0]:
            best = (valid, T.logits(net, data, "test"))
    results.add({"side": "torch", "rule": arguments.rule, "set": name, "model": model, "kind": kind, "seed": seed, "losses": losses, "valid": best[0], **measures(folder, s, best[1]), "seconds": time.perf_counter() - start})


def table(data):
    """Means over seeds; "stuck" counts runs whose last training loss lies more than .012 above the median of all sides of the set and model."""
    lines = Results(data).lines
    cells = {}
    for x in lines:
        cells.setdefault((x["set"], x["model"], x["side"], x["kind"], x["rule"]), []).append(x)
    print("| set | model | side, tables, rule | seeds | stuck | train loss | valid AUC | test AUC | GAUC | new item | new user |\n|" + " --- |" * 11)
    for key in sorted(cells):
        name, model, side, kind, rule = key
        runs = cells[key]
        peers = [x["losses"][-1] for x in lines if x["set"] == name and x["model"] == model]
        stuck = sum(x["losses"][-1] > statistics.median(peers) + 0.012 for x in runs)

        def mean(k):
            values = [x[k] for x in runs if x[k] is not None]
            if not values:
                return "-"
            error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0
            return f"{statistics.mean(values):.4f} ± {error:.4f}"

        loss = statistics.mean(x["losses"][-1] for x in runs)
        print(f"| {name} | {model} | {side} {kind} {rule} | {len(runs)} | {stuck} | {loss:.4f} | {mean('valid')} | {mean('test')} | {mean('gauc')} | {mean('new_item')} | {mean('new_user')} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "din", "torch", "table"])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--real", type=pathlib.Path)
    parser.add_argument("--din", type=pathlib.Path, default=pathlib.Path("target/release/din"))
    parser.add_argument("--rule", default="own")
    parser.add_argument("--kind", choices=["growing", "fixed"], default="growing")
    parser.add_argument("--window", type=int, default=0, help="PyTorch: rows that are permuted together; all of them by default")
    parser.add_argument("--start", type=pathlib.Path, help="PyTorch: start from the weights of Din's runs DIR/s<seed>, see `begin_as_din`")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--models", default="din,base")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "make":
        return make(arguments.data, arguments.real)
    if arguments.what == "table":
        return table(arguments.data)
    results = Results(arguments.data)
    run = run_din if arguments.what == "din" else run_torch
    for seed in range(1, arguments.seeds + 1):
        for name in arguments.sets.split(","):
            for model in arguments.models.split(","):
                if (arguments.what, arguments.rule, name, model, arguments.kind, seed) not in results.done:
                    run(arguments, results, name, model, arguments.kind, seed)


if __name__ == "__main__":
    main()
