#!/usr/bin/env bash
# What does the chat template do? The whole experiment: five fine-tuned models and the untrained one, each
# evaluated with and without the chat template; twelve cells, then the report.
#
#   ./multirun.sh                                on the embedded model, in minutes on two CPU cores
#   ./multirun.sh model=qwen3_4b task=gsm8k      the original experiment's, on a GPU of 80 GB
#   ./multirun.sh --setup                        only make or refresh the environment in .venv
#
# On a machine with several GPUs, models are trained side by side, a GPU each (conf/hydra/launcher/ray_gpu.yaml).
# What is finished is kept: run it again after an interruption, or with more in the sweep.
set -euo pipefail
cd "$(dirname "$0")"

python=.venv/bin/python

# A GPU machine takes vLLM as it comes, any other its CPU build.
gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ' || true)
if [ "$gpus" -gt 0 ]; then platform=gpu; else platform=cpu; fi

# uv where it is there, else pip. uv does not read pip's settings, so the folders of wheels that pip knows are handed to it.
install() {
  if command -v uv >/dev/null; then
    local links
    links=$("$python" -m pip config list 2>/dev/null | sed -n "s/^[^=]*find-links='\(.*\)'$/\1/p" | head -n 1)
    UV_FIND_LINKS=${UV_FIND_LINKS:-$links} uv pip install --quiet --python "$python" "$@" && return
    echo "uv could not; trying pip" >&2
  fi
  "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

setup() {
  local interpreter=${PYTHON:-python3}
  "$interpreter" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || {
    echo "error: Python 3.11 to 3.13 is needed, this is $("$interpreter" --version); set PYTHON=" >&2
    exit 1
  }
  echo "setting up .venv for this machine ($platform); this happens once and takes some minutes"
  "$interpreter" -m venv .venv
  if [ "$platform" = cpu ]; then
    # The CPU build of PyTorch is not on PyPI. Where pip knows a place that has it, that is taken.
    local torch
    torch=$("$python" -c 'import tomllib; print(next(r for r in tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["cpu"] if r.startswith("torch==")))')
    install "$torch+cpu" 2>/dev/null || install --index-url https://download.pytorch.org/whl/cpu "$torch"
  fi
  install -e ".[$platform,search,test,dev,docs]"
  if [ "$platform" = cpu ]; then
    # They come with vLLM as CUDA builds, are not used, and break `import transformers` beside a CPU build of torch.
    "$python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec 2>/dev/null
  fi
  cp pyproject.toml .venv/pyproject.installed
}

cmp -s pyproject.toml .venv/pyproject.installed || setup
if [ "${1:-}" = --setup ]; then exit 0; fi

# Of the GPUs those count that CUDA sees; a launcher that was named stays.
if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then gpus=$(tr , '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c . || true); fi
launcher=()
if [ "$platform" = gpu ] && [ "$gpus" -gt 1 ] && [[ " $*" != *" hydra/launcher="* ]]; then
  launcher=(hydra/launcher=ray_gpu)
fi

# experiment: how the model was trained (conf/experiment). eval.format: how it is asked.
exec "$python" -m chattpl.main -m 'experiment=glob(*)' eval.format=chat,raw ${launcher[@]+"${launcher[@]}"} "$@"
