"""The reference of the output files, from the classes that they are written through."""

import inspect
from collections.abc import Iterable

from tables import code, descriptions, field_rows, table

from chattpl.report import samples
from chattpl.report.collect import COMPARISON, OPTIONAL_COMPARISON
from chattpl.report.split import Gap
from chattpl.report.stats import PairedComparison
from chattpl.results import SCHEMA, Result, Summary
from chattpl.train_report import TrainReport

FIELDS = ("field", "type", "meaning")
COLUMNS = ("column", "meaning")
CONTRAST = {
    "family": "which family of comparisons it belongs to",
    "group": "what both sides have in common",
    "first": "the first side",
    "second": "the second side",
    "first_cell": "the cells of the first side",
    "second_cell": "the cells of the second side",
    "rule": "the grading rule",
}


def page() -> str:
    """The whole page."""
    said = descriptions(Summary)
    compared = [(code(name), said.get(name, "")) for name in (*COMPARISON, *OPTIONAL_COMPARISON)]
    columns = inspect.cleandoc(samples.to_frame.__doc__ or "").partition("\n\n")[2]
    return f"""# Output files

```text
outputs/<study>/
  models/<model name>/            a Hugging Face folder: weights, tokenizer, chat template, end tokens
    train.json                    what it was made from and how the training went
    train-<weights>.json          the same of earlier weights, where it was trained again elsewhere
  eval/<model name>_eval_<eval.format>/
    .hydra/                       the composed configuration, the overrides
    main.log
    results.json                  one entry per question
    summary.json                  the figures of the cell
    preview.json                  after stage=preview
  report/
    report.html  report.md        the report in one file that loads nothing; the same as text
    comparison.csv  contrasts.csv  gaps.csv
    samples.parquet               every answer of every cell
    *.png  *.svg                  the figures
  tracking/                       what a tracker writes locally
  .work/                          unfinished work: checkpoints, answers so far, locks
```

JSON files carry `schema`, now {SCHEMA}. A field that is optional is left out where it has no value.

## summary.json

{table(FIELDS, field_rows(Summary))}
## results.json

A list with one entry per question. `answers` holds all answers where `eval.num_samples` is above 1.

{table(FIELDS, field_rows(Result))}
## train.json

{table(FIELDS, field_rows(TrainReport))}
## comparison.csv

One row per cell. After these columns comes `accuracy_RULE` for each grading rule, then those of the last five columns
that some cell has.

{table(COLUMNS, compared)}
## contrasts.csv

One row per comparison and grading rule.

{_compared(CONTRAST, PairedComparison)}
## gaps.csv

One row for each two evaluation formats of a model: why the first has more or fewer right answers than the second.

{_compared([name for name in CONTRAST if name not in ("family", "rule")], Gap)}
## samples.parquet

One row per cell, question and answer.

{columns}

## preview.json

For the first training sample, `train` holds `text`, `token_ids` and `trained` (0 or 1 per token), and `rollout` the
`token_ids` of the prompt. For the first test sample, `eval` holds `text`, `token_ids`, `stop_token_ids` and `stop`.
`parity` is true, or says what differs.
"""


def _compared(names: Iterable[str], found: type) -> str:
    """The columns of a table of comparisons: what is compared, and the fields of what was found."""
    rows = [(code(name), CONTRAST[name]) for name in names]
    return table(COLUMNS, [*rows, *((name, text) for name, _, text in field_rows(found))])
