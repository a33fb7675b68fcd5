"""One rank of a training step in TorchRec: tables sharded over the ranks, gloo, CPU.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 python bench/peers/torchrec_din.py --data step.parquet
        --init init.safetensors --mode rows-unique-compile [--threads 1] [--batch 4096] [--rounds 1] [--serve]

`bench/ranks_torchrec.py` starts all ranks, and Din's beside them. A rank trains on its consecutive
part of every batch. The model is that of `bench/din_step.din` with PReLU in the MLP, whose result
does not depend on how a batch is divided (that of Dice does), exact AdaGrad for tables, which
TorchRec fuses with the backward pass (it has no Adam for that on a CPU), and Adam for the dense
part.

A mode is words joined by `-`:

- `rows` or `tables`: the item's three tables are sharded by rows, or each lies whole on one rank.
  All others, of 446 rows together, are on all ranks (`data_parallel`), in an
  `EmbeddingBagCollection`: in an `EmbeddingCollection`, fbgemm-gpu-cpu 1.9.0 mixes up the rows of
  tables that are on all ranks.
- `unique`: each rank asks for every id of its part of the batch once. TorchRec's own
  `use_index_dedup` has no kernel for CPUs, so this is done here, by a mask over the table.
- `compile`: the dense part by `torch.compile`. In all modes the first layer of the activation unit
  is split as in `torch_step.py --mode split`.

It prints what `harness.py` says; `losses` are those of the rank's part of each batch."""

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from safetensors.torch import load_file
from torch.distributed._shard.sharded_tensor import ShardedTensor
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, EmbeddingCollection, EmbeddingConfig, KeyedJaggedTensor
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.sharding_plan import construct_module_sharding_plan, data_parallel, row_wise, table_wise
from torchrec.distributed.types import ShardingPlan

import batches
import harness
import workload as W
from torch_step import SegmentSum, Spread

CPU = torch.device("cpu")
# AdaGrad of tables, as `bench/ranks_torchrec.py` writes it into the spec.
TABLE_LR, TABLE_EPS = 0.02, 1e-8


class Dense(torch.nn.Module):
    """All but the tables, from rows that have been looked up to the loss."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.ParameterDict()
        sizes = {"unit": (4 * W.ITEM_WIDTH, *W.UNIT), "hidden": (W.MLP_WIDTH, *W.HIDDEN)}
        layers = [(f"{n}_{i}", s[i], s[i + 1]) for n, s in sizes.items() for i in range(len(s) - 1)]
        for name, k, n in [*layers, ("score", W.UNIT[-1], 1), ("logit", W.HIDDEN[-1], 1)]:
            self.w[f"{name}_weight"] = torch.nn.Parameter(torch.empty(k, n))
            self.w[f"{name}_bias"] = torch.nn.Parameter(torch.empty(n))
            if name.startswith("hidden"):
                self.w[f"{name}_alpha"] = torch.nn.Parameter(torch.empty(n))

    def load(self, tensors):
        with torch.no_grad():
            for name, p in self.w.items():
                head, _, tail = name.rpartition("_")
                p.copy_(tensors[f"init.param.{head.replace('_', '.')}.{tail}"])

    def linear(self, x, name):
        return F.linear(x, self.w[f"{name}_weight"].t(), self.w[f"{name}_bias"])

    def forward(self, history, candidate, scalars, segment, offsets, label):
        e = W.ITEM_WIDTH
        wk, wq, wd, wp = self.w["unit_0_weight"].split(e)
        term = torch.addmm(self.w["unit_0_bias"], candidate, wq - wd)
        spread = Spread.apply(torch.cat([candidate, term], 1), segment, offsets)
        q, term = spread[:, :e], spread[:, e:]
        x = torch.sigmoid(torch.cat([history, history * q], 1) @ torch.cat([wk + wd, wp]) + term)
        for i in range(1, len(W.UNIT)):
            x = torch.sigmoid(self.linear(x, f"unit_{i}"))
        taste = SegmentSum.apply(self.linear(x, "score") * history, segment, offsets)
        x = torch.cat([scalars, taste, candidate], 1)
        for i in range(len(W.HIDDEN)):
            x = self.linear(x, f"hidden_{i}")
            x = torch.where(x > 0, x, self.w[f"hidden_{i}_alpha"] * x)
        return F.binary_cross_entropy_with_logits(self.linear(x, "logit")[:, 0], label)


class Model(torch.nn.Module):
    def __init__(self, unique, compiles):
        super().__init__()
        self.unique = unique
        config = {n: {"name": n, "num_embeddings": r, "embedding_dim": W.WIDTH, "feature_names": self.features(n)} for n, r in ROWS.items()}
        self.items = EmbeddingCollection(tables=[EmbeddingConfig(**config[n]) for n in W.ITEMS], device=torch.device("meta"))
        self.scalars = EmbeddingBagCollection(tables=[EmbeddingBagConfig(**config[n]) for n in W.SCALARS], device=torch.device("meta"))
        self.dense = Dense()
        self.call = torch.compile(self.dense, dynamic=True) if compiles else self.dense

    def features(self, table):
        return [table, f"visited.{table}"] if table in W.ITEMS and not self.unique else [table]

    def forward(self, items, scalars, b):
        found = {k: v.values() for k, v in self.items(items).items()}
        if self.unique:
            candidate = [F.embedding(b[f"place.{n}"], found[n]) for n in W.ITEMS]
            history = [F.embedding(b[f"visited.place.{n}"], found[n]) for n in W.ITEMS]
        else:
            candidate, history = [found[n] for n in W.ITEMS], [found[f"visited.{n}"] for n in W.ITEMS]
        scalars = self.scalars(scalars).values()
        return self.call(torch.cat(history, 1), torch.cat(candidate, 1), scalars, b["segment"], b["offsets"], b["label"])


ROWS = W.ITEMS | W.SCALARS


class Rank:
    def __init__(self, arguments, data):
        words = arguments.mode.split("-")
        if words[0] not in ("rows", "tables") or not set(words[1:]) <= {"unique", "compile"}:
            raise SystemExit(f"unknown mode `{arguments.mode}`: see --help")
        self.rank, size = dist.get_rank(), dist.get_world_size()
        model = Model("unique" in words, "compile" in words)
        fused = {"optimizer": EmbOptimType.EXACT_ADAGRAD, "learning_rate": TABLE_LR, "eps": TABLE_EPS}
        sharders = {"items": EmbeddingCollectionSharder(fused_params=fused), "scalars": EmbeddingBagCollectionSharder()}
        places = {"items": {}, "scalars": {n: data_parallel() for n in W.SCALARS}}
        for k, n in enumerate(W.ITEMS):
            place = row_wise(compute_kernel="fused") if words[0] == "rows" else table_wise(rank=k % size, compute_kernel="fused")
            places["items"][n] = place
        machine = {"local_size": size, "world_size": size, "device_type": "cpu"}
        of = lambda name: construct_module_sharding_plan(getattr(model, name), places[name], sharder=sharders[name], **machine)
        plan = ShardingPlan({name: of(name) for name in places})
        self.model = DistributedModelParallel(model, device=CPU, plan=plan, sharders=list(sharders.values()))
        self.dense = model.dense
        self.unique = model.unique
        self.features = [f for n in W.ITEMS for f in model.features(n)]
        self.masks = {n: torch.zeros(W.ITEMS[n], dtype=torch.bool) for n in W.ITEMS} if self.unique else {}
        self.batches = [self.part(b, self.rank, size) for b in data]
        self.small = [p for n, p in self.model.named_parameters() if n.startswith("scalars.")]

    @staticmethod
    def part(b, rank, size):
        """The rank's samples of a batch."""
        samples = len(b["label"])
        begin, end = rank * samples // size, (rank + 1) * samples // size
        at = b["offsets"][begin : end + 1]
        one = {k: v[begin:end] for k, v in b.items() if k in ROWS or k == "label"}
        one |= {k: v[at[0] : at[-1]] for k, v in b.items() if k.startswith("visited.")}
        one |= {"offsets": at - at[0], "segment": np.repeat(np.arange(end - begin), np.diff(at))}
        return {k: torch.as_tensor(np.ascontiguousarray(v)) for k, v in one.items()}

    def ids(self, b):
        """The ids of all features by sample; unique ones as those of the first sample."""
        ones = torch.ones(len(b["label"]), dtype=torch.int32)
        scalars = KeyedJaggedTensor(list(W.SCALARS), torch.cat([b[n] for n in W.SCALARS]), lengths=ones.repeat(len(W.SCALARS)))
        if not self.unique:
            lengths = torch.diff(b["offsets"]).to(torch.int32)
            lengths = [lengths if f.startswith("visited.") else ones for f in self.features]
            return KeyedJaggedTensor(self.features, torch.cat([b[f] for f in self.features]), lengths=torch.cat(lengths)), scalars, b
        b, values, lengths = dict(b), {}, {}
        for n, mask in self.masks.items():
            mask.zero_()
            mask[b[n]] = True
            mask[b[f"visited.{n}"]] = True
            values[n] = mask.nonzero()[:, 0]
            lengths[n] = torch.zeros_like(ones)
            lengths[n][0] = len(values[n])
            place = torch.cumsum(mask, 0) - 1
            b[f"place.{n}"], b[f"visited.place.{n}"] = place[b[n]], place[b[f"visited.{n}"]]
        values, lengths = (torch.cat([of[f] for f in self.features]) for of in (values, lengths))
        return KeyedJaggedTensor(self.features, values, lengths=lengths), scalars, b

    def reset(self, tensors):
        with torch.no_grad():
            for name, held in self.model.state_dict().items():
                if not name.startswith(("items.", "scalars.")):
                    continue
                whole = tensors[f"init.table.{name.split('.')[2]}"]
                if isinstance(held, ShardedTensor):
                    for shard in held.local_shards():
                        first, _ = shard.metadata.shard_offsets
                        shard.tensor.copy_(whole[first : first + len(shard.tensor)])
                else:
                    held.copy_(whole)
            for state in self.model.fused_optimizer.state_dict()["state"].values():
                for held in state.values():
                    [shard.tensor.zero_() for shard in held.local_shards()]
        self.dense.load(tensors)
        dense = list(self.dense.parameters())
        self.optimizers = [torch.optim.Adam(dense, W.LR, fused=True), torch.optim.Adagrad(self.small, TABLE_LR, eps=TABLE_EPS)]
        dist.barrier()

    def train(self, b):
        for o in self.optimizers:
            o.zero_grad()
        loss = self.model(*self.ids(b))
        loss.backward()
        for o in self.optimizers:
            o.step()
        return loss.detach()


def main():
    arguments = harness.options(__doc__)
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    dist.init_process_group("gloo")
    side = Rank(arguments, batches.read(arguments.data, arguments.batch)[: arguments.steps])
    tensors = load_file(arguments.init)
    harness.run(arguments, side.batches, lambda: side.reset(tensors), side.train)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
