"""What vLLM completed so far, for whoever watches."""

import io
from typing import Any

from tqdm import tqdm

from chattpl import progress


class CountingBar(tqdm):
    """vLLM's bar that shows nothing and counts for `chattpl.progress`."""

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **{**settings, "file": io.StringIO(), "dynamic_ncols": False, "disable": False})

    def update(self, n: float | None = 1) -> Any:
        """Count `n` more completions."""
        progress.current().count_part(int(self.n + (n or 0)), int(self.total))
        return super().update(n)


def counting() -> type[CountingBar] | bool:
    """vLLM's `use_tqdm`: no bar where nobody watches."""
    return CountingBar if progress.current().watched else False
