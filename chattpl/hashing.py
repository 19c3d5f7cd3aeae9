"""One digest for everything that is compared: inputs, prompts, samples, seeds."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest(content: Any) -> str:
    """SHA-256 of any JSON value, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def canonical(content: Any) -> str:
    """A JSON value as text: two are equal if and only if their texts are."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False)


def seed_of(*parts: int) -> int:
    """A seed of 31 bits that depends on all of `parts`."""
    return int(digest(list(parts))[:8], 16) >> 1


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one level of dotted keys; an empty mapping stays a value."""
    result: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value
    return result
