#!/usr/bin/env bash
# What others have published: 102 histories of etcd that Jepsen recorded, which Porcupine and
# the checkers before it are tested with, each with its known verdict.
#
#   ci/published.sh
#
# The logs are not ours to keep. The crate todc-utils, another checker, comes with all of them
# and says the verdicts in its tests; cargo fetches it, nothing of it is built.
#
# Exit code 0: every verdict as known. 1: one is not, or there are fewer logs than expected.
set -euo pipefail
cd "$(dirname "$0")/.."

expected=102
cargo build --release --quiet --locked -p gamekeeper-checker --bin zkcheck
zkcheck=${CARGO_TARGET_DIR:-$PWD/target}/release/zkcheck

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src" && touch "$work/src/lib.rs"
cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "published"
version = "0.0.0"
edition = "2021"
[dependencies]
todc-utils = "=0.1.1"
[workspace]
TOML
manifest=$(cargo metadata --format-version 1 --manifest-path "$work/Cargo.toml" |
    grep -o '"manifest_path":"[^"]*/todc-utils-0.1.1/Cargo.toml"' | head -n 1 | cut -d '"' -f 4)
tests=$(dirname "$manifest")/tests/linearizability

judged=0 wrong=0
while read -r number verdict; do
    code=0
    "$zkcheck" "$tests/etcd/etcd_$number.log" >"$work/said" 2>&1 || code=$?
    judged=$((judged + 1))
    case $verdict-$code in
    true-0 | false-1) ;;
    *)
        wrong=$((wrong + 1))
        echo "etcd_$number.log: linearizable: $verdict; exit code $code: $(head -n 1 "$work/said")"
        ;;
    esac
done < <(sed -nE 's/.*\("([0-9]{3})", (true|false)\).*/\1 \2/p' "$tests/etcd.rs")

echo "$judged published histories judged, $wrong verdicts not as known"
[ "$wrong" -eq 0 ] && [ "$judged" -eq "$expected" ]
