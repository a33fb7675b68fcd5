"""What every PyTorch peer's command does: a round starts from the initial weights and runs all batches once.

It prints one JSON line a round: `{"mode", "threads", "step_seconds": [..], "cpu_seconds": [..], "losses": [..], "peak_kib"}`. `losses` are
those before each step's update; `cpu_seconds` is process time over all threads. With `--serve`, one round for each line on standard input.
"""

import argparse
import json
import resource
import sys
import time

import torch
from safetensors.torch import load_file

import batches


def main(text, build):
    """`build(mode, data)` gives a side with `batches`, `reset(tensors)` and `step(batch)`, which returns the loss."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--init", required=True)
    parser.add_argument("--mode", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10**9, help="only the first so many batches")
    parser.add_argument("--serve", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # Denormal numbers would slow some sides and not others.
    torch.set_flush_denormal(True)
    tensors = load_file(arguments.init)
    side = build(arguments.mode, batches.read(arguments.data, arguments.batch)[: arguments.steps])
    # Compiles and warms up.
    side.reset(tensors)
    for b in side.batches[:4]:
        side.step(b)
    for _ in sys.stdin if arguments.serve else range(arguments.rounds):
        side.reset(tensors)
        seconds, cpu, losses = [], [], []
        for b in side.batches:
            start, used = time.perf_counter(), time.process_time()
            loss = side.step(b)
            losses.append(float(loss.detach()))
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - used)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        out = {"mode": arguments.mode, "threads": arguments.threads, "step_seconds": seconds, "cpu_seconds": cpu, "losses": losses}
        print(json.dumps(out | {"peak_kib": peak}), flush=True)
