#!/usr/bin/env bash
# Five pull requests against a repository with one model, and what the step of the GitHub Action
# (ci/action.sh) says of each, as Markdown on standard output: docs/ci-demonstration.md is its
# output, which a test compares. DIN names the command.
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=someone GIT_AUTHOR_EMAIL=someone@example.org
export GIT_COMMITTER_NAME=someone GIT_COMMITTER_EMAIL=someone@example.org

cd "$work"
git init --quiet --initial-branch main
mkdir models
cp "$root/models/din.din" models/ranker.din
printf '[check]\npaths = ["models"]\n\n[lints]\nwarnings = "deny"\n' >din.toml
git add .
git commit --quiet --message "A model"

# Each expression of `sed` must change the model.
edit() {
    local before
    for expression in "$@"; do
        before="$(cat models/ranker.din)"
        sed --in-place "$expression" models/ranker.din
        [ "$before" != "$(cat models/ranker.din)" ] || { echo "no effect: $expression" >&2; exit 1; }
    done
}

# A title, a text, and the expressions.
pull_request() {
    local title="$1" text="$2" code=0
    shift 2
    git checkout --quiet -B change main
    edit "$@"
    git commit --quiet --all --message "$title"
    : >summary.md
    GITHUB_STEP_SUMMARY=summary.md GITHUB_OUTPUT=outputs DIN_BASE=main DIN_FAIL_ON_INCOMPATIBLE=true \
        bash "$root/ci/action.sh" >annotations 2>&1 || code=$?
    printf '\n## %s\n\n%s\n\n```diff\n' "$title" "$text"
    git diff --unified=0 main change -- models | grep '^[-+][^-+]'
    printf '```\n\nThe step ends with code %s, %s' "$code" "$(cat outputs)"
    if [ -s annotations ]; then
        printf ', and these annotations of lines:\n\n```text\n%s\n```\n' "$(cat annotations)"
    else
        printf ', without annotations.\n'
    fi
    if [ -s summary.md ]; then
        printf '\nIn the summary of the job:\n\n'
        sed --expression 's/^#/####/' summary.md
    else
        printf '\nThe summary of the job is empty.\n'
    fi
    rm -f outputs annotations summary.md
}

cat <<'HEAD'
# What CI says of five pull requests

`tests/demonstration/run.sh` makes a repository with `models/din.din` and a `din.toml` that denies
warnings, and runs the step of the [GitHub Action](ci.md#github) on five changes. This page is what it
prints; nothing trains, and no data are read.
HEAD

pull_request "A renamed value" \
    "Nothing is computed otherwise. A layer's weights bear the name of the value; checkpoints follow." \
    's/\btaste\b/liking/g' 's|// Candidate and history share their tables.|// Shared by both.|'

pull_request "A wider layer" \
    "Parameters and FLOPs change, and checkpoints no longer fit." \
    's/\[200, 80\]/[256, 80]/'

pull_request "A leak" \
    "How long a user stayed on the page is known after the click that is predicted." \
    's/features scene { pid: category(10)     time: category(10) }/features scene { pid: category(10)  time: category(10)  stay: number after label }/'

pull_request "A broken shape" \
    "The scene is compared with what the user visited." \
    's/interest(history, candidate, /interest(history, embed(scene), /'

pull_request "A removed feature" \
    "The shops go, and with them a table." \
    '/embedding shop/d' '/visited_shop_ids/d' 's/   shop_id: category//'
