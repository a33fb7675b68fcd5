#!/usr/bin/env bash
# Trains on several ranks of one machine, or goes on with a run that was stopped. All settings can be
# given in the environment: RANKS=4 THREADS=2 MODEL=my.din TRAIN="a.parquet b.parquet" … ./train.sh
set -euo pipefail

din=${DIN:-din}
model=${MODEL:-models/din.din}
train=${TRAIN:-log/train.parquet}
valid=${VALID:-log/valid.parquet}
run=${RUN:-run}
ranks=${RANKS:-2}
# Threads of each rank: ranks times threads should be the cores of the machine at most.
threads=${THREADS:-1}
# The library that `cargo xtask mpi --mpicc mpicc.openmpi` has built; beside `din` it needs no name.
export DIN_MPI_LIBRARY=${DIN_MPI_LIBRARY:-}

# Without --bind-to none, Open MPI gives each of two ranks one core, whatever --threads says.
# $train and $valid may name several files.
# shellcheck disable=SC2086
exec mpirun.openmpi -n "$ranks" --bind-to none ${MPIRUN_OPTIONS:-} \
    "$din" train "$model" --train $train --valid $valid --out "$run" --threads "$threads" --resume
