"""Figures of the models in `models/`: how well they rank, the work of a step, samples per second.

    python bench/zoo.py quality --din target/release/din --log LOG [--seeds 3] [--threads 1] [MODEL…]
    python bench/zoo.py work --din target/release/din [MODEL…]
    python bench/zoo.py speed --bench target/release/examples/bench_zoo --log LOG [--rounds 5] [--steps 100] [--threads 1] [--isa v4] [MODEL…]
    python bench/zoo.py readme

`LOG` is the folder that `din synth --out LOG --rows 25000` writes. Each command but the last adds
its figures to `--out` (default: `bench/results/<date>-zoo.json`), and a model that is measured
again replaces its own. `readme` writes those of `--out` into the tables of `models/README.md`.

- `quality`: metrics of the validation rows after the model's one epoch, with the seeds 1, 2 and so
  on.
- `work`: floating-point operations of matrix products, per sample of a training step, as `din plan`
  counts them, for histories of 26 entries. What is computed by component is not in it.
- `speed`: all models take turns in one process (`tests/examples/bench_zoo.rs`), so many rounds;
  medians of the rounds.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("interaction", "sequence", "multitask", "retrieval")
# Mean of the log's training rows.
ENTRIES = 26


def models():
    files = [file for folder in FOLDERS for file in sorted((ROOT / "models" / folder).glob("*.din"))]
    return [f"{file.parent.name}/{file.stem}" for file in files if file.stem != "columns"]


def path(model):
    return ROOT / "models" / f"{model}.din"


def output(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def quality(arguments, model):
    found = {}
    for seed in range(1, arguments.seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            run = pathlib.Path(folder) / "run"
            data = ["--train", arguments.log / "train.parquet", "--valid", arguments.log / "valid.parquet"]
            output([arguments.din, "train", path(model), *data, "--out", run, "--seed", seed, "--threads", arguments.threads, "--quiet"])
            valid = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["valid"]
        for metric, value in valid.items():
            found.setdefault(metric, []).append(value)
    return found


def work(arguments, model):
    names = json.loads(output([arguments.din, "plan", path(model), "--ranks", 1, "--json"]))["assumptions"]["lengths"]
    lengths = ["--lengths", ",".join(f"{name}={ENTRIES}" for name in names)] if names else []
    plan = json.loads(output([arguments.din, "plan", path(model), "--ranks", 1, "--json", *lengths]))
    return plan["work"]["product_flops"] / plan["samples"]


def speed(arguments):
    options = [word for name in ("rounds", "steps", "threads", "isa") if (v := getattr(arguments, name)) for word in (f"--{name}", v)]
    load = os.getloadavg()[0]
    lines = output([arguments.bench, arguments.log / "train.parquet", *options, *arguments.models]).splitlines()
    rounds = [json.loads(line) for line in lines]
    found = {}
    for model in arguments.models:
        own = [each for each in rounds if each["model"] == model]
        of = {f"{kind}_rounds": [round(each[kind]) for each in own] for kind in ("train", "infer")}
        medians = {kind: round(statistics.median(of[f"{kind}_rounds"])) for kind in ("train", "infer")}
        found[model] = {"batch": own[0]["batch"], "threads": arguments.threads, "load": load} | medians | of
    return found


def shown(values):
    """Mean, and from the least to the greatest."""
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({max(values) - min(values):.3f})"


def big(number):
    return f"{number:,.0f}"


def readme(found):
    """Writes the figures into the columns that have their names."""
    file = ROOT / "models" / "README.md"
    lines, columns = file.read_text().splitlines(), []
    for i, line in enumerate(lines):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        model = re.search(r"\]\(((?:interaction|sequence|multitask|retrieval)/\w+)\.din\)", line)
        if line.startswith("| model "):
            columns = cells
        elif model and line.startswith("|"):
            name = model[1]
            metrics = list(found.get("quality", {}).get(name, {}).values())[:2]
            rates = found.get("speed", {}).get(name)
            for k, column in enumerate(columns):
                if column.startswith("AUC") and metrics:
                    cells[k] = ", ".join(shown(values) for values in metrics)
                if column == "FLOPs" and name in found.get("work", {}):
                    cells[k] = big(found["work"][name])
                if column == "samples/s" and rates:
                    cells[k] = f"{big(rates['train'])}, {big(rates['infer'])}"
            lines[i] = "| " + " | ".join(cells) + " |"
    file.write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["quality", "work", "speed", "readme"])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--din", type=pathlib.Path, default=ROOT / "target/release/din")
    parser.add_argument("--bench", type=pathlib.Path, default=ROOT / "target/release/examples/bench_zoo")
    parser.add_argument("--log", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--isa")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench" / "results" / f"{datetime.date.today()}-zoo.json")
    arguments = parser.parse_intermixed_args()
    unknown = set(arguments.models) - set(models())
    if unknown:
        parser.error(f"no such models: {', '.join(sorted(unknown))}")
    arguments.models = arguments.models or models()
    found = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    if arguments.what == "readme":
        readme(found)
        return
    if arguments.what in ("quality", "speed") and arguments.log is None:
        parser.error(f"{arguments.what} needs --log")
    figures = found.setdefault(arguments.what, {})
    if arguments.what == "speed":
        figures.update(speed(arguments))
    else:
        each = {"quality": quality, "work": work}[arguments.what]
        for model in arguments.models:
            figures[model] = each(arguments, model)
            print(model, figures[model], flush=True)
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
