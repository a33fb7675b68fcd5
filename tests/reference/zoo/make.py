"""Trains models of the zoo in PyTorch, float64, and writes `../fixtures/zoo.json`, with which `tests/tests/zoo.rs` compares Din.

    cargo run --locked -p din-tests --example zoo_start target/zoo
    python tests/reference/zoo/make.py target/zoo [--check] [--table FILE] [MODEL…]

The first command makes the log, the initial weights, and what Din makes of both. `--check` compares with it and writes no fixture; `--table`
writes the differences as Markdown.

Of each model the fixture has the losses of 50 steps, and of each weight's and table's gradient in the first step its norm and its product
with the vector cos(1), cos(2), …
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
    "multitask/mmoe": multitask.Mmoe,
    "multitask/pepnet": multitask.PepNet,
    "multitask/ple": multitask.Ple,
    "multitask/shared_bottom": multitask.SharedBottom,
    "multitask/uncertainty": multitask.Uncertainty,
    "retrieval/dssm": retrieval.Dssm,
    "retrieval/two_tower": retrieval.TwoTower,
    "sequence/bst": sequence.Bst,
    "sequence/can": sequence.Can,
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


def compare(start, losses, gradients):
    """The largest relative difference of a loss, and of a gradient by its norm."""
    own = start.numbers("losses")
    loss = max(abs(a - b) / abs(b) for a, b in zip(own.tolist(), losses))
    worst = (0.0, "")
    for name, grad in gradients.items():
        found = start.numbers(f"gradient.{name}")
        assert found.shape == grad.shape, f"{name}: {found.shape}, {grad.shape}"
        off, norm = (found - grad).norm().item(), grad.norm().item()
        worst = max(worst, (0.0 if off == 0 else off / norm if norm > 0 else float("inf"), name))
    return loss, worst


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
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fixture, rows = {}, []
    for name in arguments.models:
        kind = MODELS[name]
        start = Start(arguments.folder / f"{name.replace('/', '-')}.safetensors")
        log = Log(arguments.folder / "log" / "train.parquet", kind.keep)
        for feature, sources in kind.made.items():
            log.add_ids(feature, start.ids(f"feature.{feature}"), sources)
        losses, gradients = train(kind, start, log)
        loss, (gradient, where) = compare(start, losses, gradients)
        print(f"{name:28} losses {losses[0]:.4f} to {losses[-1]:.4f}, off by {loss:.1e}; gradients by {gradient:.1e} ({where})", flush=True)
        rows.append(f"| {name} | {len(gradients)} | {losses[0]:.4f} | {losses[-1]:.4f} | {loss:.1e} | {gradient:.1e} | `{where}` |")
        fixture[name] = {
            "losses": [float(f"{x:.9g}") for x in losses],
            "gradients": {key: summary(grad) for key, grad in sorted(gradients.items())},
        }
    if arguments.table:
        head = "| model | weights and tables | first loss | last loss | losses differ by | gradients differ by | where |"
        arguments.table.write_text("\n".join([head, "| --- | --- | --- | --- | --- | --- | --- |", *rows]) + "\n")
    if not arguments.check:
        path = pathlib.Path(__file__).parent.parent / "fixtures" / "zoo.json"
        lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in fixture.items()]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
