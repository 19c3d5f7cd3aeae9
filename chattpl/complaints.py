"""How a command ends: its exit status, and one line for an error of Hydra, OmegaConf or the machine."""

import contextlib
import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from chattpl.errors import Interrupted, UserError, nearest
from chattpl.hashing import flat

# What to install for what is not there.
EXTRAS = {
    "hydra/launcher": "; the launchers of clusters come with pip install 'chattpl[cluster]'",
    "hydra/sweeper": "; sweepers that search come with pip install 'chattpl[search]'",
    "hydra/sweeper/sampler": "; sweepers that search come with pip install 'chattpl[search]'",
}
CONFIGURATION_ERRORS = (UserError, HydraException, OmegaConfBaseException)
# How torch.save reports a full disk.
TORCH_OUT_OF_SPACE = ("PytorchStreamWriter failed", "inline_container.cc", "iostream error")
OUT_OF_SPACE = ("No space left on device", "Disk quota exceeded", *TORCH_OUT_OF_SPACE)


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """End the process as the command line promises.

    0 when done; 1 and one line on standard error for a user error; 128 and the signal's number when interrupted. Any
    other error shows its traceback. Whoever reads the output may stop reading (`| head`).
    """
    try:
        yield
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        line = complaint(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)
    except Interrupted as interrupted:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        sys.exit(128 + interrupted.signum)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        _write_out()


def _write_out() -> None:
    """Write what was printed. Where nobody reads it any more, drop it, or Python complains when it flushes at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complaint(error: Exception) -> str | None:
    """One line about a user error or a full disk and the like; None for any other, which deserves its traceback."""
    return _explain(error) if isinstance(error, CONFIGURATION_ERRORS) else _of_the_machine(error)


def _explain(error: Exception) -> str:
    """One line about an error in what the user typed."""
    if isinstance(error, UserError):
        return _one_line(str(error))
    if isinstance(error, OverrideParseException):
        return _one_line(f"{error.override}: cannot be read as KEY=VALUE: {str(error).partition(chr(10))[2]}")
    if isinstance(error, MissingConfigException):
        return _missing_config(str(error))
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if (key := _unknown_key(error, cause)) is not None:
        return f"{key}: no such key{nearest(key, _all_keys())}"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    told = [
        line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type=", "See https"))
    ]
    key = getattr(cause, "full_key", None) or _overridden(str(error))
    return _one_line(": ".join([part for part in (key, " ".join(told)) if part]))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _overridden(text: str) -> str | None:
    found = re.search(r"Could not override '([^']+)'", text) or re.search(r"Error merging override (\S+?)=", text)
    return found[1].lstrip("+~") if found else None


def _unknown_key(error: BaseException, cause: BaseException) -> str | None:
    text = f"{error}\n{cause}"
    if "not in struct" not in text and not re.search(r"Key '[^']+' not in '", text):
        return None
    return getattr(cause, "full_key", None) or _overridden(text)


def _all_keys() -> list[str]:
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from chattpl.hydra_app import configuration_folder

    schema = ConfigStore.instance().load("schema.yaml").node  # what `chattpl.schema` registered
    tree: Any = OmegaConf.to_container(schema, throw_on_missing=False)
    groups = sorted(path.name for path in configuration_folder().iterdir() if path.is_dir() and path.name != "hydra")
    return [*flat(tree), *groups]


def _missing_config(text: str) -> str:
    """Hydra's message lists the options of a group one to a line."""
    found = re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", text)
    if not found:
        return _one_line(text)
    group, value = found.groups()
    listed = text.partition("Available options in")[2].partition("Config search path")[0]
    options = [line.strip() for line in listed.splitlines()[1:] if line.startswith("\t")]
    possible = nearest(value, options) if options else ""
    extra = EXTRAS.get(group, "")
    return f"{group}={value}: no such value{possible}{extra}"


def _of_the_machine(error: Exception) -> str | None:
    """One line about an error of the disk or its permissions, or None if this is none."""
    chain = list(traceback.TracebackException.from_exception(error).format_exception_only())
    text = "".join(chain)
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or any(
        m in text for m in OUT_OF_SPACE
    ):
        return f"no space left ({_one_line(text)}); what was finished is kept: make room and run the same command again"
    if isinstance(error, PermissionError | IsADirectoryError | NotADirectoryError) or (
        isinstance(error, OSError) and error.errno in (errno.EROFS, errno.ENAMETOOLONG)
    ):
        return f"cannot write {error.filename} ({error.strerror})"
    return None
