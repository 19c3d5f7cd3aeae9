"""The model that everything starts from: where it lies, whether it is whole, what it is.

Nothing here loads weights. Only safetensors are read: unpickling a file runs what it says.
"""

import functools
import hashlib
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chattpl.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EMBEDDED = Path(__file__).parent / "tiny" / "model"
FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
NOT_THE_MODEL = {"train.json"}


def local_folder(path: str, trust_remote_code: bool, weights: bool = True) -> Path:
    """The model's files on this machine: `path` itself, or the snapshot of the hub id `path`.

    Without `weights`, only the files that say what the model is are fetched.

    Raises:
        UserError: there is no such folder, or the hub cannot give it.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or path.startswith((".", "/", "~")) or path.count("/") > 1 or not path:
        raise UserError(f"model.path={path}: is no folder")
    return _snapshot(path, trust_remote_code, weights)


@functools.cache
def _snapshot(hub_id: str, trust_remote_code: bool, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [*FILES, "*.py"] if trust_remote_code else FILES
    if not weights:
        patterns = [pattern for pattern in patterns if pattern != "*.safetensors"]
    try:
        return Path(snapshot_download(hub_id, allow_patterns=patterns))
    except Exception as error:  # the client's own errors and those of three HTTP libraries below it
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"model.path={hub_id}: neither a local folder nor to be had from the hub ({reason})") from error


def check_model(folder: Path, key: str = "model.path") -> None:
    """Refuse a folder that is no whole Hugging Face model, before anything is loaded.

    Raises:
        UserError: names the file and what is wrong with it.
    """
    config = read_json(folder / "config.json", f"{key}={folder}: is no model: ")
    if "model_type" not in config:
        raise UserError(f"{key}={folder}: config.json names no model_type")
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise UserError(f"{key}={folder}: holds no *.safetensors (other formats of weights are not read)")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        needed = set(read_json(index, f"{key}={folder}: ").get("weight_map", {}).values())
        for name in sorted(needed - {shard.name for shard in shards}):
            raise UserError(f"{key}={folder}: {name} is missing")
    for shard in shards:
        _check_safetensors(shard, key)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        raise UserError(f"{key}={folder}: holds no tokenizer")


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


def read_json(path: Path, complaint: str = "") -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: `complaint`, the file's name and what is wrong.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{complaint}{path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{complaint}{path.name} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{complaint}{path.name} holds no JSON object")
    return content


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer's files hold a chat template."""
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(read_json(config).get("chat_template"))


def declared_eos_ids(folder: Path) -> list[int]:
    """Every `eos_token_id` of the generation configuration, or of the model's where that names none."""
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            declared = read_json(folder / name).get("eos_token_id")
            if declared is not None:
                return [declared] if isinstance(declared, int) else list(declared)
    return []


def context_length(folder: Path) -> int | None:
    """`max_position_embeddings`, in tokens; None where the configuration does not say."""
    config = read_json(folder / "config.json")
    return config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")


def files_fingerprint(folder: Path) -> str:
    """The SHA-256 over names and contents of the model's files."""
    names = sorted({path.name for pattern in FILES for path in folder.glob(pattern)} - NOT_THE_MODEL)
    paths = [folder / name for name in names]
    return _digest_of(tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths))


@functools.cache
def _digest_of(files: tuple[tuple[str, int, int], ...]) -> str:
    total = hashlib.sha256()
    for name, _, _ in files:
        path = Path(name)
        with path.open("rb") as file:
            total.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


@functools.cache
def load_tokenizer(folder: Path, trust_remote_code: bool) -> "PreTrainedTokenizerBase":
    """The tokenizer in `folder`, padding with a token that is there.

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
