"""Writes fixtures/times.csv, the same as times.parquet, and times.json, for tests/tests/times.rs: times around leap days, ends of months, before 1970 and long ago,
and what gaps between them and parts of their dates are by NumPy's datetime64 and Python's datetime.

Run: python tests/reference/times.py (numpy, pyarrow).
"""

import csv
import datetime
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
random = np.random.default_rng(20261129)
EDGES = [
    "1900-02-28T23:59:59", "1900-03-01T00:00:00", "2000-02-28T23:59:59", "2000-02-29T00:00:00", "2000-03-01T00:00:00", "1968-02-29T12:00:00",
    "1969-12-31T23:59:59", "1970-01-01T00:00:00", "2024-02-29T23:59:59", "2024-03-01T00:00:00", "2023-12-31T23:59:59", "2100-02-28T23:59:59",
    "2100-03-01T00:00:00", "2038-01-19T03:14:08", "1583-01-01T00:00:01",
]
EDGES = [int(np.datetime64(edge, "s").astype(np.int64)) for edge in EDGES]


def moment():
    if random.random() < 0.5:
        return EDGES[random.integers(len(EDGES))] + int(random.integers(-2, 3))
    return int(random.integers(-4_000_000_000, 4_000_000_000))


def near(at):
    """Seconds to months before, at times after."""
    return at - int(np.exp(random.uniform(0, 17))) + int(random.integers(0, 3))


def gap(later, earlier):
    return int((np.datetime64(later, "s") - np.datetime64(earlier, "s")) / np.timedelta64(1, "s"))


def parts(at):
    date = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=at)
    return {"hour": date.hour, "weekday": date.weekday(), "day": date.day - 1, "month": date.month - 1}


def log(x, most):
    return float(np.log(1 + np.clip(x, 0, most)))


rows, values = [], {}


def put(path, value):
    values.setdefault(path, []).append(value)


for row in range(300):
    at = moment()
    made = None if random.random() < 0.1 else near(at)
    count = int(random.integers(0, 6))
    clicks = [None if random.random() < 0.1 else near(at) for _ in range(count)]
    starts = [near(at) for _ in range(count)]
    ends = [start + int(random.integers(0, 600)) for start in starts]
    # A list of one missing time would be an empty list in a CSV.
    if clicks == [None]:
        clicks = [near(at)]
    rows.append([at, made, clicks, starts, ends, row % 2])
    passed = None if made is None else gap(at, made)
    put("ad.seconds", -1.0 if passed is None else float(np.float32(passed)))
    put("ad.log_hours", -1.0 if passed is None else log(passed / 3600, 10_000))
    put("ad.no_time", 1.0 if passed is None else 0.0)
    put("ad.age", 4 if passed is None else int(np.digitize(np.float32(passed / 86_400), [0, 1, 30])))
    for name, part in parts(at).items():
        put(f"ad.{name}", part)
    since = [None if click is None else gap(at, click) for click in clicks]
    put("visited.since", [5 if s is None else int(np.digitize(np.float32(s), [0, 60, 3600, 86_400])) for s in since])
    put("visited.log_since", [0.0 if s is None else log(s, 1e7) for s in since])
    put("visited.unknown", [1.0 if s is None else 0.0 for s in since])
    put("visited.dwell", [float(gap(end, start)) for end, start in zip(ends, starts)])
    for name, size in [("hour", 24), ("weekday", 7), ("day", 31), ("month", 12)]:
        put(f"visited.{name}", [size if click is None else parts(click)[name] for click in clicks])

columns = {name: [row[place] for row in rows] for place, name in enumerate(["at", "made", "clicks", "starts", "ends", "label"])}
with open(FIXTURES / "times.csv", "w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        join = lambda times: "|".join("" if time is None else str(time) for time in times)
        writer.writerow([join(cell) if isinstance(cell, list) else cell for cell in row])
types = [pa.list_(pa.int64()) if isinstance(column[0], list) else pa.int64() for column in columns.values()]
table = pa.table([pa.array(column, type) for column, type in zip(columns.values(), types)], names=list(columns))
pq.write_table(table, FIXTURES / "times.parquet", row_group_size=70)
with open(FIXTURES / "times.json", "w") as file:
    json.dump(values, file, separators=(",", ":"))
