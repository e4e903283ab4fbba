#!/usr/bin/env bash
# The same seed is the same life: COUNT seeds from FIRST on are lived in every way there is,
# and every way has to come to the same fingerprints and verdicts.
#
#   ci/determinism.sh [COUNT [FIRST]]     200 seeds from 0 on, unless told otherwise
#
# Prints a line for each way, and for each difference the first seeds that differ. Exit code
# 0: all equal. Set MODES to a list of their names to go only some ways.
#
# A life is some 100 ms of processor in release and two seconds in debug: 200 seeds take a
# third of an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

count=${1:-200}
first=${2:-0}
for number in "$count" "$first"; do
    case $number in
        '' | *[!0-9]*)
            echo "ci/determinism.sh: \`$number\` is no number of seeds; say ci/determinism.sh [COUNT [FIRST]]" >&2
            exit 2
            ;;
    esac
done
if [ "$count" -eq 0 ]; then
    echo "ci/determinism.sh: 0 seeds prove nothing; say at least 1" >&2
    exit 2
fi
range=$first..$((first + count))
known="release-jobs-1 release-jobs-2 release-again release-alone debug-jobs-1 debug-jobs-2 debug-alone"
modes=${MODES:-$known}
for mode in $modes; do
    case " $known " in
        *" $mode "*) ;;
        *)
            echo "ci/determinism.sh: no way is called \`$mode\`; there are $known" >&2
            exit 2
            ;;
    esac
done

rolls=$(mktemp -d)
trap 'rm -rf "$rolls"' EXIT

build() { # PROFILE: its binary, set aside so that a build elsewhere does not change it
    local flag=()
    [ "$1" = release ] && flag=(--release)
    cargo build --quiet --locked "${flag[@]}" -p gamekeeper-sim --bin sim
    cp "${CARGO_TARGET_DIR:-target}/$1/sim" "$rolls/$1"
}

sweep() { # BINARY JOBS ROLL: exit codes 1 and 3 are verdicts, and verdicts are compared below
    "$1" sweep --seeds "$range" --jobs "$2" --out "$rolls/kept" --fingerprints "$3" --json \
        >"$rolls/summary" || [ $? -ne 2 ]
}

alone() { # BINARY ROLL: each seed in a process of its own
    local seed line
    for ((seed = first; seed < first + count; seed++)); do
        line=$("$1" --seed "$seed" --out "$rolls/kept/alone" --json) || [ $? -ne 2 ]
        sed -E 's/^\{"seed":([0-9]+),"verdict":"([a-z]+)".*"fingerprint":"([0-9a-f]+)".*$/\1 \3 \2/' \
            <<<"$line" >>"$2"
    done
}

for profile in release debug; do
    case " $modes" in
        *" $profile-"*) build "$profile" ;;
    esac
done

reference=
failed=0
for mode in $modes; do
    sim=$rolls/${mode%%-*}
    roll=$rolls/$mode
    begun=$SECONDS
    case $mode in
        release-jobs-1 | debug-jobs-1) sweep "$sim" 1 "$roll" ;;
        release-jobs-2 | release-again | debug-jobs-2) sweep "$sim" 2 "$roll" ;;
        release-alone | debug-alone) alone "$sim" "$roll" ;;
    esac
    lives=$(wc -l <"$roll")
    hash=$(sha256sum <"$roll" | cut -c 1-16)
    told="equal"
    : "${reference:=$roll}"
    if [ "$lives" -ne "$count" ]; then
        told="only $lives lives"
        failed=1
    elif ! cmp -s "$reference" "$roll"; then
        told="DIFFERS from $(basename "$reference")"
        failed=1
    fi
    printf '%-16s %5d lives  %s  %4d s  %s\n' "$mode" "$lives" "$hash" $((SECONDS - begun)) "$told"
    if [ "$told" != equal ]; then
        diff "$reference" "$roll" | head -n 10 || true
    fi
done
exit $failed
