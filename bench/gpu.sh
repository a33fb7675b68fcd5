#!/usr/bin/env bash
# Everything that needs a GPU, in under 8 minutes: the checks of CI's corpus on the device, compute-sanitizer, runs by the `din` command, and the
# comparison with PyTorch. Nothing falls back to the CPU: what cannot be run is told, and a check that fails makes the exit code 1.
#
#   bench/gpu.sh [--device cuda:0] [--out DIR] [--work DIR] [--seconds 470] [--no-bench | --only-bench]
#   bench/gpu.sh --pack FILE.tar.gz    builds, and packs what a machine without Rust needs; there: tar xf FILE.tar.gz && bench/gpu.sh
#
# Needs NVIDIA's driver, NVRTC (in python3's package nvidia-cuda-nvrtc, which comes with torch, or in CUDA's usual folders; DIN_NVRTC names another
# libnvrtc.so) and, for the comparison, a python3 with torch, numpy, pyarrow and safetensors (PYTHON names another). Its configurations go by their
# worth while there is time: --only-bench gives it all of it, and CONFIGURATIONS=rows-1e8,.. names some. Binaries come from $DIN_BIN [target/release, built when missing].
#
# --out [target/gpu] gets what is worth keeping, at most eight small files: a summary, a log of each check, the comparison's results, each as soon as it is
# known. --work [target/gpu-work] gets runs and data. Both may lie outside of a tree that cannot be written.
set -uo pipefail
cd "$(dirname "$0")/.."
export DIN_ROOT="$PWD"
device=cuda:0 out=target/gpu work=target/gpu-work limit=470 bench=yes pack=
while [ $# -gt 0 ]; do
    case "$1" in
        --device) device="$2"; shift 2 ;;
        --out) out="$2"; shift 2 ;;
        --work) work="$2"; shift 2 ;;
        --seconds) limit="$2"; shift 2 ;;
        --no-bench) bench=no; shift ;;
        --only-bench) bench=only; shift ;;
        --pack) pack="$2"; shift 2 ;;
        *) echo "unexpected $1; see the head of bench/gpu.sh" >&2; exit 2 ;;
    esac
done
bin="${DIN_BIN:-${CARGO_TARGET_DIR:-target}/release}" python="${PYTHON:-python3}" number="${device#cuda:}"

if [ -n "$pack" ] || ! [ -x "$bin/examples/gpu_check" ]; then
    cargo build --release --locked --workspace --bins --examples || exit 1
fi
if [ -n "$pack" ]; then
    folder="$(mktemp -d)"
    trap 'rm -rf "$folder"' EXIT
    mkdir -p "$folder/target/release/examples"
    cp -r models bench "$folder/" && rm -rf "$folder/bench/results"
    for file in din examples/gpu_check examples/bench_step; do
        strip -o "$folder/target/release/$file" "$bin/$file" || exit 1
    done
    tar czf "$pack" -C "$folder" bench models target && ls -l "$pack"
    exit
fi

if [ -z "${DIN_NVRTC:-}" ]; then
    DIN_NVRTC="$("$python" bench/nvrtc.py 2> /dev/null)"
    # Else the usual names are tried.
    if [ -n "$DIN_NVRTC" ]; then export DIN_NVRTC; else unset DIN_NVRTC; fi
fi

mkdir -p "$out" "$work" || exit 1
begin=$SECONDS failed=0
summary="$out/summary.txt"
: > "$summary"
left() { echo $((limit - (SECONDS - begin))); }
say() { printf '%-6s %4d s  %s\n' "$1" "$2" "$3" | tee -a "$summary"; }

# check NAME SECONDS COMMAND..: its output goes to a file. It has no more time than all of it has left.
check() {
    local name="$1" seconds="$2" start=$SECONDS code
    shift 2
    [ "$seconds" -le "$(left)" ] || seconds=$(left)
    if [ "$seconds" -lt 5 ]; then
        say unrun 0 "$name: no time left"
        return
    fi
    timeout -k 10 "$seconds" "$@" > "$out/$name.log" 2>&1
    code=$?
    case $code in
        0) say ok $((SECONDS - start)) "$name" ;;
        124 | 137) say FAIL $((SECONDS - start)) "$name: not done in $seconds s" ;;
        *) say FAIL $((SECONDS - start)) "$name: exit code $code" ;;
    esac
    [ $code = 0 ] && return
    failed=1
    # What failed is said anywhere in it, and what it ends with.
    echo "of $out/$name.log:" | tee -a "$summary"
    { grep -n '^\(FAIL\|alone\|========= [EI]\)' "$out/$name.log" | head -n 20; tail -n 8 "$out/$name.log"; } | cut -c 1-300 | tee -a "$summary"
}

# Runs of the command itself: two are equal bit for bit, so is one that was killed and resumed, and the CPU measures what the GPU does.
command_line() {
    local here="$work/runs" din="$bin/din"
    rm -rf "$here" && mkdir -p "$here"
    "$din" synth --out "$here/data" --rows 60000 --seed 5 || return 1
    local data=(--train "$here/data/train.parquet" --valid "$here/data/valid.parquet")
    local options=(models/din.din "${data[@]}" --epochs 2 --checkpoint-every 20 --device "$device")
    train() { "$din" train "${options[@]}" --out "$here/$1" "${@:2}"; }
    weights() { (cd "$here/$1/checkpoints" && find . -name '*.safetensors' | sort | xargs sha256sum); }
    train first && train second || return 1
    "$din" train "${options[@]}" --out "$here/killed" &
    local pid=$!
    # After some checkpoint has been written.
    for _ in $(seq 2000); do
        compgen -G "$here/killed/checkpoints/*/*.safetensors" > /dev/null && break
        sleep 0.01
    done
    kill -9 $pid 2> /dev/null
    wait $pid 2> /dev/null
    [ $? = 137 ] || { echo "the run was not killed, it ended before"; return 1; }
    train killed --resume || return 1
    weights first > "$here/first.txt"
    [ -s "$here/first.txt" ] || { echo "no weights in $here/first"; return 1; }
    for other in second killed; do
        weights $other | diff "$here/first.txt" - || { echo "$other has other bits"; return 1; }
    done
    "$din" eval "$here/first" --data "$here/data/test.parquet" --device "$device" --json > "$here/gpu.json" || return 1
    "$din" eval "$here/first" --data "$here/data/test.parquet" --device cpu --json > "$here/cpu.json" || return 1
    cat "$here/gpu.json" "$here/cpu.json"
    "$python" - "$here/gpu.json" "$here/cpu.json" <<'PY'
import json, sys
def numbers(x):
    return [x] if isinstance(x, float) else [n for v in (x.values() if isinstance(x, dict) else x if isinstance(x, list) else []) for n in numbers(v)]
a, b = (numbers(json.load(open(f))) for f in sys.argv[1:])
assert a and len(a) == len(b), (a, b)
off = [(x, y) for x, y in zip(a, b) if abs(x - y) > 1e-4]
sys.exit(f"metrics differ: {off}" if off else 0)
PY
}

sanitizer() {
    local tool="$1" found
    found="$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2> /dev/null | head -n 1)"
    if [ -z "$found" ]; then
        say unrun 0 "$tool: no compute-sanitizer"
        return
    fi
    check "sanitizer-$tool" 70 "$found" --tool "$tool" --error-exitcode 9 --kernel-regex kns=din_ \
        "$bin/examples/gpu_check" --device "$number" --quick --only graphs,steps --threads 1
}

echo "NVRTC: ${DIN_NVRTC:-by its usual names}" | tee -a "$summary"
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit --format=csv 2> /dev/null | tee -a "$summary"
if [ $bench != only ]; then
    most=$(left)
    [ "$most" -lt 150 ] || most=150
    # It ends by itself, so that it can say what it was at.
    check corpus "$most" "$bin/examples/gpu_check" --device "$number" --seconds $((most - 10))
    export -f command_line
    export work bin python device
    check command 60 bash -c command_line
    sanitizer memcheck
    sanitizer racecheck
fi
if [ $bench = no ]; then
    say unrun 0 "comparison: --no-bench"
elif ! "$python" -c 'import torch, numpy, pyarrow, safetensors, sys; sys.exit(not torch.cuda.is_available())' 2> /dev/null; then
    say unrun 0 "comparison: $python lacks torch with CUDA, numpy, pyarrow or safetensors"
else
    check comparison "$(left)" "$python" bench/gpu.py --ours "$bin/examples/bench_step" --device "$device" --rounds 5 \
        --budget "$(($(left) - 20))" --data "$work/data" --out "$out/results" ${CONFIGURATIONS:+--only "$CONFIGURATIONS"}
fi
say took $((SECONDS - begin)) "all of it"
# The table of all configurations, and what was left out.
cat "$out"/results/*.md 2> /dev/null | sed '/^## /,$d'
exit $failed
