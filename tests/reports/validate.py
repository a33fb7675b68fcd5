"""Validates SARIF of `din check` by the schema of the standard: validate.py DIN. See README.md."""

import json
import pathlib
import subprocess
import sys
import tempfile

import jsonschema

HERE = pathlib.Path(__file__).resolve().parent
SMALL = (HERE.parent / "end_to_end" / "small.din").read_text()
SPECS = {
    "right.din": SMALL,
    "unknown name.din": SMALL.replace("embed(visited)", "embed(visits)"),
    "unused.din": SMALL.replace("    predict", "    let spare = 1\n    predict"),
    # A fault in the library, at a call of the file.
    "library.din": SMALL.replace("hidden = [8]", "hidden = [0]"),
    "syntax.din": SMALL.replace("model small {", "model small {{"),
    "empty.din": "",
    "din.toml": "[budget]\nparameters = 1\n[lint]\n",
}


def main(din: str) -> None:
    validator = jsonschema.Draft7Validator(json.loads((HERE / "sarif-2.1.0.json").read_text()))
    with tempfile.TemporaryDirectory() as folder:
        for name, text in SPECS.items():
            (pathlib.Path(folder) / name).write_text(text)
        command = [din, "check", ".", "gone.din", "--format", "sarif"]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert ran.returncode == 1, ran.stderr
        (pathlib.Path(folder) / "din.toml").unlink()
        clean = subprocess.run([din, "check", "right.din", "--format", "sarif"], cwd=folder, capture_output=True, text=True)
        assert clean.returncode == 0, clean.stderr
    for text in (ran.stdout, clean.stdout):
        log = json.loads(text)
        faults = [f"{list(fault.absolute_path)}: {fault.message}" for fault in validator.iter_errors(log)]
        assert not faults, "\n".join(faults)
    results = json.loads(ran.stdout)["runs"][0]["results"]
    assert len(results) >= 5, results
    assert not json.loads(clean.stdout)["runs"][0]["results"]
    # And the schema finds what is wrong.
    log["runs"][0]["columnKind"] = "bytes"
    assert not validator.is_valid(log)
    print(f"SARIF: {len(results)} findings, valid")


if __name__ == "__main__":
    main(str(pathlib.Path(sys.argv[1]).resolve()))
