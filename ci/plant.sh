#!/usr/bin/env bash
# Plants bugs, one at a time, in a copy of the code, and sweeps until one is found.
#
#   ci/plant.sh                     every bug of ci/plants
#   ci/plant.sh 04 12-zxid-ahead    those whose names begin like this
#   ci/plant.sh --check             only whether every patch still applies (seconds)
#   ci/plant.sh --seeds 50          how many seeds each bug gets (default 100, from seed 0)
#   ci/plant.sh --scenario PATH     live these scenario files instead of drawn ones
#
# Exit code: 0 when every bug was found by a verdict of "invalid", 1 when one was not or a
# patch no longer applies, 2 for wrong usage. The copy and its target folder lie under
# PLANT_DIR (default: a folder of its own under TMPDIR), and stay there, so that the next
# call builds only what changed.
set -euo pipefail
cd "$(dirname "$0")/.."

seeds=100 first=0 jobs=2 check=no names=() extra=()
while [ $# -gt 0 ]; do
    case $1 in
    --check) check=yes ;;
    --seeds) seeds=${2:?how many}; shift ;;
    --first) first=${2:?which}; shift ;;
    --jobs) jobs=${2:?how many}; shift ;;
    --scenario) extra=(--scenario "$(realpath "${2:?which}")"); shift ;;
    -*) echo "plant.sh: what is $1? (see the head of $0)" >&2; exit 2 ;;
    *) names+=("$1") ;;
    esac
    shift
done

patches=()
for patch in ci/plants/*.patch; do
    name=$(basename "$patch" .patch)
    wanted=$([ ${#names[@]} -eq 0 ] && echo yes || echo no)
    for prefix in ${names+"${names[@]}"}; do
        case $name in "$prefix"*) wanted=yes ;; esac
    done
    [ $wanted = no ] || patches+=("$patch")
done
[ ${#patches[@]} -gt 0 ] || { echo "plant.sh: no patch is called ${names[*]}" >&2; exit 2; }

if [ $check = yes ]; then
    bad=0
    for patch in "${patches[@]}"; do
        git apply --check "$patch" || { echo "no longer applies: $patch" >&2; bad=1; }
    done
    [ $bad -eq 0 ] && echo "${#patches[@]} patches apply"
    exit $bad
fi

root=${PLANT_DIR:-${TMPDIR:-/tmp}/gamekeeper-plants}
copy=$root/copy
mkdir -p "$copy"
[ -d "$copy/.git" ] || git -C "$copy" init -q
# Only what differs is copied, with a new time, so that cargo builds that and nothing else.
git ls-files -z --cached --others --exclude-standard -- ':!ci' ':!docs' | while IFS= read -r -d '' file; do
    [ -f "$file" ] || continue
    cmp -s "$file" "$copy/$file" || { mkdir -p "$copy/$(dirname "$file")"; cp "$file" "$copy/$file"; }
done
(cd "$copy" && find . -path ./.git -prune -o -type f -print) | while IFS= read -r file; do
    [ -f "$file" ] || rm "$copy/$file"
done
# A plant may leave something unused; that is no reason not to build it.
sed -i 's/^warnings = "deny"/warnings = "allow"/' "$copy/Cargo.toml"
here=$PWD
cd "$copy"
# Quick to build rather than quick to run: a plant is found in a few lives.
export CARGO_TARGET_DIR=$root/target CARGO_PROFILE_RELEASE_INCREMENTAL=true
export CARGO_PROFILE_RELEASE_OPT_LEVEL=${PLANT_OPT_LEVEL:-1} CARGO_PROFILE_RELEASE_DEBUG=false

say() { printf '%-38s %-7s %-7s %s\n' "$@"; }
missed=0
say bug "seed" "tried" "verdict"
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    if ! git apply "$here/$patch" 2>"$root/$name.log"; then
        say "$name" - - "THE PATCH NO LONGER APPLIES"
        missed=1
        continue
    fi
    if ! cargo build --quiet --release --locked --bin sim >"$root/$name.log" 2>&1; then
        say "$name" - - "DOES NOT BUILD (see $root/$name.log)"
        missed=1
    else
        code=0
        "$root/target/release/sim" sweep --seeds "$first..$((first + seeds))" --jobs "$jobs" --stop-at-first \
            --out "$root/runs/$name" ${extra+"${extra[@]}"} >"$root/$name.log" 2>&1 || code=$?
        tried=$(sed -n 's/^runs  *\([0-9]*\):.*/\1/p' "$root/$name.log")
        # The first failure that is a violation, and the seeds told in the line below it.
        found=$(grep -A1 '^failure' "$root/$name.log" | grep -v -A1 'x unknown:\|x vacuous:' || true)
        verdict=$(sed -n 's/^failure  *[0-9]* x \(.*\)/\1/p' <<<"$found" | head -1)
        seed=$(sed -n 's/^ *seeds \[\([0-9]*\).*/\1/p' <<<"$found" | head -1)
        if [ $code -eq 1 ]; then
            say "$name" "$seed" "$tried" "$verdict"
        else
            say "$name" - "$tried" "NOT FOUND (exit code $code)"
            missed=1
        fi
    fi
    git apply -R "$here/$patch"
done
exit $missed
