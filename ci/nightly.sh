#!/usr/bin/env bash
# What a night should do: lives nobody has lived, every known bug planted once more, and the
# fingerprints compared. Every part runs, whatever became of those before it.
#
#   ci/nightly.sh              everything; three to four hours on two cores
#   ci/nightly.sh sweeps …     only these parts: sweeps logless scenarios determinism speed plants
#
#   FIRST=700000 ci/nightly.sh     from this seed on (without it: a range of its own each day)
#   SCALE=10 ci/nightly.sh         a tenth of the seeds, in percent
#   NIGHT=runs/mine ci/nightly.sh  where failures and reports go (without it: runs/night-DATE)
#
# Exit code 0: everything as it should be. 1: something is not, and its part's report says
# what. 2: wrong usage.
set -euo pipefail
cd "$(dirname "$0")/.."

known="sweeps logless scenarios determinism speed plants"
parts=${*:-$known}
for part in $parts; do
    case " $known " in
    *" $part "*) ;;
    *) echo "ci/nightly.sh: no part is called \`$part\`; there are $known" >&2; exit 2 ;;
    esac
done

# Each day has a hundred thousand seeds to itself.
first=${FIRST:-$(($(date -u +%s) / 86400 % 100000 * 100000))}
scale=${SCALE:-100}
for number in "$first" "$scale"; do
    case $number in '' | *[!0-9]*) echo "ci/nightly.sh: \`$number\` is no number" >&2; exit 2 ;; esac
done
night=${NIGHT:-runs/night-$(date -u +%F)}
mkdir -p "$night"

cargo build --release --quiet --locked --bin sim
cp "${CARGO_TARGET_DIR:-target}/release/sim" "$night/sim"
sim=$night/sim
failed=()

# NAME COMMAND…: runs it, keeps what it says, remembers whether it failed.
part() {
    local name=$1 begun=$SECONDS code=0
    shift
    "$@" >"$night/$name.txt" 2>&1 || code=$?
    printf '%-14s %5d s  exit code %d  %s\n' "$name" $((SECONDS - begun)) $code \
        "$(head -n 1 "$night/$name.txt")"
    [ $code -eq 0 ] || failed+=("$name")
}

# NAME COUNT [FLAG…]: the next COUNT seeds of this night, each kind of sweep in its own place.
offset=0
sweep() {
    local name=$1 count=$(($2 * scale / 100 + 1)) from=$((first + offset))
    shift 2
    part "$name" "$sim" sweep --seeds "$from..$((from + count))" --out "$night/$name" "$@"
    offset=$((offset + 20000))
}

sweeps() {
    sweep as-drawn 6000
    sweep intensity-3 3000 --intensity 3
    sweep intensity-8 500 --intensity 8
    sweep gentle 500 --intensity 0.3
}

# As a real cluster is judged: nothing but what the clients saw.
logless() {
    KEEP=$night/logless part logless ci/logless.sh $((1000 * scale / 100 + 1)) $((first + 80000))
    KEEP=$night/logless part logless-3 ci/logless.sh $((500 * scale / 100 + 1)) $((first + 85000)) 3
}

# What is outside the promise has to be seen: a judge that finds the losses of no seed is blind.
negative() {
    local file code=0
    for file in scenarios/negative/*.toml; do
        "$sim" sweep --seeds "$first..$((first + 20))" --scenario "$file" \
            --out "$night/negative" >"$night/negative.sweep" || code=$?
        cat "$night/negative.sweep"
        [ $code -eq 1 ] || { echo "$file: no violation was seen"; return 1; }
    done
}

scenarios() {
    local folder
    for folder in scenarios scenarios/regressions; do
        compgen -G "$folder/*.toml" >/dev/null || continue
        part "$(basename "$folder")" "$sim" sweep --seeds "$first..$((first + 100 * scale / 100 + 1))" \
            --scenario "$folder" --out "$night/$(basename "$folder")"
    done
    part negative negative
}

determinism() { part determinism ci/determinism.sh $((200 * scale / 100 + 1)) $((first + 90000)); }

# The server has to keep 0.35 of the null server's events per processor second, and 300 seeds
# a minute of it.
fast_enough() {
    "$sim" calibrate --seeds $((100 * scale / 100 + 1)) --first $((first + 95000)) | tee "$night/calibrate"
    awk '/^ratio/ { ratio = $2 } /^seeds/ { seeds = $2 } END { exit !(ratio >= 0.35 && seeds >= 300) }' \
        "$night/calibrate"
}
speed() { part speed fast_enough; }

plants() { part plants ci/plant.sh --first "$first" --seeds $((1000 * scale / 100 + 1)); }

echo "seeds from $first, reports in $night"
for wanted in $parts; do "$wanted"; done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}"
    exit 1
fi
