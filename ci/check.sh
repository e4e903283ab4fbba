#!/usr/bin/env bash
# The gate: format, lints, tests, and what only the finished simulator can show.
#
#   ci/check.sh            everything
#   SWEEP=0..200 ci/check.sh   another range of seeds
#
# The default range holds lives that are known to be judged valid, so any other verdict is
# news. What takes longer is the night's: ci/nightly.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (after %d s)\n' "$*" $SECONDS; }

rustup component list --installed 2>/dev/null | grep -q '^rustfmt' || rustup component add rustfmt
rustup component list --installed 2>/dev/null | grep -q '^clippy' || rustup component add clippy

step "format"
cargo fmt --all --check

step "the planted bugs still apply"
ci/plant.sh --check

step "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

step "tests"
cargo test --workspace --locked

step "smoke sweep"
cargo build --release --quiet --locked --bin sim
sim=${CARGO_TARGET_DIR:-target}/release/sim
"$sim" sweep --seeds "${SWEEP:-0..100}" --jobs 2
"$sim" sweep --seeds 0..3 --jobs 2 --scenario scenarios

step "published histories get their known verdicts"
ci/published.sh

step "without the servers' log"
ci/logless.sh 20 0
ci/logless.sh 20 20 3

step "what is outside the promise is caught"
code=0
"$sim" sweep --seeds 0..4 --scenario scenarios/negative --out runs/negative --json >/dev/null || code=$?
[ $code -eq 1 ] || { echo "no violation was seen in scenarios/negative" >&2; exit 1; }

step "the same seed is the same life"
ci/determinism.sh 6
