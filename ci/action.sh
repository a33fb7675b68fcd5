#!/usr/bin/env bash
# The step of action.yml: checks specs, annotates lines, and describes in the job's summary what
# differs from a base. Reads DIN_* of action.yml; outside of GitHub Actions, the summary and the
# output go to standard output.
set -euo pipefail

summary="${GITHUB_STEP_SUMMARY:-/dev/stdout}"
outputs="${GITHUB_OUTPUT:-/dev/stdout}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

din="${DIN:-}"
if [ -z "$din" ]; then
    source="$(cd "$(dirname "$0")/.." && pwd)"
    cargo build --quiet --release --locked --manifest-path "$source/Cargo.toml" --package din
    din="${CARGO_TARGET_DIR:-$source/target}/release/din"
fi

arguments=(--format github --output "markdown=$work/findings.md")
[ -z "${DIN_DENY:-}" ] || arguments+=(--deny "$DIN_DENY")
[ -z "${DIN_SARIF:-}" ] || arguments+=(--output "sarif=$DIN_SARIF")
[ -z "${DIN_JUNIT:-}" ] || arguments+=(--output "junit=$DIN_JUNIT")
# Patterns are din's to expand.
read -r -a files <<<"${DIN_FILES:-}"
code=0
"$din" check "${arguments[@]}" ${files[@]+"${files[@]}"} || code=$?
[ ! -e "$work/findings.md" ] || cat "$work/findings.md" >>"$summary"

# `unknown` where a model could not be compared, or none was to be.
verdict=unknown
if [ -n "${DIN_BASE:-}" ] && [ "$code" -le 1 ]; then
    verdict=same
    # Models that both revisions have. One that imports a changed file is among them.
    while IFS= read -r model; do
        git cat-file -e "$DIN_BASE:./$model" 2>/dev/null || continue
        differs=0
        "$din" diff "$DIN_BASE:./$model" "$model" --format markdown >"$work/difference.md" || differs=$?
        case "$differs" in
            0) continue ;;
            10) [ "$verdict" != same ] || verdict=compatible ;;
            11) verdict=incompatible ;;
            # What is wrong was said above, or is wrong in the base.
            1)
                [ "$verdict" = incompatible ] || verdict=unknown
                continue
                ;;
            *) exit "$differs" ;;
        esac
        printf '\n' >>"$summary"
        cat "$work/difference.md" >>"$summary"
    done < <(git ls-files -- '*.din' | xargs -r -d '\n' grep -lE '^model [A-Za-z_]')
fi
echo "verdict=$verdict" >>"$outputs"

if [ "$code" -eq 0 ] && [ "$verdict" = incompatible ] && [ "${DIN_FAIL_ON_INCOMPATIBLE:-}" = true ]; then
    echo "::error::a model differs from $DIN_BASE so that checkpoints do not fit; see the summary"
    code=1
fi
exit "$code"
