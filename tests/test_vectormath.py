"""The same bits in every process: MKL's vector functions are first called by one thread."""

import json
import os
import subprocess
import sys

import pytest

# As the last line, how many elements each vector function got in its first call of the process and at most.
WATCHED = """
import json, sys
from torch.utils._python_dispatch import TorchDispatchMode
from chattpl.main import main
from chattpl.vectormath import FUNCTIONS

NAMES = {f"aten::{function.__name__}" for function in FUNCTIONS}
sizes = {}

class Watch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.rstrip("_")
        if name in NAMES and args[0].is_floating_point():
            sizes.setdefault(name, []).append(args[0].numel())
        return function(*args, **kwargs or {})

with Watch():
    main()
print(json.dumps({name: [calls[0], max(calls)] for name, calls in sizes.items()}))
"""


@pytest.mark.parametrize("command", ["stage=train", "train.method=none"], ids=["training", "evaluating"])
def test_no_vector_function_is_first_called_by_several_threads(command, micro, no_vllm, tmp_path):
    arguments = [sys.executable, "-c", WATCHED, *micro, command]
    environment = {**os.environ, "PYTHONPATH": no_vllm}
    ended = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    sizes = json.loads(ended.stdout.splitlines()[-1])
    assert sizes["aten::cos"][1] > 2048  # what PyTorch gives to one thread
    assert {name: first for name, (first, _) in sizes.items() if first > 1} == {}
