"""What a user gets wrong: one line that names the key and what is possible, at once, and nothing left behind."""

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import command
from conftest import ROOT, run_main

from chattpl.basemodel import EMBEDDED

PYTHONPATH = {**os.environ, "PYTHONPATH": str(ROOT)}
GOOD_ROW = {"question": "2 + 3?", "answer": "2 + 3 = 5\n#### 5"}


class Case(NamedTuple):
    """A command, and what its one line must say. `{bad}` stands for the folder of bad models and data."""

    name: str
    arguments: list[str]
    says: list[str]


def case(name: str, arguments: str | list[str], *says: str) -> Case:
    return Case(name, arguments.split() if isinstance(arguments, str) else arguments, list(says))


NAMES = [
    case("format", "train.format=chatt", "train.format=chatt", "'chat'"),
    case("evaluation format", "eval.format=row", "eval.format=row", "'raw'"),
    case("format group", "train_format=chatt", "train_format=chatt", "'chat'"),
    case("evaluation format group", "eval_format=rawr", "eval_format=rawr", "'raw'"),
    case("method", "train.method=stf", "train.method=stf", "'sft'"),
    case("method group", "method=grppo", "method=grppo", "'grpo'"),
    case("masking", "train.masking=answers", "train.masking=answers", "'answer'"),
    case("task", "task=gsm8", "task=gsm8", "'gsm8k'"),
    case("model", "model=qwen3_4", "model=qwen3_4", "'qwen3_4b'"),
    case("experiment", "experiment=sft_chat_templat", "experiment=sft_chat_templat", "'sft_chat_template'"),
    case("stage", "stage=trian", "stage=trian", "'train'"),
    case("engine", "engine.name=vlm", "engine.name=vlm", "'vllm'"),
    case("device", "device=gpu", "device=gpu", "cuda"),
    case("dtype", "model.dtype=fp16", "model.dtype=fp16", "'float16'"),
    case("key at the top", "sead=1", "sead", "'seed'"),
    case("key in a node", "eval.max_token=5", "eval.max_token", "'eval.max_tokens'"),
    case("key of the model", "model.pth=/x", "model.pth", "'model.path'"),
    case("added key", "+new=1", "new", "no such key"),
    case("added key in a node", "+eval.beams=2", "eval.beams", "no such key"),
    case("key of a format", "formats.raw.promt=x", "formats.raw.promt"),
    case("option", "--stage report", "--stage"),
    case("option without its value", "--config-dir", "--config-dir", "expected one argument"),
    case("group", "mode=tiny", "mode", "'model'"),
    case("kind of format", ["+formats.mine={kind: row}"], "formats.mine.kind=row", "'raw'"),
    case("TRL field of SFT", "sft.learning_rat=1e-3", "sft.learning_rat", "'learning_rate'"),
    case("TRL field of GRPO", "train.method=grpo grpo.num_generation=4", "grpo.num_generation", "'num_generations'"),
    case("field that is chattpl's", "sft.output_dir=/tmp/x", "sft.output_dir", "cannot be set"),
    case("optimizer without masters", "model=qwen3_0_6b sft.optim=adafactor", "sft.optim=adafactor", "adamw_torch"),
    case("no card", "gpus=0", "gpus=0", "between 1"),
    case("several cards with another optimizer", "gpus=2 sft.optim=lion_32bit", "gpus=2", "sft.optim=adamw_torch"),
    case(
        "several cards without masters",
        "gpus=2 model.train_dtype=bfloat16 model.master_weights=false",
        "gpus=2",
        "model.master_weights=true",
    ),
    case("several cards in part", "gpus=2 gpu_share=0.5", "gpus=2", "gpu_share=1"),
    case("a share of no card", "gpu_share=0", "gpu_share=0", "between 0.01"),
    case("masters in float16", "model.train_dtype=float16", "model.train_dtype=float16", "model.master_weights=false"),
    case("seed of the trainer", "sft.seed=3", "sft.seed", "seed="),
    case("checkpoints without the optimizer", "sft.save_only_model=true", "sft.save_only_model", "resumed"),
    case("data that is not skipped", "sft.ignore_data_skip=true", "sft.ignore_data_skip", "resumed"),
    case("tracker of the trainer", "sft.report_to=wandb", "sft.report_to", "tracker="),
    case("tracker", "tracker=wanb", "tracker=wanb", "'wandb'"),
    case("objective", "objective=acuracy", "objective=acuracy", "'accuracy'"),
    case("key of another kind of format", "formats.raw.system=x", "formats.raw.system", "no such key"),
    case("Hydra's run folder", "hydra.run.dir=/tmp/x", "hydra.run.dir", "output_root"),
    case("Hydra's sweep folder", "-m hydra.sweep.dir=/tmp/x seed=0,1", "hydra.sweep.dir", "output_root"),
    case("Hydra's working directory", "hydra.job.chdir=true", "hydra.job.chdir", "output_root"),
    case("two commands", "-m --cfg job", "--multirun", "--cfg"),
    case("flag without its command", "--resolve", "--resolve", "--cfg"),
    case("sweeper", "-m hydra/sweeper=cell seed=0,1", "hydra/sweeper=cell", "'cells'"),
    case("search without a search", ["-m", "sft.learning_rate=interval(0,1)"], "interval(0,1)", "sweeper"),
    case("vLLM of the trainer", "train.method=grpo grpo.use_vllm=true", "grpo.use_vllm", "engine"),
    case("key of the task", "task.sorce=/x", "task.sorce", "no such key"),
    case("glob without a match", ["-m", "experiment=glob(xyz*)"], "glob", "nothing"),
]
VALUES = [
    case("text for a seed", "seed=abc", "seed", "abc"),
    case("negative seed", "seed=-1", "seed=-1", "0"),
    case("fraction of a token", "eval.max_tokens=1.5", "eval.max_tokens", "1.5"),
    case("no token", "eval.max_tokens=0", "eval.max_tokens=0", "1"),
    case("text for a temperature", "eval.temperature=hot", "eval.temperature", "hot"),
    case("negative temperature", "eval.temperature=-1", "eval.temperature=-1"),
    case("nucleus above one", "eval.top_p=2", "eval.top_p=2"),
    case("negative limit", "task.train_limit=-1", "task.train_limit=-1", "at least 1"),
    case("text for a limit", "task.test_limit=all", "task.test_limit=all", "int"),
    case("text for a truth value", "overwrite=maybe", "overwrite", "maybe"),
    case("number for a list", "eval.stop=5", "eval.stop"),
    case("mapping for text", "study={a:1}", "study"),
    case("text for a TRL number", "sft.learning_rate=fast", "sft.learning_rate", "float"),
    case("truth value for a TRL number", "sft.max_steps=true", "sft.max_steps", "int"),
    case("number for a TRL truth value", "sft.bf16=2", "sft.bf16", "bool"),
    case("group size", "train.method=grpo grpo.num_generations=7", "grpo.num_generations=7", "divide"),
    case("group of one", "train.method=grpo grpo.num_generations=1", "grpo.num_generations=1", "at least 2"),
    case("greedy rollouts", "train.method=grpo grpo.temperature=0", "grpo.temperature=0", "above 0"),
    case("rollouts of no token", "train.method=grpo grpo.max_completion_length=0", "grpo.max_completion_length=0"),
    case("share of a GPU", "engine.gpu_memory_utilization=2", "engine.gpu_memory_utilization=2", "1"),
    case("eager and compiled", "engine.enforce_eager=true engine.compile=true", "engine.compile=true", "enforce_eager"),
    case("context of no token", "engine.max_model_len=0", "engine.max_model_len=0", "1"),
    case("negative shots", "formats.raw.shots=-1", "formats.raw.shots=-1", "at least 0"),
    case("more shots than samples", "eval.format=raw formats.raw.shots=99999", "99999", "2000 training samples"),
    case("samples without temperature", "eval.num_samples=4", "eval.num_samples=4", "eval.temperature"),
    case("stop string in a line", ["eval.stop=['Question:']"], "eval.stop", "line break"),
    case("prompt without a question", ["formats.raw.prompt=Answer me"], "formats.raw.prompt", "{question}", "0 times"),
    case("two questions", ["formats.raw.prompt='{question} {question}'"], "formats.raw.prompt", "2 times"),
    case("format without a kind", ["+formats.mine={prompt: '{question}'}"], "formats.mine.kind"),
    case("answers longer than the context", "eval.max_tokens=100000", "eval.max_tokens=100000", "1024"),
    case("context longer than the model's", "engine.max_model_len=9999", "engine.max_model_len=9999", "1024"),
    case("empty value", "train.method=", "train.method"),
    case("null for a number", "eval.max_tokens=null", "eval.max_tokens"),
    case("override without a value", "sft", "sft"),
    case("unbalanced brackets", ["formats.raw.prompt={a"], "formats.raw.prompt={a"),
    case("missing interpolation", ["study=${nope}"], "study", "nope"),
    case("launcher", "-m hydra/launcher=slurm seed=1,2", "hydra/launcher=slurm", "[cluster]"),
    case("sweep without -m", "seed=1,2", "seed"),
    case("nothing of a sweep's values", ["-m", "seed="], "seed"),
]
PLACES = [
    case("study outside", "study=../../x", "study=../../x"),
    case("absolute study", "study=/tmp/x", "study=/tmp/x"),
    case("hidden study", "study=.work", "study=.work"),
    case("empty study", "study=", "study"),
    case("format outside", "--config-dir {bad}/conf experiment=escape", "formats.../x"),
    case("format that reads as another", ["+formats.a_eval_b={kind: raw}"], "formats.a_eval_b"),
    case("name of a task outside", "task.name=../x study=x", "task.name=../x"),
    case("output_root in a file", "output_root={bad}/file/outputs", "{bad}/file"),
    case("output_root that takes no folder", "output_root=/proc/chattpl", "/proc/chattpl"),
    case("sweep into a file", ["-m", "output_root={bad}/file/outputs", "seed=1,2"], "{bad}/file"),
    case("sweep where no folder can be", ["-m", "output_root=/proc/chattpl", "seed=1,2"], "/proc/chattpl"),
    case("report of nothing", "stage=report", "arithmetic-tiny"),
    case("report of nothing in a sweep", ["-m", "stage=report", "eval.format=chat,raw"], "arithmetic-tiny"),
    case("evaluation before training", "stage=eval", "stage=eval", "sft_chat_template", "stage=train"),
]
MODELS = [
    case("no folder", "model.path={bad}/none", "model.path={bad}/none"),
    case("file for a folder", "model.path={bad}/file", "model.path={bad}/file"),
    case("empty path", "model.path=", "model.path"),
    case("folder without a model", "model.path={bad}/empty", "model.path={bad}/empty", "config.json is missing"),
    case("configuration that is no JSON", "model.path={bad}/config", "config.json", "cannot be read"),
    case("truncated weights", "model.path={bad}/truncated", "model.safetensors", "bytes"),
    case("corrupt weights", "model.path={bad}/corrupt", "model.safetensors", "no safetensors file"),
    case("empty weights", "model.path={bad}/no_bytes", "model.safetensors", "no safetensors file"),
    case("pickled weights", "model.path={bad}/pickle", "{bad}/pickle", "safetensors"),
    case("missing shard", "model.path={bad}/shards", "model-00002-of-00002.safetensors", "missing"),
    case("no tokenizer", "model.path={bad}/mute", "{bad}/mute", "tokenizer"),
    case("training in a template that is not there", "model.path={bad}/plain eval.format=raw", "train.format=chat"),
    case("asking in a template that is not there", "model.path={bad}/plain train.format=raw", "eval.format=chat"),
    case("unreadable tokenizer settings", "model.path={bad}/garbled", "tokenizer_config.json"),
]
DATA = [
    case("no folder", "task=gsm8k task.source={bad}/none", "task.source={bad}/none"),
    case("no file", "task=gsm8k task.source={bad}/empty", "{bad}/empty/train.jsonl"),
    case("empty file", "task=gsm8k task.source={bad}/blank", "{bad}/blank/train.jsonl", "empty"),
    case("malformed line", "task=gsm8k task.source={bad}/malformed", "{bad}/malformed/train.jsonl:2"),
    case("line that is no object", "task=gsm8k task.source={bad}/list", "{bad}/list/train.jsonl:2"),
    case("missing field", "task=gsm8k task.source={bad}/field", "{bad}/field/train.jsonl:2", "'answer'"),
    case("no gold answer", "task=gsm8k task.source={bad}/gold", "{bad}/gold/train.jsonl:2", "gold"),
    case("not UTF-8", "task=gsm8k task.source={bad}/latin", "{bad}/latin/train.jsonl:2", "UTF-8"),
    case("bad test set", "train.method=none task=gsm8k task.source={bad}/test", "{bad}/test/test.jsonl:1"),
    case("no training set", "task=math500 task.source={bad}/test", "{bad}/test", "train.jsonl"),
]
TASKS = [
    case("no such module", "task._target_=nowhere.Task", "task._target_=nowhere.Task", "nowhere"),
    case("no such class", "task._target_=chattpl.tasks.Nothing", "task._target_=chattpl.tasks.Nothing"),
    case("no task", "task._target_=collections.Counter", "task._target_=collections.Counter", "Task"),
    case("no class at all", "task._target_=os.getcwd", "task._target_=os.getcwd"),
    case("needed key", "task._target_=own_tasks.Needy", "task.path"),
    case("unknown key", "task._target_=own_tasks.Needy +task.path=x task.colour=red", "task.colour"),
    case("abstract", "task._target_=own_tasks.Half", "own_tasks.Half"),
    case("cannot be imported", "task._target_=own_broken.Any", "own_broken.Any"),
    case("no gold", "task._target_=own_tasks.Goldless", "gold"),
    case("no samples", "task._target_=own_tasks.Hollow", "no train sample"),
    case("number for gold", "task._target_=own_tasks.Numeric", "gold", "7"),
]
OWN_TASKS = """
from chattpl.tasks import Sample, Task

class Half(Task):
    def name(self): return "half"

class Own(Task):
    def name(self): return "own"
    def samples(self): return [Sample("q", "a", "g")]
    def load_train(self): return self.samples()
    def load_test(self): return self.samples()
    def extract_answer(self, model_output): return model_output
    def check_answer(self, extracted, gold): return extracted == gold

class Needy(Own):
    def __init__(self, path): pass

class Goldless(Own):
    def samples(self): return [Sample("q", "a", " ")]

class Hollow(Own):
    def samples(self): return []

class Numeric(Own):
    def samples(self): return [Sample("q", "a", 7)]
"""
ESCAPE = """
# @package _global_
formats:
  ../x: {kind: raw}
"""
ALL = [
    pytest.param(case, id=f"{group}: {case.name}")
    for group, cases in {
        "names": NAMES, "values": VALUES, "places": PLACES, "models": MODELS, "data": DATA, "tasks": TASKS
    }.items()
    for case in cases
]  # fmt: skip


@pytest.fixture(scope="session")
def bad(tmp_path_factory) -> Path:
    """A folder of models and data sets, each wrong in one way."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "file").write_text("a file")
    (folder / "empty").mkdir()
    _bad_models(folder)
    good = json.dumps(GOOD_ROW).encode()
    second_lines = {
        "blank": None,
        "malformed": b'{"question": "2 + 3?"',
        "list": b"[1, 2]",
        "field": b'{"question": "2 + 3?"}',
        "gold": b'{"question": "2 + 3?", "answer": "five"}',
        "latin": b'{"question": "\xe9", "answer": "#### 5"}',
    }
    for name, line in second_lines.items():
        (folder / name).mkdir()
        (folder / name / "train.jsonl").write_bytes(b"\n" if line is None else good + b"\n" + line + b"\n")
        (folder / name / "test.jsonl").write_bytes(good + b"\n")
    (folder / "test").mkdir()
    (folder / "test" / "test.jsonl").write_bytes(b"{}\n")
    (folder / "conf" / "experiment").mkdir(parents=True)
    (folder / "conf" / "experiment" / "escape.yaml").write_text(ESCAPE)
    (folder / "modules").mkdir()
    (folder / "modules" / "own_tasks.py").write_text(OWN_TASKS)
    (folder / "modules" / "own_broken.py").write_text("import nowhere_at_all\n")
    return folder


def _bad_models(folder: Path) -> None:
    weights = (EMBEDDED / "model.safetensors").read_bytes()
    for name in ("config", "truncated", "corrupt", "no_bytes", "pickle", "shards", "mute", "plain", "garbled"):
        shutil.copytree(EMBEDDED, folder / name)
    (folder / "config" / "config.json").write_text("{")
    (folder / "truncated" / "model.safetensors").write_bytes(weights[:-100])
    (folder / "corrupt" / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + weights[8:])
    (folder / "no_bytes" / "model.safetensors").write_bytes(b"")
    (folder / "pickle" / "model.safetensors").rename(folder / "pickle" / "pytorch_model.bin")
    (folder / "shards" / "model.safetensors").rename(folder / "shards" / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "shards" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    for tokenizer_file in (folder / "mute").glob("tokenizer*"):
        tokenizer_file.unlink()
    (folder / "plain" / "chat_template.jinja").unlink()
    (folder / "garbled" / "chat_template.jinja").unlink()
    (folder / "garbled" / "tokenizer_config.json").write_text("{")


def assert_one_line(status: int, err: str, says: list[str], cwd: Path) -> None:
    assert status == 1, err
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    for words in says:
        assert words in lines[0], lines[0]
    assert not list(cwd.iterdir())


@pytest.mark.parametrize("case", ALL)
def test_a_mistake_gets_one_line_that_names_it(case, bad, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(bad / "modules")
    arguments = [argument.replace("{bad}", str(bad)) for argument in case.arguments]
    ended = command(*arguments, cwd=tmp_path)
    assert_one_line(ended.status, ended.err, [words.replace("{bad}", str(bad)) for words in case.says], tmp_path)
    assert ended.seconds < 5


@pytest.mark.parametrize(
    "arguments",
    [
        "sead=1",
        "task=gsm8k task.source={bad}/malformed",
        "model.path={bad}/truncated",
        "-m train.method=sft,grpoo train.format=chatt",
    ],
)
def test_a_process_of_its_own_takes_less_than_five_seconds_of_the_processor(bad, tmp_path, arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run_main(*arguments.replace("{bad}", str(bad)).split(), cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
    assert done.returncode == 1
    *listed, last = done.stderr.splitlines()
    assert last.startswith("error: ")
    assert all(line.startswith("failed: ") for line in listed)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["eval.format=rawr"], ["task=gsm8k", "task.source={bad}/gold"]])
def test_nothing_heavy_is_imported_for_a_mistake(bad, tmp_path, arguments):
    code = (
        "import sys\nfrom chattpl.main import main\ntry: main()\nfinally:\n"
        "    heavy = {'torch', 'transformers', 'trl', 'vllm', 'datasets', 'pandas', 'scipy', 'matplotlib'}\n"
        "    print(sorted(heavy & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code, *(argument.replace("{bad}", str(bad)) for argument in arguments)]
    done = subprocess.run(command, cwd=tmp_path, env=PYTHONPATH, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_vllm_by_name_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    ended = command("engine.name=vllm", cwd=tmp_path)
    assert_one_line(ended.status, ended.err, ["engine.name=vllm", "not installed"], tmp_path)


def test_more_gpus_than_there_are(tmp_path, monkeypatch):
    import torch

    from chattpl.generation import device

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    device.resolved_device.cache_clear()
    try:
        ended = command("gpus=4", cwd=tmp_path)
    finally:
        device.resolved_device.cache_clear()
    assert ended.status == 1
    assert ended.err.startswith("error: gpus=4: this process sees 2")
    assert "set gpus=2" in ended.err


def test_a_gpu_where_there_is_none(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    ended = command("device=cuda", cwd=tmp_path)
    assert_one_line(ended.status, ended.err, ["device=cuda", "no GPU"], tmp_path)


def test_a_length_at_which_no_sample_fits(tmp_path):
    ended = command("sft.max_length=1", cwd=tmp_path)
    assert ended.status == 1
    assert ended.err.splitlines()[-1] == "error: sft.max_length=1: none of the 2000 training samples fits"
    assert "Traceback" not in ended.err


def test_an_end_token_that_the_model_does_not_have(tmp_path):
    ended = command("formats.chat.eos='<nope>'", cwd=tmp_path)
    assert ended.status == 1
    assert ended.err.splitlines()[-1].startswith("error: formats.chat.eos: '<nope>' is not one special token")


def test_a_mistake_in_every_job_of_a_sweep_is_told_once(tmp_path):
    ended = command("-m", "train.method=sft,grpo", "eval.format=chat,raw", "eval.max_tokens=0", cwd=tmp_path)
    assert_one_line(ended.status, ended.err, ["eval.max_tokens=0"], tmp_path)
