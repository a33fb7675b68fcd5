"""The log that Din made, as batches of padded tensors, and the weights that Din starts from."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.numpy import load_file

STEPS, SAMPLES = 50, 64
LISTS = ("visited_good_ids", "visited_shop_ids", "visited_cate_ids", "visited_sessions")


@dataclasses.dataclass
class Batch:
    """Columns of the log by name, `[samples]`; lists of `columns` too, `[samples, entries]`, padded
    with 0 at their ends; `mask` is true at their entries."""

    columns: dict
    mask: torch.Tensor

    def __getitem__(self, name):
        return self.columns[name]

    @property
    def lengths(self):
        return self.mask.sum(1)

    @property
    def after(self):
        """How many entries follow each, `[samples, entries]`; of padding a number below 0."""
        return self.lengths[:, None] - 1 - torch.arange(self.mask.shape[1])


def padded(lists, longest, kind=np.int64):
    out = np.zeros((len(lists), longest), dtype=kind)
    for row, entries in zip(out, lists):
        row[: len(entries)] = entries
    return torch.from_numpy(out)


class Log:
    """The rows of a Parquet file in their order."""

    def __init__(self, path, keep=None):
        """Lists have their last `keep` entries."""
        table = pq.read_table(path)
        scalars = [field.name for field in table.schema if not pa.types.is_list(field.type)]
        self.columns = {name: table[name].to_numpy() for name in scalars}
        last = slice(None) if keep is None else slice(-keep, None)
        self.lists = {name: [np.array(entries[last], dtype=np.int64) for entries in table[name].to_pylist()] for name in LISTS}

    def add_ids(self, name, ids, sources):
        """A column whose ids Din has made of those of `sources`, one for each sample or entry: a
        cross or a hash. Checks that they are a function of the sources."""
        shaped = self.lists[next(s for s in sources if s in LISTS)] if set(sources) & set(LISTS) else None
        flat = []
        for source in sources:
            if shaped is None or source in LISTS:
                values = self.columns[source] if shaped is None else np.concatenate(self.lists[source])
            else:
                values = np.repeat(self.columns[source], [len(entries) for entries in shaped])
            flat.append(values)
        assert len(ids) == len(flat[0]), f"{name}: {len(ids)} ids for {len(flat[0])} places"
        known = {}
        for key, own in zip(zip(*(values.tolist() for values in flat)), ids.tolist()):
            assert known.setdefault(key, own) == own, f"{name}: {key} has two ids"
        if len(sources) > 1:
            assert len(set(known.values())) == len(known), f"{name}: two combinations have one id"
        if shaped is None:
            self.columns[name] = ids
        else:
            ends = np.cumsum([len(entries) for entries in shaped])[:-1]
            self.lists[name] = np.split(ids, ends)

    def batch(self, step):
        rows = slice(step * SAMPLES, (step + 1) * SAMPLES)
        columns = {name: torch.from_numpy(values[rows].copy()) for name, values in self.columns.items()}
        lengths = np.array([len(entries) for entries in self.lists[LISTS[0]][rows]])
        longest = max(1, lengths.max())
        columns |= {name: padded(entries[rows], longest) for name, entries in self.lists.items()}
        return Batch(columns, torch.from_numpy(np.arange(longest) < lengths[:, None]))

    def frequencies(self, ids, scalar, listed):
        """Of each id, the number of samples that contain it, in a column or in a list."""
        counts = dict.fromkeys(ids.tolist(), 0)
        for own, entries in zip(self.columns[scalar].tolist(), self.lists[listed]):
            for each in {own, *entries.tolist()}:
                counts[each] += 1
        return torch.tensor([counts[each] for each in ids.tolist()], dtype=torch.float64)


class Start:
    """What `zoo_start` wrote for a model: initial weights, ids, and what Din made of them."""

    def __init__(self, path, dtype=torch.float64):
        """`dtype` is what models that start here compute in."""
        self.tensors, self.dtype = load_file(path), dtype

    def numbers(self, name):
        return torch.from_numpy(self.tensors[name]).to(self.dtype)

    def ids(self, name):
        return self.tensors[name]

    def has(self, name):
        return name in self.tensors

    def names(self, kind):
        return [name[len(kind) + 1 :] for name in self.tensors if name.startswith(f"{kind}.")]
