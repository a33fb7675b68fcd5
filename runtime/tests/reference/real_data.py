"""Writes real_data.json: figures of pyarrow on the real sets, for tests/data/real.rs.

Run: python real_data.py <directory of the data> > real_data.json (pyarrow, numpy).
"""

import json
import pathlib
import sys

import numpy as np
import pyarrow.parquet as parquet

root = pathlib.Path(sys.argv[1])
labels = {"is_click", "long_view", "liked"}
figures = []
for path in sorted(root.glob("*/*.parquet")):
    table = parquet.read_table(path)
    sums, strings, positives, entries = [], [], [], 0
    for name in table.column_names:
        column = table[name]
        listed = "list" in str(column.type)
        if listed:
            column = column.combine_chunks().flatten()
            entries = len(column)
        if name in labels:
            positives.append([name, int(np.sum(column.to_numpy()))])
        elif "string" in str(column.type):
            values = np.array(column.to_pylist(), dtype=object)
            places = np.flatnonzero(values == values[0]) + 1
            strings.append([name, len(set(values)), int(places.sum())])
        else:
            values = np.asarray(column).astype(np.int64).view(np.uint64)
            places = np.arange(1, len(values) + 1, dtype=np.uint64)
            sums.append([name, int(np.sum(values, dtype=np.uint64)), int(np.sum(values * places, dtype=np.uint64))])
    figures.append(
        {
            "file": str(path.relative_to(root)),
            "rows": table.num_rows,
            "entries": entries,
            "sums": sums,
            "strings": strings,
            "positives": positives,
        }
    )
print(json.dumps(figures, indent=1, ensure_ascii=False))
