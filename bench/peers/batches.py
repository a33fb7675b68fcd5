"""Reads `step.parquet` into CSR batches of row numbers, nothing padded, and `rank.parquet` into requests; every peer starts from these."""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import workload as W  # noqa: E402


def read(path, batch):
    """A list of dicts of arrays: `good`, `shop`, `cate` and scalars by sample, `visited.*` by entry, `offsets`, `label`."""
    table = pq.read_table(path).combine_chunks()
    if table.num_rows % batch:
        raise SystemExit(f"{path}: {table.num_rows} rows are not whole batches of {batch}")
    flat = {}
    for name in W.ITEMS:
        column = table[f"visited_{name}_ids"].chunk(0)
        offsets = column.offsets.to_numpy().astype(np.int64)
        flat[name] = column.values.to_numpy()
    scalars = {name: table[name].to_numpy() for name in W.SCALARS}
    items = {name: table[f"{name}_id"].to_numpy() for name in W.ITEMS}
    label = table["click"].to_numpy().astype(np.float32)
    batches = []
    for begin in range(0, table.num_rows, batch):
        rows = slice(begin, begin + batch)
        at = offsets[begin : begin + batch + 1]
        one = {name: v[rows].copy() for name, v in (scalars | items).items()}
        one |= {f"visited.{name}": v[at[0] : at[-1]].copy() for name, v in flat.items()}
        batches.append(one | {"offsets": at - at[0], "label": label[rows]})
    return batches


def requests(path, batch):
    """A list of dicts of arrays: scalars of one number and `visited.*`, once a request; `good`, `shop`, `cate` and `label` by candidate."""
    file = pq.ParquetFile(path)
    out = []
    for i in range(file.num_row_groups):
        table = file.read_row_group(i).combine_chunks()
        lists = {n: table[f"visited_{n}_ids"].chunk(0).flatten().to_numpy() for n in W.ITEMS}
        shared = {n: table[n].to_numpy().reshape(table.num_rows, 1) for n in W.SCALARS}
        shared |= {f"visited.{n}": v.reshape(table.num_rows, -1) for n, v in lists.items()}
        if table.num_rows != batch or any((v != v[0]).any() for v in shared.values()):
            raise SystemExit(f"{path}: row group {i} is not {batch} candidates of one request; make the file by data.py --rank {batch}")
        one = {n: v[0].copy() for n, v in shared.items()} | {n: table[f"{n}_id"].to_numpy() for n in W.ITEMS}
        out.append(one | {"label": table["click"].to_numpy().astype(np.float32)})
    return out


def pad(one, length):
    """`visited.*` as `[batch, length]` with 0 in free places, and a mask of 0 and 1."""
    offsets = one["offsets"]
    n = len(offsets) - 1
    sample = np.repeat(np.arange(n), np.diff(offsets))
    place = np.arange(offsets[-1]) - offsets[sample]
    out = dict(one)
    for name in W.ITEMS:
        full = np.zeros((n, length), dtype=np.int64)
        full[sample, place] = one[f"visited.{name}"]
        out[f"visited.{name}"] = full
    mask = np.zeros((n, length), dtype=np.float32)
    mask[sample, place] = 1.0
    out["mask"] = mask
    return out
