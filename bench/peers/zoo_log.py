"""The log of `din synth` and initial weights, for the peers of `zoo_compare.py`: batches of row numbers, before timing begins."""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "reference" / "zoo"))
import interaction  # noqa: E402
import multitask  # noqa: E402
import sequence  # noqa: E402
from data import Start  # noqa: E402

# By model: its module in tests/reference/zoo.
REFERENCES = {
    "interaction/autoint": interaction.AutoInt,
    "interaction/dcnv2": interaction.DCNv2,
    "interaction/fibinet": interaction.FiBiNET,
    "interaction/xdeepfm": interaction.XDeepFM,
    "multitask/mmoe": multitask.Mmoe,
    "sequence/bst": sequence.Bst,
    "sequence/dien": sequence.Dien,
    "sequence/dsin": sequence.Dsin,
}
ITEM_LISTS = {f"visited_{name}_ids": name for name in sequence.ITEM}
ITEMS = {f"{name}_id": name for name in sequence.ITEM}


def columns(model):
    """The table of each column that a model reads: of columns with one id per sample, and of lists."""
    if model.startswith("interaction/"):
        tables = {column: table for table, column in interaction.FIELDS.items()}
        return tables, {"visited_cate_ids": tables.pop("visited_cate_ids")}
    if model == "multitask/mmoe":
        scalars = {"age_level": "user.age_level", "pid": "scene.pid", "time": "scene.time"}
    elif model == "sequence/dien":
        scalars = {"user_id": "person"}
    else:
        scalars = {column: table for table, column in (sequence.USER | sequence.SCENE).items()}
    return scalars | ITEMS, ITEM_LISTS


def rows_of(start, table, ids):
    """Row numbers of a table."""
    if not start.has(f"ids.{table}"):
        return ids
    own = start.ids(f"ids.{table}")
    assert (own[1:] > own[:-1]).all(), f"{table}: its ids are not in their order"
    found = np.searchsorted(own, ids)
    assert (own[found] == ids).all(), f"{table} lacks an id of the log"
    return found


def read(path, model, start, batch, steps):
    """A list of dicts of arrays: columns by sample as row numbers of their tables, lists flat with `offsets`, labels as f32."""
    scalars, lists = columns(model)
    kind = REFERENCES[model]
    table = pq.read_table(path).combine_chunks()
    flat = {}
    for name in [*lists, "visited_sessions"]:
        column = table[name].chunk(0)
        offsets, flat[name] = column.offsets.to_numpy().astype(np.int64), column.values.to_numpy()
    found = {name: rows_of(start, own, table[name].to_numpy()) for name, own in scalars.items()}
    flat |= {name: rows_of(start, own, flat[name]) for name, own in lists.items()}
    labels = {name: table[name].to_numpy().astype(np.float32) for name in kind.labels}
    batches = []
    for k in range(min(steps, table.num_rows // batch)):
        rows = slice(k * batch, (k + 1) * batch)
        begins, ends = offsets[:-1][rows], offsets[1:][rows]
        if kind.keep:
            begins = np.maximum(begins, ends - kind.keep)
        lengths = ends - begins
        own = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(own[-1]) + np.repeat(begins - own[:-1], lengths)
        one = {name: values[rows].copy() for name, values in (found | labels).items()}
        batches.append(one | {name: values[places] for name, values in flat.items()} | {"offsets": own})
    return batches


def padded(values, offsets, longest, free, backward=False):
    """`[samples, longest]`: the entries of each sample, the last first with `backward`, then `free`."""
    lengths = np.diff(offsets)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    if backward:
        place = np.repeat(lengths, lengths) - 1 - place
    out = np.full((len(lengths), longest), free, dtype=np.int64)
    out[np.repeat(np.arange(len(lengths)), lengths), place] = values
    return out


def mask(offsets, longest):
    return np.arange(longest) < np.diff(offsets)[:, None]


def begin(path, dtype):
    return Start(path, dtype)
