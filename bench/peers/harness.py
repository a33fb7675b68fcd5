"""What every peer's command does: a round starts from the initial weights and runs all batches once.

`--task train` takes training steps; `infer` computes each batch's logits without gradients, from the initial weights, Dice with its running
statistics (mean 0, variance 1); `rank` does so for the requests of `rank.parquet`, whose user, scene and history are looked at once.

With `--device cuda:0` tensors live there. Each round begins with steps that do not count, for `BUSY` seconds: the clocks of a GPU that had nothing
to do are low. Steps are then sent one after the other as the framework does in training, without waiting for each,
and every one counts as the mean over the round; the losses are read when all is done.

It prints one JSON line a round: `{"mode", "threads", "step_seconds": [..], "cpu_seconds": [..], "losses": [..], "peak_kib"}`. `losses`
are those before each step's update, or of the logits; `cpu_seconds` is process time over all threads. With `--serve`, one round for each
line on standard input.
"""

import argparse
import functools
import json
import os
import resource
import sys
import time

import numpy as np

import batches


# As in `bench_step.rs`.
BUSY = 0.2


def options(text):
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--init", required=True)
    parser.add_argument("--mode", required=True)
    parser.add_argument("--model", choices=["din", "base"], default="din")
    parser.add_argument("--unit", choices=["sigmoid", "dice"], default="sigmoid", help="activation inside DIN's activation unit")
    parser.add_argument("--task", choices=["train", "infer", "rank"], default="train")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10**9, help="only the first so many batches")
    parser.add_argument("--serve", action="store_true")
    return parser.parse_args()


def read(arguments):
    read = batches.requests if arguments.task == "rank" else batches.read
    return read(arguments.data, arguments.batch)[: arguments.steps]


def kept(found):
    return tuple(kept(x) for x in found) if isinstance(found, tuple) else found.clone()


def cross_entropy(logits, labels):
    z, y = (np.asarray(x.cpu() if hasattr(x, "cpu") else x, dtype=np.float64) for x in (logits, labels))
    return float((np.logaddexp(0.0, z) - y * z).mean())


def run(arguments, data, reset, step, wait=None):
    """`reset()` brings the initial weights; `step(batch)` is what is timed: it gives the loss, or logits and labels. `wait()` returns when all
    that was sent to a device is done."""
    # Compiles and warms up.
    reset()
    for b in data[:4]:
        step(b)
    for _ in sys.stdin if arguments.serve else range(arguments.rounds):
        until = time.perf_counter() + BUSY
        while wait and time.perf_counter() < until:
            for b in data[:4]:
                step(b)
            wait()
        reset()
        seconds, cpu, founds = [], [], []
        if wait:
            wait()
        begin, began = time.perf_counter(), time.process_time()
        for b in data:
            start, used = time.perf_counter(), time.process_time()
            found = step(b)
            # The next replay of a CUDA graph writes over its results.
            founds.append(kept(found) if wait else found)
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - used)
        if wait:
            wait()
            seconds = [(time.perf_counter() - begin) / len(data)] * len(data)
            cpu = [(time.process_time() - began) / len(data)] * len(data)
        losses = [float(f) if arguments.task == "train" else cross_entropy(*f) for f in founds]
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
    on_gpu = arguments.device != "cpu"
    if on_gpu:
        torch.cuda.set_device(arguments.device)
    tensors = load_file(arguments.init, device=arguments.device)
    torch.set_default_device(arguments.device)
    side = build(arguments, read(arguments))
    # A default device costs time at every call: steps name theirs.
    torch.set_default_device(None)
    if not hasattr(side, arguments.task):
        raise SystemExit(f"mode `{arguments.mode}` has no task `{arguments.task}`")
    wait = functools.partial(torch.cuda.synchronize, arguments.device) if on_gpu else None
    if os.environ.get("BENCH_REHEARSAL"):
        # On a machine without a GPU, the way that is taken with one.
        wait = wait or (lambda: None)
    run(arguments, side.batches, lambda: side.reset(tensors), getattr(side, arguments.task), wait)
