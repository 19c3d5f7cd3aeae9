"""What Hydra, OmegaConf and the operating system complain of, in one line that names the key and what is possible."""

import errno
import re
import traceback

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from chattpl.cell import flat
from chattpl.errors import UserError, nearest

CONFIGURATION_ERRORS = (UserError, HydraException, OmegaConfBaseException)
# torch.save tells of a full disk in its own words.
TORCH_OUT_OF_SPACE = ("PytorchStreamWriter failed", "inline_container.cc", "iostream error")
OUT_OF_SPACE = ("No space left on device", "Disk quota exceeded", *TORCH_OUT_OF_SPACE)


def complaint(error: Exception) -> str | None:
    """One line about an error that the user can mend; None for any other, which deserves its traceback."""
    return _explain(error) if isinstance(error, CONFIGURATION_ERRORS) else _mendable(error)


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
    from omegaconf import OmegaConf

    from chattpl.config import Config

    tree = OmegaConf.to_container(OmegaConf.structured(Config), throw_on_missing=False)
    return [*flat(tree), "model", "task", "train_format", "method", "masking", "eval_format", "experiment"]


def _missing_config(text: str) -> str:
    """Hydra's message lists the options of a group one to a line."""
    found = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if not found:
        return _one_line(text)
    group, value = found.groups()
    options = [
        line.strip() for line in text.partition("Available options in")[2].splitlines()[1:] if line.startswith("\t")
    ]
    possible = nearest(value, options) if options else ""
    extra = "; the launchers of clusters come with pip install -e '.[cluster]'" if group == "hydra/launcher" else ""
    return f"{group}={value}: no such value{possible}{extra}"


def _mendable(error: Exception) -> str | None:
    """One line about an error of the machine that the user can mend, or None if this is none."""
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
