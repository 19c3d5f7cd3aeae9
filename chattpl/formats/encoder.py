"""Text to token ids, with what a format writes kept apart from what a sample's content spells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from chattpl.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PRIVATE_USE = range(0xF0000, 0xFFFFE)  # characters for hiding, which no standard assigns


class Encoder:
    """Text to ids: special tokens that the format writes become tokens, those that content spells stay text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self._special: dict[str, int] = {token.content: index for index, token in added.items() if token.special}
        self._flags = {token.content: token for token in added.values() if token.special}
        self._ids = frozenset(self._special.values())
        self._pattern = _any_of(self._special)
        first = tokenizer("a").input_ids[:1]
        self._bos: list[int] = first if tokenizer.bos_token_id is not None and first == [tokenizer.bos_token_id] else []

    def special_ids(self) -> dict[str, int]:
        """Every special token's text and id."""
        return self._special

    def first_special(self, text: str) -> re.Match[str] | None:
        """The first special token spelt in `text`."""
        return self._pattern.search(text)

    def shield(self, *contents: str) -> tuple[Callable[[str], str], Callable[..., list[list[int]]]]:
        """Two functions for texts that hold `contents`: hide the special tokens in a content, and encode texts.

        The hidden form replaces each special token's text by characters that no content holds, so that a template
        can be applied to it and the template's text distinguished from the content's.

        Raises:
            UserError: a content is no text (half a surrogate pair, as JSON can spell one).
        """
        _check_text(*contents)
        if not any(self.first_special(content) for content in contents):
            return (lambda content: content), self.encode
        taken = set[str]().union(*contents)
        mark = next(chr(code) for code in PRIVATE_USE if chr(code) not in taken)
        hidden = {name: f"{mark}{index}{mark}" for index, name in enumerate(self._special)}
        spelt = {form: name for name, form in hidden.items()}
        return (
            lambda content: self._pattern.sub(lambda match: hidden[match[0]], content),
            lambda *texts: [self._encode_hidden(text, spelt) for text in texts],
        )

    def encode(self, *texts: str) -> list[list[int]]:
        """Encode texts without hostile content, each with exactly one BOS where the tokenizer sets one.

        A call of a tokenizer takes long beside the encoding itself, so one encodes all of them.

        Raises:
            UserError: the tokenizer reads as a special token what spells none, such as a character that it does
                not know.
        """
        return [self._checked(text, ids) for text, ids in zip(texts, self._plain_ids(texts), strict=True)]

    def _plain_ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False).input_ids
        return ids

    def _checked(self, text: str, ids: list[int]) -> list[int]:
        if self._count_special(ids) > len(self._pattern.findall(text)):
            found = next((char for char in text if self._count_special(self._plain_ids([char])[0])), None)
            what = "another spelling of a special token" if found is None else f"the character {found!r}"
            raise UserError(
                f"a sample holds {what}, which this tokenizer reads as a special token: change or drop that sample"
            )
        return self.with_bos(ids)

    def with_bos(self, ids: list[int]) -> list[int]:
        """The ids with exactly one BOS before them, where the tokenizer sets one."""
        return ids if ids[: len(self._bos)] == self._bos else self._bos + ids

    def _encode_hidden(self, text: str, spelt: dict[str, str]) -> list[int]:
        """Encode the pieces between the template's special tokens, each as plain text."""
        hidden = _any_of(spelt)
        neutral = hidden.sub("x", text)
        [expected] = self.encode(neutral)
        ids = self._pieces(text, lambda piece: hidden.sub(lambda match: spelt[match[0]], piece))
        if self._pieces(neutral, str) != expected or self._count_special(ids) != self._count_special(expected):
            names = ", ".join(sorted({repr(spelt[form]) for form in hidden.findall(text)}))
            raise UserError(
                f"a sample holds the text of the special token {names}, which this tokenizer cannot encode as text: "
                "change or drop that sample"
            )
        return ids

    def _pieces(self, text: str, spell: Callable[[str], str]) -> list[int]:
        ids: list[int] = []
        position = 0
        strip_next = False
        for match in [*self._pattern.finditer(text), None]:
            piece = text[position : match.start() if match else len(text)]
            piece = piece.lstrip() if strip_next else piece
            if match and self._flags[match[0]].lstrip:
                piece = piece.rstrip()
            if piece:
                plain = self.tokenizer(spell(piece), add_special_tokens=False, split_special_tokens=True)
                ids += plain.input_ids
            if match:
                ids.append(self._special[match[0]])
                position, strip_next = match.end(), self._flags[match[0]].rstrip
        return self.with_bos(ids)

    def _count_special(self, ids: Sequence[int]) -> int:
        return sum(map(self._ids.__contains__, ids))


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    """What matches each of the words, the longest first; nothing where there are none."""
    by_length = sorted(words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, by_length)) or r"(?!)")


def _check_text(*contents: str) -> None:
    for content in contents:
        try:
            content.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"a sample holds {content[error.start]!r} at character {error.start}, half a surrogate pair, which "
                "is no text: change or drop that sample"
            ) from None
