#!/usr/bin/env bash
# All that a GPU can show of this checkout, within ten minutes: that it computes right, and how fast beside PyTorch.
#
#     bash tests/gpu.sh                         logs, JSON and a summary go to ./gpu-results, or to $OUT where it is set
#     SECONDS_LEFT=1500 bash tests/gpu.sh       with more time than 570 s
#     PYTHON=.venv/bin/python bash tests/gpu.sh with another Python
#
# It takes a python3 with CuPy, PyTorch, NumPy, Pillow, click, pytest and hypothesis; where one is missing, and packages
# can be fetched, a virtual environment with all of them. The checkout is used as it is, nothing is installed into it.
# Every part has a time limit of its own, so that one which hangs leaves the others theirs. The exit status is 0 unless
# a test failed or was cut off, or the two sides of a benchmark did not compute the same.
set -uo pipefail
cd "$(dirname "$0")/.."

root=$PWD
out=${OUT:-$root/gpu-results}
deadline=$((SECONDS + ${SECONDS_LEFT:-570}))
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

steps=(step-grid step-dcgan-32-b128 step-my-64-b128 step-my-64-b512)
"$python" -m minicoulomb info --backend cupy 2>&1 | tee "$out/info.log"
if part proof 60 "$python" -c "from minicoulomb.arrays.backend import open_backend; open_backend('cupy')"; then
  # What counts most comes first.
  benchmark steps 150 "${steps[@]}"
  tests tests 200 "${pytest[@]}" -m gpu tests/gpu/test_gpu.py tests/gpu/test_device.py
  benchmark steps-tf32 90 --tf32 "${steps[@]}"
  benchmark potential-adam 60 potential adam
  tests numerics 120 "${pytest[@]}" --on cupy "${numerics[@]}"
  benchmark memory 60 memory-my-64-b128
  benchmark layers 200 --repeats 3 norm conv
else
  failed=1
fi

{
  for name in layers memory potential-adam steps-tf32 steps; do  # what matters most stands last, where it is seen
    [ -f "$out/$name.log" ] || continue
    printf '\n%s\n' "$name"
    shown='^(\||- |Error)'
    [ "$name" = layers ] && shown='^(\||Error)'
    grep -E "$shown" "$out/$name.log" | cut -c 1-330
  done
  printf '\n'
  for name in tests numerics; do
    [ -f "$out/$name.log" ] && printf '%-20s %s\n' "$name" "$(grep -E '(passed|failed|error).* in ' "$out/$name.log" | tail -1)"
  done
  printf '%s\n' "${summary[@]}"
} | tee "$out/summary.txt"
exit "$failed"
