#!/usr/bin/env bash
# All that a GPU can show of this checkout: that it computes right, and how fast beside PyTorch; each half in 6 minutes.
#
#     bash tests/gpu.sh                         both; logs, JSON and a summary go to ./gpu-results, or to $OUT
#     bash tests/gpu.sh correctness             one half: tests and checks
#     bash tests/gpu.sh speed                   the other: benchmarks, and one table of them at the end
#     SECONDS_LEFT=1500 bash tests/gpu.sh       with more time than 350 s for a half
#     PYTHON=.venv/bin/python bash tests/gpu.sh with another Python
#
# It takes a python3 with CuPy, PyTorch, NumPy, Pillow, click, pytest and hypothesis; where one is missing, and packages
# can be fetched, a virtual environment with all of them. The checkout is used as it is, nothing is installed into it.
# Every part has a time limit of its own, so that one which hangs leaves the others theirs. The exit status is 0 unless
# a test failed or was cut off, or the two sides of a benchmark did not compute the same.
set -uo pipefail
cd "$(dirname "$0")/.."

root=$PWD
half=${1:-both}
case $half in
  both | correctness | speed) ;;
  *) echo "usage: bash tests/gpu.sh [correctness | speed]" >&2 && exit 2 ;;
esac
out=${OUT:-$root/gpu-results}
deadline=$((SECONDS + ${SECONDS_LEFT:-$([ "$half" = both ] && echo 700 || echo 350)}))
mkdir -p "$out"
[ -n "${OUT:-}" ] || echo '*' >"$out/.gitignore"
# One thread for BLAS, for minicoulomb has its own.
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1
python=${PYTHON:-python3}
summary=()
failed=0

# part NAME LIMIT COMMAND...: shows its output, keeps it in NAME.log, notes how it ended; returns its exit status.
part() {
  local name=$1 limit=$2 left=$((deadline - SECONDS)) began=$SECONDS status verdict=passed
  shift 2
  if ((left < 10)); then
    summary+=("$(printf '%-20s not run: no time was left' "$name")")
    return 124
  fi
  ((limit <= left)) || limit=$left
  printf '\n===== %s, at most %d s: %s\n' "$name" "$limit" "$*"
  timeout --kill-after=10 "$limit" "$@" 2>&1 | tee "$out/$name.log"
  status=${PIPESTATUS[0]}
  case $status in
    0) ;;
    124 | 137 | 143) verdict="cut off after $limit s" ;;
    *) verdict="FAILED with status $status" ;;
  esac
  summary+=("$(printf '%-20s %-24s %4d s' "$name" "$verdict" $((SECONDS - began)))")
  return "$status"
}

# A test must pass; of a benchmark, whose figures come one by one, those that it came to are good.
tests() {
  part "$@" || failed=1
}

benchmark() {
  local name=$1 limit=$2
  shift 2
  part "$name" "$limit" "$python" -m benchmarks --backend cupy --json "$out/$name.json" "$@"
  case $? in 0 | 124 | 137 | 143) ;; *) failed=1 ;; esac
}

if ! "$python" -c "import click, cupy, hypothesis, numpy, PIL, pytest, torch"; then
  echo "$python lacks a package: a virtual environment gets them"
  cuda=$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA[^:]*Version: *\([0-9]*\).*/\1/p' | head -1)
  venv=$(mktemp -d)
  trap 'rm -rf "$venv"' EXIT
  "$python" -m venv "$venv"
  python=$venv/bin/python
  tests install 200 "$python" -m pip install -q "cupy-cuda${cuda:-12}x[ctk]>=14" torch numpy pillow click pytest hypothesis
fi

# HIPS autograd is the oracle of three files: small, pure Python, fetched where that is possible and else done without.
numerics=(tests/conv/test_conv.py tests/conv/test_winograd.py tests/test_optim.py tests/test_network.py)
with_oracle=(tests/layers/test_layers.py tests/coulomb/test_coulomb.py tests/test_gan.py)
export PYTHONPATH=$PYTHONPATH:$out/packages
"$python" -c "import autograd" 2>/dev/null || timeout 30 "$python" -m pip install -q --retries 0 --timeout 5 --no-deps \
  --target "$out/packages" autograd >"$out/autograd.log" 2>&1
if "$python" -c "import autograd" 2>/dev/null; then
  numerics+=("${with_oracle[@]}")
else
  summary+=("without the package autograd, not run on the GPU: ${with_oracle[*]}")
fi

# Warnings are errors for the versions that the project is developed with; those of others are shown.
pytest=("$python" -m pytest -q -p no:cacheprovider -W default --tb=short --maxfail=40 --durations=5)
# Most of their time is the compiler's, whom several processes keep busy; each has some hundred MB of the GPU.
workers=$(($(nproc) / 2 > 8 ? 8 : $(nproc) / 2))
((workers > 1)) && "$python" -c "import xdist" 2>/dev/null && pytest+=(-n "$workers")

{
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem --format=csv
  nvidia-smi --query-gpu=clocks.sm,clocks.mem,temperature.gpu,power.draw,pstate,utilization.gpu --format=csv
} 2>&1 | tee "$out/nvidia-smi.log"

check_correctness() {
  tests tests 190 "${pytest[@]}" -m gpu tests/gpu tests/conv/test_cost.py
  tests numerics 150 "${pytest[@]}" --on cupy "${numerics[@]}"
}

# What counts most comes first.
measure_speed() {
  local name workloads=(grid dcgan-32-b128 my-64-b128 my-64-b512) ways=()
  for name in "${workloads[@]}"; do ways+=("graph-$name" "step-$name"); done
  benchmark steps 100 --repeats 3 "${ways[@]}"
  benchmark steps-tf32 90 --repeats 3 --tf32 "${ways[@]}"
  benchmark train 40 train
  benchmark others 50 --repeats 3 potential adam sample fid
  benchmark memory 40 memory-my-64-b128
  benchmark compiled 60 --repeats 3 compiled-grid compiled-dcgan compiled-my-64-b128
  benchmark layers 200 --repeats 3 norm conv
}

"$python" -m minicoulomb info --backend cupy 2>&1 | tee "$out/info.log"
if part proof 60 "$python" -c "from minicoulomb.arrays.backend import open_backend; open_backend('cupy')"; then
  [ "$half" = speed ] || check_correctness
  [ "$half" = correctness ] || measure_speed
else
  failed=1
fi

{
  for name in tests numerics; do
    [ -f "$out/$name.log" ] && printf '%-20s %s\n' "$name" "$(grep -E '(passed|failed|error).* in ' "$out/$name.log" | tail -1)"
  done
  # In the order of what counts, the last where it is seen; layers have a log of their own.
  figures=()
  for name in memory others train compiled steps-tf32 steps; do
    [ -f "$out/$name.json" ] && figures+=("$out/$name.json")
  done
  ((${#figures[@]})) && "$python" -m benchmarks.summary "${figures[@]}"
  printf '%s\n' "${summary[@]}"
} | tee "$out/summary.txt"
exit "$failed"
