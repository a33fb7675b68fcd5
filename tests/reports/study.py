"""Reads the journal of a small study of `din tune` by Optuna itself: study.py DIN. See README.md."""

import json
import pathlib
import subprocess
import sys
import tempfile

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

SPEC = pathlib.Path(__file__).resolve().parent.parent / "end_to_end" / "tune.din"
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
DOMAINS = {
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "layers": CategoricalDistribution([1, 2]),
    "second": CategoricalDistribution([2, 4]),
}


def main(din: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log, study = f"{folder}/log", f"{folder}/study"
        synth = ["synth", "--out", log, "--rows", "4000", "--users", "150", "--goods", "200", "--categories", "10"]
        subprocess.run([din, *synth], check=True, capture_output=True)
        tune = ["tune", str(SPEC), "--train", f"{log}/train.parquet", "--valid", f"{log}/valid.parquet", "--out", study]
        tune += ["--trials", "9", "--jobs", "2", "--seeds", "0", "--json"]
        ran = subprocess.run([din, *tune], check=True, capture_output=True, text=True)
        said = json.loads(ran.stdout)

        backend = optuna.storages.journal.JournalFileBackend(f"{study}/journal.log")
        read = optuna.load_study(study_name="tune", storage=optuna.storages.JournalStorage(backend))
        assert read.direction == optuna.study.StudyDirection.MAXIMIZE
        assert len(read.trials) == len(said["trials"]) == 9
        for trial, line in zip(read.trials, said["trials"]):
            assert trial.number == line["number"] and trial.state == STATES[line["state"]], (trial, line)
            assert trial.params == line["values"], (trial.params, line)
            assert trial.value == line["value"]
            assert trial.distributions == {name: DOMAINS[name] for name in trial.params}
            assert ("second" in trial.params) == (trial.params["layers"] == 2)
            # The best of the evaluations is the value, and the last one is where the trial stopped.
            assert max(trial.intermediate_values.values()) == trial.value
            assert max(trial.intermediate_values) == line["samples"]
            assert trial.user_attrs["command"].startswith("din train ")
            assert trial.datetime_start <= trial.datetime_complete
        assert read.best_trial.number == said["best"]
        # What Optuna appends, as its dashboard does with notes, `din` reads over.
        read.set_user_attr("note", "seen by Optuna")
        again = subprocess.run([din, *tune, "--resume"], check=True, capture_output=True, text=True)
        assert json.loads(again.stdout) == said
        states = [trial.state.name for trial in read.trials]
    print(f"Optuna {optuna.__version__}: {states.count('COMPLETE')} complete, {states.count('PRUNED')} pruned")


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main(str(pathlib.Path(sys.argv[1]).resolve()))
