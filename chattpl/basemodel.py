"""The base model: where its files are, whether they are complete, what they say about it.

Nothing here loads weights. Only safetensors are read: unpickling a file runs what it says.
"""

import functools
import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chattpl import hub
from chattpl.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EMBEDDED = Path(__file__).parent / "tiny" / "model"
# What belongs to a model, in its folder or repository.
FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "additional_chat_templates/*.jinja")
CODE = "*.py"  # belongs to it where `model.trust_remote_code` lets it run
MISTRAL_WEIGHTS = "consolidated*.safetensors"  # a second copy, in Mistral's own format
# Other subfolders hold exports for other programs. The hub takes `*` for any characters, slashes among them.
OTHER_FORMATS = ("*/*.json", "*/*.safetensors", "*/*.txt", "*/*.model", "*/*.py", MISTRAL_WEIGHTS)
NOT_THE_MODEL = ("train.json", "train-*.json", MISTRAL_WEIGHTS)


def local_folder(path: str, trust_remote_code: bool, weights: bool = True) -> Path:
    """The folder with the model's files: `path` itself, or the local snapshot of the hub repository `path`.

    Without `weights`, only configuration and tokenizer are downloaded.

    Raises:
        UserError: there is no such folder, or the repository cannot be downloaded.
    """
    try:
        folder = hub.named_folder(path)
    except NotADirectoryError:
        raise UserError(f"model.path={path}: is not a folder") from None
    if folder is not None:
        return folder
    patterns = [pattern for pattern in FILES if weights or pattern != "*.safetensors"]
    if trust_remote_code:
        patterns.append(CODE)
    return hub.snapshot("model.path", path, "model", tuple(patterns), OTHER_FORMATS)


def check_model(folder: Path, key: str = "model.path") -> None:
    """Check that a folder is a complete Hugging Face model, before anything is loaded.

    Raises:
        UserError: names the file and what is wrong with it.
    """
    config = read_json(folder / "config.json", f"{key}={folder}: is not a model: ")
    if "model_type" not in config:
        raise UserError(f"{key}={folder}: config.json has no model_type")
    shards = weight_files(folder)
    if not shards:
        raise UserError(f"{key}={folder}: has no *.safetensors (other weight formats are not supported)")
    for name in missing_weights(folder, key):
        raise UserError(f"{key}={folder}: {name} is missing")
    for shard in shards:
        _check_safetensors(shard, key)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        raise UserError(f"{key}={folder}: has no tokenizer")


def _check_safetensors(path: Path, key: str) -> None:
    """The header's length, its JSON, and the file's size: https://huggingface.co/docs/safetensors."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, path.stat().st_size)))
        end = max(tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{key}={path.parent}: {path.name} is no safetensors file ({error})") from error
    if path.stat().st_size != 8 + length + end:
        raise UserError(
            f"{key}={path.parent}: {path.name} is {path.stat().st_size} bytes, should be {8 + length + end}"
        )


def read_json(path: Path, prefix: str = "") -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: `prefix`, the file's name and what is wrong.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{prefix}{path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{prefix}{path.name} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{prefix}{path.name} is not a JSON object")
    return content


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer's files hold a chat template."""
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(read_json(config).get("chat_template"))


def declared_eos_ids(folder: Path) -> list[int]:
    """Every `eos_token_id` of the generation configuration, or of the model's configuration where that has none."""
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            declared = read_json(folder / name).get("eos_token_id")
            if declared is not None:
                return [declared] if isinstance(declared, int) else list(declared)
    return []


def context_length(folder: Path) -> int | None:
    """`max_position_embeddings`, in tokens; None where the configuration does not say."""
    config = read_json(folder / "config.json")
    text_config: dict[str, Any] = config.get("text_config", {})
    length: int | None = config.get("max_position_embeddings") or text_config.get("max_position_embeddings")
    return length


def files_fingerprint(folder: Path, trust_remote_code: bool) -> str:
    """The SHA-256 over names and contents of the model's files."""
    return _digest_of(folder, _stamps(folder, model_files(folder, trust_remote_code)))


def _stamps(folder: Path, files: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    """Of each file its name, time and size: what changes where its content does."""
    found = [(path.relative_to(folder).as_posix(), path.stat()) for path in files]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in found)


def weight_files(folder: Path) -> list[Path]:
    """The model's safetensors, sorted by name."""
    return [path for path in model_files(folder) if path.suffix == ".safetensors"]


def missing_weights(folder: Path, key: str = "model.path") -> list[str]:
    """The safetensors that the model's index names and the folder lacks; without an index any will do.

    Raises:
        UserError: the index cannot be read.
    """
    here, index = {path.name for path in weight_files(folder)}, folder / "model.safetensors.index.json"
    if index.is_file():
        return sorted(set(read_json(index, f"{key}={folder}: ").get("weight_map", {}).values()) - here)
    return [] if here else ["*.safetensors"]


def weights_fingerprint(folder: Path) -> str:
    """The SHA-256 over names and contents of the model's safetensors."""
    return _digest_of(folder, _stamps(folder, weight_files(folder)))


def model_files(folder: Path, trust_remote_code: bool = False) -> list[Path]:
    """Sorted by name. Of a local folder the same as of a repository, so that both have one fingerprint."""
    patterns = [*FILES, CODE] if trust_remote_code else FILES
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    return sorted(path for path in found if not any(path.match(pattern) for pattern in NOT_THE_MODEL))


@functools.cache
def _digest_of(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    total = hashlib.sha256()
    for name, _, _ in files:
        with (folder / name).open("rb") as file:
            total.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


@functools.cache
def load_tokenizer(folder: Path, trust_remote_code: bool) -> "PreTrainedTokenizerBase":
    """The tokenizer in `folder`; without a padding token of its own it pads with the end token.

    Raises:
        UserError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"model.path={folder}: its tokenizer cannot be loaded ({' '.join(str(error).split())})"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
