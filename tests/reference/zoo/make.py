"""Trains models of the zoo in PyTorch, float64, and writes `../fixtures/zoo.json`, with which
`tests/tests/zoo.rs` compares Din.

    cargo run --locked --workspace --example zoo_start -- target/zoo --interpret
    python tests/reference/zoo/make.py target/zoo [--check] [--table FILE] [MODEL…]

The first command makes the log, the initial weights, and what Din makes of both. The second
compares, and trains each model in float32 too, for how far rounding alone leads. `--check` writes
no fixture; `--table` writes the differences as Markdown.

Of each model the fixture has the losses of 50 steps; `steps`, how many of them are compared: those
before Din, at any instruction set level, or PyTorch itself in float32 is off by a tenth of what the
test allows; and of each gradient of the first step its norm and its product with the vector cos(1),
cos(2), …
"""

import argparse
import json
import pathlib

import torch

import interaction
import multitask
import retrieval
import sequence
from data import STEPS, Log, Start
from optimizers import Optimizer

# Of the relative difference of a loss, and of a gradient.
BOUND = 1e-4

TABLE = """\
| model | gradients | first loss | last loss | interpreter | gradient | losses, f32 | PyTorch, float32 | steps |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""

MODELS = {
    "din": sequence.Din,
    "interaction/afm": interaction.AFM,
    "interaction/autoint": interaction.AutoInt,
    "interaction/dcn": interaction.DCN,
    "interaction/dcnv2": interaction.DCNv2,
    "interaction/dcnv2_mixture": interaction.DCNv2Mixture,
    "interaction/deep_crossing": interaction.DeepCrossing,
    "interaction/deepfm": interaction.DeepFM,
    "interaction/ffm": interaction.FFM,
    "interaction/fibinet": interaction.FiBiNET,
    "interaction/finalmlp": interaction.FinalMLP,
    "interaction/fm": interaction.FactorizationMachine,
    "interaction/fwfm": interaction.FwFM,
    "interaction/lr": interaction.LogisticRegression,
    "interaction/lsplm": interaction.LsPlm,
    "interaction/masknet": interaction.MaskNet,
    "interaction/nfm": interaction.NFM,
    "interaction/pnn": interaction.PNN,
    "interaction/wide_deep": interaction.WideAndDeep,
    "interaction/xdeepfm": interaction.XDeepFM,
    "multitask/esmm": multitask.Esmm,
    "multitask/mmoe": multitask.Mmoe,
    "multitask/pepnet": multitask.PepNet,
    "multitask/ple": multitask.Ple,
    "multitask/shared_bottom": multitask.SharedBottom,
    "multitask/uncertainty": multitask.Uncertainty,
    "retrieval/dssm": retrieval.Dssm,
    "retrieval/two_tower": retrieval.TwoTower,
    "sequence/bst": sequence.Bst,
    "sequence/can": sequence.Can,
    "sequence/dien": sequence.Dien,
    "sequence/dsin": sequence.Dsin,
    "sequence/eta": sequence.Eta,
    "sequence/hstu": sequence.Hstu,
    "sequence/sasrec": sequence.SasRec,
    "sequence/sdim": sequence.Sdim,
    "sequence/sim_hard": sequence.SimHard,
    "sequence/sim_soft": sequence.SimSoft,
    "sequence/transact": sequence.TransAct,
    "sequence/twin": sequence.Twin,
    "sequence/youtube_ranking": sequence.YouTubeRanking,
}


def train(kind, start, log):
    """Losses of all steps, and gradients of the first, by Din's names."""
    model = kind(start)
    optimizer = Optimizer(model, model.penalty(log))
    losses, first = [], None
    for step in range(STEPS):
        for table in model.tables.values():
            table.weight.grad, table.touched = None, []
        for weight, _ in model.named.values():
            weight.grad = None
        loss = model.loss(log.batch(step))
        loss.backward()
        gradients = optimizer.gradients()
        if first is None:
            first = {name: grad.detach().clone() for name, grad in gradients.items()}
        optimizer.update(gradients)
        losses.append(loss.item())
    return losses, first


def apart(losses, other):
    """By step, the relative difference of losses."""
    return [abs(a - b) / abs(b) for a, b in zip(losses, other)]


def worst_gradient(start, gradients):
    """The largest difference of a gradient, relative to its norm, and whose it is."""
    worst = (0.0, "")
    for name, grad in gradients.items():
        found = start.numbers(f"gradient.{name}")
        assert found.shape == grad.shape, f"{name}: {found.shape}, {grad.shape}"
        off, norm = (found - grad).norm().item(), grad.norm().item()
        worst = max(worst, (0.0 if off == 0 else off / norm if norm > 0 else float("inf"), name))
    return worst


def steps_within(differences):
    """Steps before the first difference above a tenth of BOUND."""
    return next((i for i, x in enumerate(differences) if x > BOUND / 10), len(differences))


def summary(grad):
    flat = grad.flatten()
    product = (flat * torch.cos(torch.arange(1, len(flat) + 1, dtype=torch.float64))).sum()
    return [float(f"{flat.norm().item():.9g}"), float(f"{product.item():.9g}")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--table", type=pathlib.Path)
    arguments = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    fixture, rows = {}, []
    for name in arguments.models:
        kind, path = MODELS[name], arguments.folder / f"{name.replace('/', '-')}.safetensors"
        start = Start(path)
        log = Log(arguments.folder / "log" / "train.parquet", kind.keep)
        for feature, sources in kind.made.items():
            log.add_ids(feature, start.ids(f"feature.{feature}"), sources)
        losses, gradients = train(kind, start, log)
        single = apart(train(kind, Start(path, torch.float32), log)[0], losses)
        levels = [apart(start.numbers(f"losses.{level}").tolist(), losses) for level in start.names("losses")]
        compiled = [max(differences) for differences in zip(*levels)]
        interpreted = apart(start.numbers("interpreted").tolist(), losses) if start.has("interpreted") else None
        gradient, where = worst_gradient(start, gradients)
        steps = min(steps_within(compiled), steps_within(single))
        cells = [
            name,
            len(gradients),
            f"{losses[0]:.4f}",
            f"{losses[-1]:.4f}",
            "" if interpreted is None else f"{max(interpreted):.1e}",
            f"{gradient:.1e}",
            f"{max(compiled):.1e}",
            f"{max(single):.1e}",
            steps,
        ]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
        print(*rows[-1:], where, flush=True)
        fixture[name] = {
            "steps": steps,
            "losses": [float(f"{x:.9g}") for x in losses],
            "gradients": {key: summary(grad) for key, grad in sorted(gradients.items())},
        }
    if arguments.table:
        arguments.table.write_text("\n".join([TABLE, *rows]) + "\n")
    if not arguments.check:
        path = pathlib.Path(__file__).parent.parent / "fixtures" / "zoo.json"
        lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in fixture.items()]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
