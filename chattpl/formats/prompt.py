"""A prompt of the configuration: text with one place for the question."""

from chattpl.errors import UserError

PLACE = "{question}"


def check_prompt(key: str, prompt: str) -> None:
    """Refuse a prompt that does not hold the place exactly once; `key` is the format's, `formats.NAME`.

    Raises:
        UserError: with the key.
    """
    if (count := prompt.count(PLACE)) != 1:
        raise UserError(f"{key}.prompt: must hold '{PLACE}' once, holds it {count} times")


def in_prompt(prompt: str, question: str) -> str:
    """The prompt around the question."""
    return prompt.replace(PLACE, question)
