"""How the answer is asked for: an untrained model under every wording, in both formats.

    python benchmarks/wordings.py run TASK SOURCE NAME MODEL_DIR OUTPUT_ROOT [OVERRIDE ...]
    python benchmarks/wordings.py table OUTPUT_ROOT > benchmarks/wordings.md

`run` asks the model NAME in MODEL_DIR the test set in SOURCE under the wordings that ship and under the further
candidates in `benchmarks/wordings/`, and keeps the answers in OUTPUT_ROOT. `table` compares all studies there, and
shows how often each wording's answers are correct, whatever their form, and correct in the form asked for.
"""

import argparse
import sys
from pathlib import Path

import yaml
from commands import ROOT, start

from chattpl.manifests import read_summary
from chattpl.results import Summary

HEAD = """# Wordings of the instruction

Untrained models under eleven wordings, made by `benchmarks/wordings.py`. Accuracy by the rule `committed`, which reads
an answer in any form; *strict* wants the form that the wording asks for. The best mean of both formats comes first; a
wording that was asked in one format alone is left out.

| wording | what follows the question |
|---|---|"""
CANDIDATES = ROOT / "benchmarks" / "wordings"
FORMATS = ("chat", "raw")


def run(options: argparse.Namespace) -> int:
    """Ask under every wording; what was asked before is kept."""
    sweep = [
        "--config-dir", str(CANDIDATES), "-m", "method=none", "wording=glob(*)", "eval.format=chat,raw",
        f"task={options.task}", f"task.source={options.source.resolve()}", f"model.name={options.name}",
        f"model.path={options.model.resolve()}", f"output_root={options.output}", *options.overrides,
    ]  # fmt: skip
    return start(sweep).wait()


def texts() -> dict[str, str]:
    """Every wording's name and instruction."""
    shipped = yaml.safe_load((ROOT / "conf" / "wordings.yaml").read_text())
    for path in sorted((CANDIDATES / "wording").glob("*.yaml")):
        shipped |= yaml.safe_load(path.read_text())["wordings"]
    return {name: fields["instruction"] or "" for name, fields in shipped.items()}


def table(options: argparse.Namespace) -> int:
    """Print one table for each study, the best wording first."""
    print(HEAD)
    for name, text in texts().items():
        print(f"| `{name}` | {text or '(nothing)'} |")
    for study in sorted(options.output.iterdir()):
        summaries = [read_summary(path) for path in sorted(study.glob("eval/*/summary.json"))]
        print(f"\n## {study.name}\n\n{_table(summaries)}")
    return 0


def _table(summaries: list[Summary]) -> str:
    cells = {(str(each.inputs["task.wording"]), each.eval_format): each for each in summaries}
    wordings = {wording for wording, form in cells if all((wording, form) in cells for form in FORMATS)}
    order = sorted(wordings, key=lambda wording: -sum(cells[wording, form].accuracy for form in FORMATS))
    lines = [
        "| wording | chat | raw | mean | strict: chat | raw | no answer: chat | raw | truncated: chat | raw |",
        f"|---|{'--:|' * 9}",
    ]
    for wording in order:
        both = [cells[wording, form] for form in FORMATS]
        mean = sum(each.accuracy for each in both) / len(both)
        rates = [each.strict_accuracy for each in both], [each.no_answer_rate for each in both]
        others = [*rates[0], *rates[1], *(each.truncated_rate for each in both)]
        figures = [*(_with_interval(each) for each in both), f"{mean:.1%}", *(f"{rate:.1%}" for rate in others)]
        lines.append(f"| `{wording}` | {' | '.join(figures)} |")
    n, engine = summaries[0].n, summaries[0].engine
    return "\n".join(lines) + f"\n\n{n} questions, greedy, {engine} on {summaries[0].device}."


def _with_interval(summary: Summary) -> str:
    return f"{summary.accuracy:.1%} [{100 * summary.ci_low:.1f}, {100 * summary.ci_high:.1f}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    asking = commands.add_parser("run")
    asking.add_argument("task")
    asking.add_argument("source", type=Path)
    asking.add_argument("name")
    asking.add_argument("model", type=Path)
    asking.add_argument("output", type=Path)
    asking.add_argument("overrides", nargs="*")
    asking.set_defaults(do=run)
    comparing = commands.add_parser("table")
    comparing.add_argument("output", type=Path)
    comparing.set_defaults(do=table)
    options = parser.parse_args()
    return int(options.do(options))


if __name__ == "__main__":
    sys.exit(main())
