#!/bin/sh
# What the launcher of an MPIJob runs: trains, or goes on with a run that was stopped.
#   train.sh RANKS THREADS
set -eu
ranks=$1
threads=$2
run=/shared/runs/din

if [ -e "$run/run.json" ]; then
    resume=--resume
else
    resume=
fi

# The operator names the workers in the file that OMPI_MCA_orte_default_hostfile names.
# shellcheck disable=SC2086
exec mpirun -n "$ranks" --bind-to none /opt/din/din train /shared/models/din.din \
    --train /shared/log/train --valid /shared/log/valid --out "$run" \
    --threads "$threads" --checkpoint-every 10000 $resume
