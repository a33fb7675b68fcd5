"""Writes pyarrow_log.parquet and pyarrow_log.json: a synthetic log as pyarrow writes it, and figures of it
as numpy computes them, for runtime/tests/data/pyarrow_log.rs.

Run here: python pyarrow_log.py (pyarrow 26, numpy).
"""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

ROWS = 3_000
random = np.random.default_rng(1)
# Histories from none to 40 entries; ids over the whole range of int64; words of more than one byte per letter.
lengths = random.integers(0, 41, ROWS)
offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
entries = int(offsets[-1])
wide = np.iinfo(np.int64)
words = np.array(["", "a", "grün", "日本", "x" * 40, *(f"tag {k}" for k in range(50))], dtype=object)
values = {
    "user_id": random.integers(wide.min, wide.max, ROWS, dtype=np.int64, endpoint=True),
    "video_id": random.integers(0, 500, ROWS, dtype=np.int64),
    "hour": random.integers(0, 24, ROWS, dtype=np.int64),
    "hist_video_ids": random.integers(0, 500, entries, dtype=np.int64),
}
strings = {"tag": words[random.integers(0, len(words), ROWS)], "hist_tags": words[random.integers(0, len(words), entries)]}
labels = {"is_click": random.integers(0, 2, ROWS), "long_view": random.integers(0, 2, ROWS)}


def lists(column):
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(column))


columns = {name: pa.array(column) for name, column in (values | strings).items() if not name.startswith("hist")}
columns |= {name: lists(column) for name, column in (values | strings).items() if name.startswith("hist")}
columns["hour"] = columns["hour"].cast(pa.int8())
columns |= {"is_click": pa.array(labels["is_click"].astype(bool)), "long_view": pa.array(labels["long_view"], pa.int32())}
parquet.write_table(pa.table(columns), "pyarrow_log.parquet", row_group_size=700, data_page_size=4096, compression="zstd")


def sums(column):
    column = column.view(np.uint64)
    places = np.arange(1, len(column) + 1, dtype=np.uint64)
    return [int(np.sum(column, dtype=np.uint64)), int(np.sum(column * places, dtype=np.uint64))]


def like_the_first(column):
    return [len(set(column)), int((np.flatnonzero(column == column[0]) + 1).sum())]


figures = {
    "rows": ROWS,
    "entries": entries,
    "sums": [[name, *sums(column)] for name, column in values.items()],
    "strings": [[name, *like_the_first(column)] for name, column in strings.items()],
    "positives": [[name, int(column.sum())] for name, column in labels.items()],
}
with open("pyarrow_log.json", "w") as file:
    json.dump(figures, file, indent=1)
    file.write("\n")
