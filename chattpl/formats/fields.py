"""The keys of `formats.NAME` that every kind of format has."""

from dataclasses import asdict, dataclass
from typing import Any

from chattpl.errors import UserError


@dataclass(frozen=True)
class FormatFields:
    """A kind of format adds its own. All fields decide the tokens.

    Attributes:
        kind: the row of `KINDS`.
        eos: the token that ends an answer; None for the kind's own choice.
        shots: the number of worked examples before the question.
        turns: whether each example stands as SFT would write it, or all of them within one text.
        teach_empty_thought: train on answers without a thought where the prompt asks for one.
    """

    kind: str
    eos: str | None = None
    shots: int = 0
    turns: bool = True
    teach_empty_thought: bool = False

    @property
    def asks_for_thought(self) -> bool:
        """Whether the fields alone say that the model is to think before it answers."""
        return False

    def check(self, key: str) -> None:
        """Refuse values that have the right type and still make no sense.

        Args:
            key: where the fields stand in the configuration, `formats.NAME`.

        Raises:
            UserError: the first such value, with its key.
        """
        if self.shots < 0:
            raise UserError(f"{key}.shots={self.shots}: must be at least 0")

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON holds them."""
        return asdict(self)
