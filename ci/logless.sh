#!/usr/bin/env bash
# Lives of the simulator, judged as those of a real cluster are: without the servers' log, so
# that what became of the requests without an answer has to be found out.
#
#   ci/logless.sh [COUNT [FIRST [INTENSITY]]]     20 seeds from 0 on at intensity 1
#
# Prints a line for each life whose verdict is not valid and keeps its history in $KEEP
# (without it: runs/logless), then how many were judged and what the slowest took. Exit code
# 0: all valid. A life is an eighth of a second of processor, nearly all of it the living.
set -euo pipefail
cd "$(dirname "$0")/.."

count=${1:-20} first=${2:-0} intensity=${3:-1} keep=${KEEP:-runs/logless}
for number in "$count" "$first"; do
    case $number in
        '' | *[!0-9]*)
            echo "ci/logless.sh: \`$number\` is no number of seeds; say ci/logless.sh 20 0 1" >&2
            exit 2
            ;;
    esac
done
cargo build --release --quiet --locked --bin sim --bin zkcheck
bin=${CARGO_TARGET_DIR:-target}/release
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

TIMEFORMAT=%U
bad=0 slowest=0 slowest_seed=-
for ((seed = first; seed < first + count; seed++)); do
    code=0
    "$bin/sim" --seed "$seed" --intensity "$intensity" --out "$room/run" >"$room/said" 2>&1 || code=$?
    # Wrong usage; a violation or an unknown verdict is a sweep's news, not this one's.
    [ $code -ne 2 ] || { cat "$room/said" >&2; exit 2; }
    [ $code -eq 0 ] || { echo "seed $seed: not valid with the log either"; bad=$((bad + 1)); continue; }
    history=$room/$seed.jsonl
    sed -e '1s/,"txns":[0-9]*//' -e '/^{"type":"txn"/d' "$room/run/history.jsonl" >"$history"
    code=0
    { time "$bin/zkcheck" "$history" >"$room/said"; } 2>"$room/time" || code=$?
    took=$(tail -n 1 "$room/time")
    if awk "BEGIN { exit !($took > $slowest) }"; then
        slowest=$took slowest_seed=$seed
    fi
    if [ $code -ne 0 ]; then
        mkdir -p "$keep"
        mv "$history" "$keep/"
        echo "seed $seed:$(head -n 1 "$room/said" | cut -d: -f2-) (kept: $keep/$seed.jsonl)"
        bad=$((bad + 1))
    fi
    rm -f "$history"
done
echo "$count lives judged without the servers' log, $bad not valid; the slowest, seed $slowest_seed, in $slowest s"
[ $bad -eq 0 ]
