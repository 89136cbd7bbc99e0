"""Networks in folders and on the Hugging Face Hub, by the names and parameters of its own mixin.

A folder holds `model.safetensors`, as `save_checkpoint` writes it, the card as `config.json`, and a `README.md` that
the Hub shows. Only the first is read: as numbers alone, and with its digest checked.

The mixin itself is not a base class here: a class has its bases from the start, and `u2net.net` works without the
package huggingface_hub. Of that three functions are used, to fetch a file and to publish a folder.
"""

from __future__ import annotations

import json
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from u2net.errors import DownloadError, MissingExtra, reason
from u2net.models.card import Card
from u2net.models.zoo import is_offline
from u2net.system.files import atomic_write, new_folder

if TYPE_CHECKING:
    from u2net.net.model import U2Net

WEIGHTS = "model.safetensors"
"""The file that is read."""


class Pretrained(nn.Module):
    """What a network has from here: how it comes from a folder or the Hub, and gets there."""

    card: Card | None = None
    """What is known of the weights, of a network that `from_pretrained` or torch.hub has opened; else None."""

    @staticmethod
    def from_pretrained(
        pretrained_model_name_or_path: str | PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | PathLike[str] | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> U2Net:
        """The network in a folder, in one of our files, or in a repository OWNER/NAME of the Hub; its `card` is set.

        It is in evaluation mode. The parameters but the first are huggingface_hub's, and are for the Hub alone.
        `U2NET_OFFLINE` forbids downloads; what was fetched before is used. Raises InvalidModel for a file that is
        damaged or not ours, DownloadError, MissingExtra without huggingface_hub, OSError for a file that cannot be
        read.
        """
        from u2net.net.weight_files import load_checkpoint

        path = Path(pretrained_model_name_or_path)
        if path.is_dir():
            path = path / WEIGHTS
        elif not path.is_file():
            name = fspath(pretrained_model_name_or_path)
            fetch = _hub().hf_hub_download
            try:
                path = Path(
                    fetch(
                        name,
                        WEIGHTS,
                        revision=revision,
                        token=token,
                        cache_dir=cache_dir,
                        force_download=force_download,
                        local_files_only=local_files_only or is_offline(),
                    )
                )
            except (OSError, ValueError) as error:
                raise DownloadError(f"{name} is no folder, no file, and cannot be fetched: {reason(error)}") from None
        network, card = load_checkpoint(path)
        network.card = card
        return network

    def save_pretrained(self, save_directory: str | PathLike[str], *, card: Card | None = None) -> None:
        """Write the network to a folder, which is made if need be, for `from_pretrained` and for the Hub.

        `card` is what is known of the weights; without it, it is the network's own, or else one with the folder's name.
        A `README.md` that is there already stays. Raises InvalidModel for weights that are not finite, OSError.
        """
        from u2net.net.weight_files import save_checkpoint

        folder = Path(save_directory)
        new_folder(folder)
        card = card or self.card or Card(folder.resolve().name)
        card = save_checkpoint(cast("U2Net", self), folder / WEIGHTS, card)
        texts = {"config.json": card.to_json(indent=1) + "\n"}
        if not (folder / "README.md").exists():
            texts["README.md"] = to_readme(card)
        for name, text in texts.items():
            with atomic_write(folder / name) as file:
                file.write(text.encode())

    def push_to_hub(
        self,
        repo_id: str,
        *,
        card: Card | None = None,
        commit_message: str = "Publish weights with their card",
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
    ) -> str:
        """Publish the network as the repository OWNER/NAME of the Hub, which is made if need be; where its commit is.

        The parameters are huggingface_hub's, whose errors it raises; for `card` see `save_pretrained`. Raises
        MissingExtra without huggingface_hub.
        """
        api = _hub().HfApi(token=token)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, card=card or self.card or Card(repo_id.rpartition("/")[2]))
            name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            commit = api.upload_folder(
                repo_id=name, folder_path=folder, commit_message=commit_message, revision=branch, create_pr=create_pr
            )
        return str(commit)


def to_readme(card: Card) -> str:
    """What the Hub shows of a network: how to use it, and what is known of it."""
    licence = "" if card.licence == "unknown" else f"license: {json.dumps(card.licence.lower())}\n"
    width, height = card.transform.size
    facts = {
        "parameters": f"{card.num_parameters:,}",
        "licence": card.licence,
        "source": card.source,
        "classes": ", ".join(card.classes),
        "what it sees": f"{width} × {height} pixels",
        "SHA-256 of the weights": card.sha256,
        **{name: str(value) for name, value in card.scores.items()},
    }
    rows = "".join(f"| {_inline(name)} | {_inline(value)} |\n" for name, value in facts.items())
    return f"""---
{licence}library_name: u2net
pipeline_tag: image-segmentation
tags: [background-removal, salient-object-detection]
---

# {_inline(card.name)}

A U²-Net ([paper](https://arxiv.org/abs/2005.09007)), which parts the subject of a picture from what is behind it. The
weights are in `{WEIGHTS}`, as numbers alone; `config.json` says how pictures are fed.

```python
from u2net import Session
from u2net.net import U2Net
from u2net.net.backend import torch_backend

network = U2Net.from_pretrained("OWNER/NAME")  # this repository, or its folder
mask = Session(torch_backend(network), network.card).mask("photo.jpg")  # uint8 (H, W)
```

For other runtimes: `u2net export {WEIGHTS} mine.onnx`.

| | |
|---|---|
{rows}"""


def _inline(text: str) -> str:
    """A text that stays in its line and its cell of a table, whoever wrote it."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>|#" else c for c in " ".join(text.split()))


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise MissingExtra("the Hugging Face Hub needs: pip install 'u2net[hub]'") from None
    return huggingface_hub
