#!/bin/sh
# What the launcher of an MPIJob runs: trains, or goes on with a run that was stopped.
#   train.sh RANKS THREADS
set -u
ranks=$1
threads=$2
run=/shared/runs/din
# After an error all ranks have ended. If the machine of one is out of reach, mpirun itself may wait
# for ever: it is killed after so many seconds, so that the operator can start it again.
patience=60

messages=$(mktemp -u)
mkfifo "$messages"

# The operator names the workers in the file that OMPI_MCA_orte_default_hostfile names.
mpirun -n "$ranks" --bind-to none /opt/din/din train /shared/models/din.din \
    --train /shared/log/train --valid /shared/log/valid --out "$run" \
    --threads "$threads" --checkpoint-every 10000 --resume 2> "$messages" &
mpirun=$!
trap 'kill -TERM "$mpirun"' TERM INT

while IFS= read -r line; do
    printf '%s\n' "$line" >&2
    case $line in
        error:*) (sleep "$patience" && kill -KILL "$mpirun" 2> /dev/null) & ;;
    esac
done < "$messages" &

wait "$mpirun"
code=$?
# A signal ends the first wait, but not mpirun.
while kill -0 "$mpirun" 2> /dev/null; do
    wait "$mpirun"
    code=$?
done
rm -f "$messages"
# The last messages.
sleep 1
exit "$code"
