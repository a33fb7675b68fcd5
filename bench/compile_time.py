"""Time that checking and compiling takes, by the size of a model's graph, on one core.

    python bench/compile_time.py --din target/release/din [--operations 5000,20000,100000] [--rounds 5]

Two kinds of models are generated: `cin`, compressed interactions of fields written out as numbers (many small operations in one
kernel each), and `towers`, layers of many experts (many products). Each is made as large as fits into so many operations of the
training graph before differentiation, which is what the limit of E0702 counts. Every process runs on one core (`taskset`); sides take
turns. Prints the medians of the CPU time of `din check` and of `din info`, which checks and compiles for all levels.
"""

import argparse
import pathlib
import resource
import statistics
import subprocess
import tempfile

HEAD = """edition 2026

use std.activation.relu
use std.layer.linear
use std.loss.cross_entropy
use std.metric.auc
use std.optimizer.adam
"""
GROUPS = """    features user { user_id: category  gender: category  city: category }
    features ad   { item_id: category  cate_id: category  brand: category }
    label click: binary
    embedding [8] for each of user, ad
    let u = embed(user)
    let a = embed(ad)
"""
TAIL = """    predict click ~ bernoulli(logit = linear(x, 1))
    train {
        loss      cross_entropy(click)
        optimizer adam(lr = 1e-3)
        batch     256
        epochs    1
    }
    report auc(click)
}
"""


def cin(maps):
    numbers = ", ".join(str(k) for k in range(maps))
    functions = f"""
fn interact(maps: list, fields: list) {{
    let products = []
    for m in maps {{
        for f in fields {{
            products = products + [m * f]
        }}
    }}
    let out = []
    for o in [{numbers}] {{
        let s = 0
        for p in products {{
            param weight: [1]
            s = s + weight * p
        }}
        out = out + [s]
    }}
    out
}}
"""
    body = """    let one = interact([u.user_id, u.gender, u.city, a.item_id, a.cate_id, a.brand], [u.user_id, u.city, a.item_id, a.brand])
    let two = interact(one, [u.user_id, a.item_id])
    let x   = concat(pooled(two), u, a)
"""
    pooled = """
fn pooled(maps: list) -> [1] {
    let out = 0
    for m in maps {
        out = out + sum(m)
    }
    out
}
"""
    return HEAD + functions + pooled + "\nmodel cin {\n" + GROUPS + body + TAIL


def towers(experts):
    numbers = ", ".join(str(k) for k in range(experts))
    functions = f"""
fn experts(x: [d]) -> [48] {{
    let out = 0
    for k in [{numbers}] {{
        let gate   = linear(x, 1)
        let hidden = relu(linear(x, 16))
        let own    = relu(linear(hidden, 48))
        out = out + sigmoid(gate) * own
    }}
    out
}}
"""
    return HEAD + functions + "\nmodel towers {\n" + GROUPS + "    let x = experts(concat(u, a))\n" + TAIL


KINDS = {"cin": cin, "towers": towers}


def operations(din, path):
    text = subprocess.run([din, "emit", path], capture_output=True, text=True, check=True).stdout
    training = text.split("# infer")[0]
    return sum(line.startswith("%") for line in training.splitlines())


def largest(din, kind, limit, path):
    """The largest model of a kind within `limit` operations: its size grows with the number."""
    low, high = 1, 4
    def fits(n):
        path.write_text(KINDS[kind](n))
        ended = subprocess.run([din, "check", path], capture_output=True, text=True)
        return ended.returncode == 0 and operations(din, path) <= limit
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    path.write_text(KINDS[kind](low))
    return operations(din, path)


def seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["taskset", "-c", "0", *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--din", required=True)
    parser.add_argument("--before", help="another version, measured in turn")
    parser.add_argument("--operations", type=lambda text: [int(n) for n in text.split(",")], default=[5_000, 20_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sides = {"now": arguments.din} | ({"before": arguments.before} if arguments.before else {})
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            for limit in arguments.operations:
                path = pathlib.Path(folder) / f"{kind}.din"
                count = largest(arguments.din, kind, limit, path)
                times = {}
                for _ in range(arguments.rounds):
                    for side, din in sides.items():
                        for verb in ("check", "info"):
                            times.setdefault((side, verb), []).append(seconds([din, verb, str(path)]))
                shown = ", ".join(f"{side} {verb} {statistics.median(t):.2f} s" for (side, verb), t in times.items())
                print(f"{kind}, {count} operations: {shown}", flush=True)


if __name__ == "__main__":
    main()
