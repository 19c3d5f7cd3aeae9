"""Question to prompt token ids, answer to answer token ids, and how generation ends.

The only place where a template is applied. SFT, GRPO's rollouts, evaluation and preview all call
`Format.prompt_ids`, so one question has one prompt. Two formats of the same question, with the embedded model:

    chat  <|im_start|>user⏎{question}<|im_end|>⏎<|im_start|>assistant⏎<think>⏎⏎</think>⏎⏎ | {answer}<|im_end|>
    raw   Question: {question}⏎Answer: | {answer}<|endoftext|>

The bar is where the prompt ends and the answer begins. Text that comes from a sample is content: where it spells a
special token it is encoded as the text it is, never as the token.

A kind of format is one file with a class of fields and a class of format, and one row of `KINDS`
(`chattpl/formats/kinds.py`).
"""

from chattpl.formats.base import Example, Format, FormatFields
from chattpl.formats.chat import ChatFields, ChatFormat
from chattpl.formats.kinds import KINDS, make_format, parse_fields
from chattpl.formats.raw import RawFields, RawFormat
from chattpl.formats.stop import StopPolicy, decode_completion, stop_policy
from chattpl.formats.thought import check_thoughts, split_thought

__all__ = [
    "KINDS",
    "ChatFields",
    "ChatFormat",
    "Example",
    "Format",
    "FormatFields",
    "RawFields",
    "RawFormat",
    "StopPolicy",
    "check_thoughts",
    "decode_completion",
    "make_format",
    "parse_fields",
    "split_thought",
    "stop_policy",
]
