"""What every peer's command does: a round starts from the initial weights and runs all batches once.

`--task train` takes training steps; `infer` computes each batch's logits without gradients, from the initial weights, Dice with its running
statistics (mean 0, variance 1); `rank` does so for the requests of `rank.parquet`, whose user, scene and history are looked at once.

It prints one JSON line a round: `{"mode", "threads", "step_seconds": [..], "cpu_seconds": [..], "losses": [..], "peak_kib"}`. `losses`
are those before each step's update, or of the logits; `cpu_seconds` is process time over all threads. With `--serve`, one round for each
line on standard input.
"""

import argparse
import json
import resource
import sys
import time

import numpy as np

import batches


def options(text):
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--init", required=True)
    parser.add_argument("--mode", required=True)
    parser.add_argument("--model", choices=["din", "base"], default="din")
    parser.add_argument("--unit", choices=["sigmoid", "dice"], default="sigmoid", help="activation inside DIN's activation unit")
    parser.add_argument("--task", choices=["train", "infer", "rank"], default="train")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10**9, help="only the first so many batches")
    parser.add_argument("--serve", action="store_true")
    return parser.parse_args()


def read(arguments):
    read = batches.requests if arguments.task == "rank" else batches.read
    return read(arguments.data, arguments.batch)[: arguments.steps]


def cross_entropy(logits, labels):
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    return float((np.logaddexp(0.0, z) - y * z).mean())


def run(arguments, data, reset, step):
    """`reset()` brings the initial weights; `step(batch)` is what is timed: it gives the loss, or logits and labels."""
    # Compiles and warms up.
    reset()
    for b in data[:4]:
        step(b)
    for _ in sys.stdin if arguments.serve else range(arguments.rounds):
        reset()
        seconds, cpu, losses = [], [], []
        for b in data:
            start, used = time.perf_counter(), time.process_time()
            found = step(b)
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - used)
            losses.append(float(found) if arguments.task == "train" else cross_entropy(*found))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        out = {"mode": arguments.mode, "threads": arguments.threads, "step_seconds": seconds, "cpu_seconds": cpu, "losses": losses}
        print(json.dumps(out | {"peak_kib": peak}), flush=True)


def main(text, build):
    """A PyTorch peer: `build(arguments, data)` gives a side with `batches`, `reset(tensors)` and a method for each of its tasks."""
    import torch
    from safetensors.torch import load_file

    arguments = options(text)
    torch.set_num_threads(arguments.threads)
    # Denormal numbers would slow some sides and not others.
    torch.set_flush_denormal(True)
    tensors = load_file(arguments.init)
    side = build(arguments, read(arguments))
    if not hasattr(side, arguments.task):
        raise SystemExit(f"mode `{arguments.mode}` has no task `{arguments.task}`")
    run(arguments, side.batches, lambda: side.reset(tensors), getattr(side, arguments.task))
