"""What feature operations give, by brute force: writes `fixtures/features.parquet`, the same rows as
`features.csv`, and `features.json` with the values of every feature of `specs/features.din`.

    python features.py        (numpy, pyarrow, xxhash)
"""

import json
import math
import struct
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

FIXTURES = Path(__file__).parent / "fixtures"
ROWS = 240
KEEP = 4
OWN = 1 << 63


def hashed(data):
    return xxhash.xxh3_64_intdigest(data, seed=0)


def of_integer(value):
    return hashed(struct.pack("<Q", value & (2**64 - 1)))


def of_keys(keys):
    return hashed(b"".join(struct.pack("<Q", key) for key in keys))


def f32(value):
    return float(np.float32(value))


def rows():
    random = np.random.default_rng(20)
    cities = ["Oslo", "Bergen", "N/A", "Tromsø", "Å", None]

    def row(_):
        length = int(random.integers(0, 7))
        tags = int(random.integers(0, 5))
        some = random.random
        return {
            "user_id": int(random.integers(-(2**62), 2**62)),
            "gender": int(random.integers(0, 3)),
            "income": [None, math.nan, -1.0, 0.1 + round(some() * 1e4, 3)][int(random.integers(0, 4))],
            "age": [None, -1, int(random.integers(0, 10))][int(random.integers(0, 3))],
            "age_or_null": [None, int(random.integers(-5, 5))][int(random.integers(0, 2))],
            "city": cities[int(random.integers(0, 6))],
            "vector": None if some() < 0.2 else [None if some() < 0.1 else round(some(), 4) for _ in range(3)],
            "cate_id": int(random.integers(0, 9)),
            "price": round(float(random.lognormal(2, 1.5)), 2),
            "sparse": None if some() < 0.4 else round(float(random.normal()), 1),
            # In a CSV a list of one null cannot be told from an empty one.
            "tags": None if some() < 0.2 else [int(x) for x in random.integers(0, 9, tags)],
            "words": [cities[int(x)] for x in random.integers(0, 4, int(random.integers(0, 4)))],
            "visited_cate_ids": None
            if some() < 0.2
            else [None if length > 1 and some() < 0.1 else int(x) for x in random.integers(0, 9, length)],
            "visited_lengths": [round(float(x), 3) for x in random.normal(30, 8, length)],
            "click": int(random.integers(0, 2)),
            "at_ms": int(random.integers(-(10**12), 3 * 10**12)),
        }

    table = [row(k) for k in range(ROWS)]
    for values in table:
        values["tag_weights"] = None if values["tags"] is None else [round(float(random.random()), 3) for _ in values["tags"]]
        if values["visited_cate_ids"] is None:
            values["visited_lengths"] = []
    return table


def moments(values):
    values = np.array(values, np.float32).astype(np.float64)
    return float(np.float32(values.mean())), float(np.float32(values.std()))


def quantiles(values, buckets):
    ordered = np.sort(np.array(values, np.float32))
    return [float(ordered[i * len(ordered) // buckets]) for i in range(1, buckets)]


def reached(x, boundaries):
    return sum(np.float32(boundary) <= np.float32(x) for boundary in boundaries)


def features(table):
    """By feature, its values: an id or number per row, or lists of them."""

    def column(name, read):
        return [read(row[name]) for row in table]

    absent = {"income": lambda x: x is None or math.isnan(x) or x == -1, "age": lambda x: x in (None, -1)}
    city = lambda x: hashed(b"\xff") if x in (None, "N/A") else hashed(x.encode())
    town = lambda x: hashed(("Oslo" if x is None else x).encode()) % 50
    prices = [row["price"] for row in table]
    logs = [f32(math.log(1 + x)) for x in prices]
    times = [datetime.fromtimestamp(row["at_ms"] // 1000, timezone.utc) for row in table]
    sparse = [f32(row["sparse"]) for row in table if row["sparse"] is not None]
    lengths = [row["visited_lengths"][-KEEP:] for row in table]
    visited = [[7 if x is None else x for x in (row["visited_cate_ids"] or [])[-KEEP:]] for row in table]
    mean, deviation = moments(prices)
    log_mean, log_deviation = moments(logs)
    sparse_mean, sparse_deviation = moments(sparse)
    length_mean, length_deviation = moments([f32(x) for row in lengths for x in row])
    deciles, quarters = quantiles(prices, 10), quantiles(sparse, 4)
    mark = lambda flag: 1.0 if flag else 0.0
    gender, cate = column("gender", int), column("cate_id", int)
    age = column("age", lambda x: 9 if absent["age"](x) else x)
    cities = column("city", city)
    tags = column("tags", lambda x: x or [])
    either = lambda x, read, missing: missing if x is None else read(x)
    vector = lambda x: [0.25] * 3 if x is None else [0.25 if y is None else f32(y) for y in x]
    values = {
        "user.user_id": column("user_id", lambda x: of_integer(x) % 1000),
        "user.gender": gender,
        "user.income": column("income", lambda x: 0.5 if absent["income"](x) else f32(x)),
        "user.no_income": column("income", lambda x: mark(absent["income"](x))),
        "user.age": age,
        "user.no_age": column("age", lambda x: mark(absent["age"](x))),
        "user.city": cities,
        "user.no_city": column("city", lambda x: mark(x in (None, "N/A"))),
        "user.town": column("city", town),
        "user.vector": column("vector", vector),
        "user.no_vector": column("vector", lambda x: mark(x is None or None in x)),
        "user.own": column("age_or_null", lambda x: OWN if x is None else x & (2**64 - 1)),
        "ad.cate_id": cate,
        "ad.logged": logs,
        "ad.limited": [f32(min(max((x - 10) / 4, -2), 2.5)) for x in prices],
        "ad.scaled": [f32((x - mean) / deviation) for x in prices],
        "ad.scaled_log": [
            f32(min(max((math.log(1 + x) - log_mean) / log_deviation, -1), 1)) for x in prices
        ],
        "ad.bucket": [reached(x, [1, 5, 10.5, 100]) for x in prices],
        "ad.decile": [reached(x, deciles) for x in prices],
        "ad.rare": column("sparse", lambda x: either(x, lambda x: reached(x, quarters), 4)),
        "ad.hour": [time.hour for time in times],
        "ad.weekday": [time.weekday() for time in times],
        "ad.day": [(time + timedelta(hours=8)).day - 1 for time in times],
        "ad.month": [time.month - 1 for time in times],
        "ad.known": column("sparse", lambda x: either(x, lambda x: reached(x, [0]), 2)),
        "ad.some": column(
            "sparse", lambda x: either(x, lambda x: f32((f32(x) - sparse_mean) / sparse_deviation), 0.0)
        ),
        "ad.tags": tags,
        "ad.no_tags": column("tags", lambda x: mark(x is None)),
        "ad.words": column("words", lambda words: [hashed(word.encode()) for word in words]),
        "both.gender_age": [10 * g + a for g, a in zip(gender, age)],
        "both.gender_cate": [of_keys(pair) for pair in zip(gender, cate)],
        "both.three": [of_keys(parts) % 97 for parts in zip(cities, cate, gender)],
        "visited.no_history": column("visited_cate_ids", lambda x: mark(x is None)),
        "visited.cate_id": visited,
        "visited.length": [[f32((x - length_mean) / length_deviation) for x in row] for row in lengths],
        "visited.gender_cate": [[of_keys((x, g)) for x in row] for row, g in zip(visited, gender)],
        "visited.cate_id == ad.cate_id": [[mark(x == c) for x in row] for row, c in zip(visited, cate)],
        "visited.cate_id in ad.tags": [float(sum(x in of for x in row)) for row, of in zip(visited, tags)],
        "ad.weights of tags": column("tag_weights", lambda x: [f32(y) for y in x or []]),
    }
    statistics = {
        "ad.scaled.moments": [mean, deviation],
        "ad.scaled_log.moments": [log_mean, log_deviation],
        "ad.decile.quantiles": deciles,
        "ad.rare.quantiles": quarters,
        "ad.some.moments": [sparse_mean, sparse_deviation],
        "visited.length.moments": [length_mean, length_deviation],
    }
    return values, statistics


def text(value):
    if value is None or isinstance(value, float) and math.isnan(value):
        return "" if value is None else "NaN"
    if isinstance(value, list):
        return "|".join(text(x) for x in value)
    return repr(value) if isinstance(value, float) else str(value)


def main():
    table = rows()
    schema = pa.schema(
        {
            "user_id": pa.int64(),
            "gender": pa.int32(),
            "income": pa.float64(),
            "age": pa.int16(),
            "age_or_null": pa.int64(),
            "city": pa.string(),
            "vector": pa.list_(pa.float64()),
            "cate_id": pa.int64(),
            "price": pa.float64(),
            "sparse": pa.float32(),
            "tags": pa.list_(pa.int32()),
            "words": pa.list_(pa.string()),
            "visited_cate_ids": pa.list_(pa.int64()),
            "visited_lengths": pa.list_(pa.float64()),
            "click": pa.int8(),
            "at_ms": pa.int64(),
            "tag_weights": pa.list_(pa.float32()),
        }
    )
    written = pa.Table.from_pylist(table, schema=schema)
    pq.write_table(written, FIXTURES / "features.parquet", row_group_size=50)
    lines = [",".join(schema.names)] + [",".join(text(row[name]) for name in schema.names) for row in table]
    (FIXTURES / "features.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    values, statistics = features(table)
    result = {"rows": ROWS, "values": values, "statistics": statistics}
    (FIXTURES / "features.json").write_text(json.dumps(result, separators=(",", ":"), default=int) + "\n")


if __name__ == "__main__":
    main()
