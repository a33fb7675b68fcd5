"""A training step of models of `models/` beside PyTorch's and FuxiCTR's, each model one interleaved run by `run.py`'s functions.

    python bench/zoo_compare.py --log LOG [--bench target/release/examples/bench_zoo_step] [--fuxictr CHECKOUT] [--isa v3|v4] [--threads 2]
        [--batch 1024] [--steps 40] [--rounds 5] [--peers MODE,MODE,..] [--out bench/results] [MODEL…]

`LOG` is the folder that `din synth --out LOG --rows 64000` writes; `--steps` batches of it are taken. Our side (`tests/examples/bench_zoo_step.rs`)
writes the initial weights, from which PyTorch starts (`peers/zoo_step.py` says what its modes are). Dropout is off. `CHECKOUT` is one of
reczoo/FuxiCTR, whose model classes start from weights of their own (`peers/zoo_fuxictr_step.py` says what differs); without it they are left out.

Writes `<date>-zoo-speed-<level>.json` and `.md`; models of the day that are measured again replace their own. Losses of the first ten steps must
agree within `--tolerance` with ours with the same optimizer: sparse updates, which are the model's own, or dense ones (`din-dense`). A model that
fails keeps what the JSON says of it, and the exit code is 1. A peer that fails, or is not ready within `--patience` seconds, is left out and named.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile

import isa
import run
import zoo

EVERYWHERE = ["compile-plain-dense", "eager-joined-dense", "compile-joined-dense", "compile-joined-sparse", "fuxictr"]
ATTENTION = ["compile-sdpa-dense", "eager-ragged-dense", "compile-ragged-dense"]
# The goal, how many times as fast as the fastest peer, and the peers.
MODELS = {
    "sequence/bst": (4, [*EVERYWHERE, *ATTENTION]),
    # What is compiled whole takes the compiler minutes, since loops are unrolled; DSIN's plain form is a loop in Python over single entries.
    "sequence/dien": (4, ["compile-stepped-dense", "eager-packed-dense", "eager-packed-sparse", "compile-joined-dense", "fuxictr"]),
    "sequence/dsin": (4, ["compile-stepped-dense", "eager-ragged-dense", "eager-joined-sparse", "compile-joined-dense", "compile-ragged-dense"]),
    "interaction/autoint": (2, [*EVERYWHERE, "eager-sdpa-dense", "compile-sdpa-dense"]),
    "interaction/xdeepfm": (2, EVERYWHERE),
    "interaction/dcnv2": (2, EVERYWHERE),
    "interaction/fibinet": (2, EVERYWHERE),
    "multitask/mmoe": (2, EVERYWHERE),
}
# Losses that are compared: later, rounding grows from step to step.
COMPARED = 10


class Side(run.Side):
    def answer(self, deadline=None):
        found = super().answer(deadline)
        return found | {"losses": found["losses"][:COMPARED]}


def sides(arguments, model, start):
    """What makes the side of a name."""
    log = arguments.log / "train.parquet"
    sizes = [f"--{name}={getattr(arguments, name)}" for name in ("threads", "batch", "steps")]

    def make(name, setting):
        if name.startswith("din"):
            options = [word for size in sizes for word in size.split("=")]
            command = [arguments.bench, log, model, "--serve", "--isa", setting.isa, *options, *["--dense"] * (name != "din")]
            return Side(name, name == "din", {}, command, setting.environment())
        family = "fuxictr" if name == "fuxictr" else "torch"
        script = run.HERE / "peers" / ("zoo_fuxictr_step.py" if name == "fuxictr" else "zoo_step.py")
        found = run.versions(family)
        if not found:
            raise SystemExit(f"{run.interpreter(family)} lacks one of {', '.join(run.PACKAGES[family])}")
        options = ["--fuxictr", str(arguments.fuxictr)] if name == "fuxictr" else ["--mode", name]
        command = [run.interpreter(family), str(script), "--serve", "--data", str(log), "--init", str(start), "--model", model, *sizes, *options]
        return Side(name, None if name == "fuxictr" else name.endswith("sparse"), found, command, setting.peers_environment(family))

    return make


def measure(arguments, model):
    goal, peers = MODELS[model]
    if arguments.peers is not None:
        peers = [mode for mode in arguments.peers.split(",") if mode]
    if not arguments.fuxictr:
        peers = [mode for mode in peers if mode != "fuxictr"]
    setting = run.Setting(zoo.path(model), arguments.log, arguments.log, arguments.threads, arguments.batch, model, isa=arguments.isa)
    with tempfile.TemporaryDirectory() as folder:
        start = pathlib.Path(folder) / "start.safetensors"
        zoo.output([arguments.bench, arguments.log / "train.parquet", model, "--start", start])
        make = sides(arguments, model, start)
        record = run.measure(setting, make("din", setting), ["din-dense", *peers], arguments.rounds, arguments.patience, make)
    if "fuxictr" in record["sides"]:
        # Another definition, other weights.
        record["sides"]["fuxictr"]["loss_difference"] = None
    for name, side in record["sides"].items():
        if side["loss_difference"] is not None and not side["loss_difference"] <= arguments.tolerance:
            raise SystemExit(f"{name}: a loss differs by {side['loss_difference']:.1e}, more than {arguments.tolerance:.1e}")
        side["first_loss"], side["last_compared_loss"] = side["losses"][0], side.pop("losses")[-1]
    return record | {"goal": goal}


def peers_of(record):
    """Fastest first."""
    found = {name: side for name, side in record["sides"].items() if not name.startswith("din")}
    return sorted(found.items(), key=lambda item: item[1]["ms"])


def overview(records):
    lines = ["| model | Din, samples/s | fastest peer | its samples/s | Din is | goal | all peers: Din is |", "| --- " * 7 + "|"]
    for model, record in records.items():
        ours, found = record["sides"]["din"], peers_of(record)
        ratios = [f"{name} {side['ms'] / ours['ms']:.2f} x" for name, side in found]
        (best, side), told = found[0], ", ".join(ratios + [f"{name} failed" for name in record["dropped"]])
        row = [model, f"{ours['samples_per_second']:,.0f}", best, f"{side['samples_per_second']:,.0f}"]
        row += [f"{side['ms'] / ours['ms']:.2f} x", f"{record['goal']} x", told]
        lines.append(f"| {' | '.join(row)} |")
    return lines


def table(record):
    lines = ["| side | updates | ms | samples/s | rounds, ms | peak MiB | loss differs by |", "| --- " * 7 + "|"]
    for name, s in sorted(record["sides"].items(), key=lambda item: item[1]["ms"]):
        differs = "other definition" if s["loss_difference"] is None else f"{s['loss_difference']:.1e}"
        row = [name, "sparse" if s["lazy"] else "dense", f"{s['ms']:.2f}", f"{s['samples_per_second']:,.0f}"]
        row += [f"{min(s['ms_by_round']):.2f} to {max(s['ms_by_round']):.2f}", f"{s['peak_kib'] // 1024}", differs]
        lines.append(f"| {' | '.join(row)} |")
    return lines


def markdown(date, level, records):
    first = next(iter(records.values()))
    lines = [
        f"# Training steps of models of `models/` at level {level}, {date}",
        "",
        f"{run.setup(list(records.values()))}. Batch {first['batch']}, {first['threads']} thread(s), dropout off. Medians of interleaved rounds.",
        "Goals were set for level v3. `din` has the models' own optimizer, sparse updates; `din-dense` is the same model with dense updates.",
        "What the peers' names say is in [`peers/zoo_step.py`](../peers/zoo_step.py), and what FuxiCTR's models are in",
        "[`peers/zoo_fuxictr_step.py`](../peers/zoo_fuxictr_step.py).",
        "",
        *overview(records),
        "",
    ]
    for model, record in records.items():
        told = [f"{record['round_count']} rounds of {record['steps']} steps.", run.loads(record), run.held(record)]
        lines += [f"## {model}", "", " ".join(t for t in told if t), "", *table(record), ""]
    return "\n".join(lines[:-1]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"some of {', '.join(MODELS)} [default: all]")
    parser.add_argument("--log", type=pathlib.Path, required=True)
    parser.add_argument("--bench", type=pathlib.Path, default=zoo.ROOT / "target/release/examples/bench_zoo_step")
    parser.add_argument("--fuxictr", type=pathlib.Path)
    parser.add_argument("--isa", choices=isa.LEVELS, default=isa.level(), help="level that all sides are held to [default: the machine's, %(default)s]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", help="modes, in place of each model's own")
    parser.add_argument("--patience", type=float, default=3600)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--out", type=pathlib.Path, default=run.HERE / "results")
    arguments = parser.parse_intermixed_args()
    models = arguments.models or list(MODELS)
    if unknown := [model for model in models if model not in MODELS]:
        parser.error(f"no peers for {', '.join(unknown)}; there are {', '.join(MODELS)}")
    isa.limits(arguments.isa, isa.level())
    arguments.out.mkdir(parents=True, exist_ok=True)
    date = datetime.date.today().isoformat()
    stem, failed = arguments.out / f"{date}-zoo-speed-{arguments.isa}", []
    file = stem.with_suffix(".json")
    for model in models:
        print(model, file=sys.stderr)
        try:
            record = measure(arguments, model) | {"steps": arguments.steps}
        except (SystemExit, subprocess.SubprocessError) as e:
            # The other models still count.
            print(f"{model}: {e}", file=sys.stderr)
            failed.append(model)
            continue
        records = json.loads(file.read_text())["models"] if file.exists() else {}
        records[model] = record
        records = {n: records[n] for n in MODELS if n in records}
        file.write_text(json.dumps({"date": date, "isa": arguments.isa, "models": records}, indent=1) + "\n")
        stem.with_suffix(".md").write_text(markdown(date, arguments.isa, records))
        print("\n".join([model, "", *table(record), ""]), flush=True)
    if failed:
        raise SystemExit(f"without a result: {', '.join(failed)}; the errors are above")


if __name__ == "__main__":
    main()
