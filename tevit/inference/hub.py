"""Weights on the Hugging Face Hub: a repository, or a local folder of the same form.

It holds `model.safetensors`, with the configuration in its header, `config.json` with the same, and the model card.
"""

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tevit.configs import BUNDLED_MODELS, MODELS, ModelConfig
from tevit.download import card_path

if TYPE_CHECKING:
    from tevit.inference.predictor import Predictor

WEIGHTS_NAME = "model.safetensors"
CARD = """\
---
library_name: tevit
license: apache-2.0
pipeline_tag: image-segmentation
tags:
- video-instance-segmentation
- tevit
---

# {name}

A video instance segmentation model for [TeViT](https://arxiv.org/abs/2204.08412) Studio:
`tevit.Predictor.from_pretrained("USER/REPOSITORY")`.

- Backbone {backbone}, {queries} queries, {stages} stages; frames are resized to at most {scale}.
- Classes: {classes}.
- Figures: not measured.
"""


def fetch_weights(folder_or_repository: str | os.PathLike, revision: str | None = None) -> Path:
    """The weights in a folder, or of a repository "user/name", which are downloaded once.

    Raises: FileNotFoundError for a folder without weights; ConnectionError where the hub or the repository is missing.
    """
    folder = Path(folder_or_repository)
    if folder.is_dir():
        if not (folder / WEIGHTS_NAME).is_file():
            raise FileNotFoundError(f"{folder}: expected {WEIGHTS_NAME} in it, found none")
        return folder / WEIGHTS_NAME
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(str(folder_or_repository), WEIGHTS_NAME, revision=revision))
    except HFValidationError as error:
        raise FileNotFoundError(f"{folder}: no such folder, nor a repository's name ({error})") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConnectionError(f"{folder_or_repository}: {WEIGHTS_NAME} cannot be fetched: {error}") from error


def save_pretrained(predictor: "Predictor", folder: str | os.PathLike) -> None:
    """Write weights, configuration and model card into a folder.

    Raises: ValueError where the weights can no longer be read: the model was packed and its file is gone.
    """
    from tevit.checkpoint import read_checkpoint, save_model, save_state
    from tevit.model.tevit import TeViT

    target, source = Path(folder), predictor.weights_file
    target.mkdir(parents=True, exist_ok=True)
    if source is not None and source.is_file():
        config, state = read_checkpoint(source)
        save_state(target / WEIGHTS_NAME, config, state)
    elif source is None and isinstance(predictor.model, TeViT):
        save_model(target / WEIGHTS_NAME, predictor.model)
    else:
        raise ValueError(f"the weights of {predictor.config.name} cannot be read again: {source} is gone")
    (target / "config.json").write_text(json.dumps(asdict(predictor.config), indent=2) + "\n", encoding="utf-8")
    configs = {**{name: model.config for name, model in MODELS.items()}, **BUNDLED_MODELS}
    if configs.get(predictor.config.name) == predictor.config:
        shutil.copy(card_path(predictor.config.name), target / "README.md")
    elif not (target / "README.md").exists():
        (target / "README.md").write_text(_card(predictor.config), encoding="utf-8")


def push_to_hub(
    predictor: "Predictor",
    repository: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "Upload model",
) -> str:
    """Create or update a repository "user/name" with what `save_pretrained` writes; returns its address.

    token: of the account; by default that of `hf auth login`.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(predictor, folder)
        url = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    return str(url)


def _card(config: ModelConfig) -> str:
    return CARD.format(
        name=config.name,
        backbone=config.backbone.kind,
        queries=config.queries,
        stages=config.stages,
        scale=f"{config.scale[1]}x{config.scale[0]}",
        classes=", ".join(name for _, name in config.categories),
    )
