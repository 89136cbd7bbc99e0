"""Print the public interface as JSON: names, flags, HTTP fields and exit codes; or what differs from such a file.

    python tools/interface.py > before.json
    python tools/interface.py --against before.json

Names come with their signatures, flags with their types, defaults and choices. Descriptions in prose are left out: they
may be rewritten without a change of the interface. Exits with 1 where something differs.
"""

import argparse
import dataclasses
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import click

MODULES = ("u2net", "u2net.net", "u2net.training", "u2net.server")
MISUSES: dict[str, list[str]] = {
    "no verb": [],
    "an unknown verb": ["cut"],
    "an unknown flag": ["remove", "--sharpen", "PICTURE", "OUT.png"],
    "a file that is not there": ["remove", "nothing.jpg", "OUT.png"],
    "a file that is no picture": ["remove", "TEXT", "OUT.png"],
    "output that is there": ["remove", "PICTURE", "PICTURE"],
    "an unknown model": ["remove", "-m", "u3net", "PICTURE", "OUT.png"],
    "an unknown format": ["remove", "--format", "bmp", "PICTURE", "OUT"],
    "a number out of range": ["remove", "--png-level", "12", "PICTURE", "OUT.png"],
    "a mask with a shadow": ["remove", "--mask", "--shadow", "PICTURE", "OUT.png"],
    "matting and a quality": ["remove", "-a", "--quality", "best", "PICTURE", "OUT.png"],
    "a threshold without matting": ["remove", "-af", "200", "PICTURE", "OUT.png"],
    "sixteen bits as png": ["remove", "--bit-depth", "16", "PICTURE", "OUT.png"],
    "a folder's flag for a file": ["remove", "--strict", "PICTURE", "OUT.png"],
    "no subject, and told to fail": ["remove", "--on-empty", "fail", "PICTURE", "OUT.png"],
    "no subject, and told to skip": ["remove", "--on-empty", "skip", "PICTURE", "OUT.png"],
    "a strict folder with a broken picture": ["remove", "--strict", "--workers", "1", "FOLDER", "DONE"],
    "a folder with a broken picture": ["remove", "--workers", "1", "FOLDER", "DONE2"],
    "nothing to evaluate": ["evaluate"],
    "data without pictures": ["check-data", "EMPTY"],
    "an unknown preset": ["train", "RUN", "FOLDER", "--preset", "quick"],
    "training without data": ["train", "RUN"],
    "a checkpoint that is not there": ["export", "nothing.pth", "OUT.onnx"],
    "a description of an unknown model": ["models", "info", "u3net"],
    "verification of a file that is no model": ["models", "verify", "TEXT"],
    "a port out of range": ["serve", "--port", "70000"],
    "an unknown shell": ["completion", "ksh"],
}


def main() -> None:
    """Print the interface, or what differs from a file of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="FILE", help="list what differs from this file")
    asked = parser.parse_args()
    now = {"names": names(), "flags": flags(), "http": http(), "exit codes": exit_codes()}
    if asked.against is None:
        print(json.dumps(now, indent=1, sort_keys=True))
        return
    old, new = flat(json.loads(asked.against.read_text(encoding="utf-8"))), flat(json.loads(json.dumps(now)))
    lines = [f"- {name}: {json.dumps(value)}" for name, value in old.items() if new.get(name, ...) != value]
    lines += [f"+ {name}: {json.dumps(value)}" for name, value in new.items() if old.get(name, ...) != value]
    print("\n".join(sorted(lines, key=lambda line: line[2:])) or f"the same: {len(new)} facts")
    sys.exit(1 if lines else 0)


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Each leaf of nested dictionaries by its path."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    return {
        key: leaf for name, inner in value.items() for key, leaf in flat(inner, f"{path} > {name}".strip(" >")).items()
    }


def names() -> dict[str, Any]:
    """The public names of each public module, with signatures."""
    found: dict[str, Any] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        found[name] = {public: described(getattr(module, public)) for public in sorted(module.__all__)}
    return found


def described(thing: Any) -> Any:
    """What callers may rely on of a name: parameters and defaults; of a class its public attributes too."""
    if inspect.isclass(thing):
        public = {name: inner for name, inner in vars(thing).items() if not name.startswith("_")}
        members = {name: described(inner) for name, inner in public.items() if callable(inner)}
        facts: dict[str, Any] = {"call": signature(thing), "bases": [base.__name__ for base in thing.__bases__]}
        return facts | {"members": members, "attributes": sorted(set(public) - set(members))}
    if isinstance(thing, types.FunctionType):
        return signature(thing)
    if dataclasses.is_dataclass(thing):
        return {field.name: described(getattr(thing, field.name)) for field in dataclasses.fields(thing)}
    return {str(name): described(inner) for name, inner in thing.items()} if isinstance(thing, dict) else repr(thing)


def signature(function: Any) -> dict[str, str]:
    """Parameters in order, with types and defaults; and what comes back."""
    try:
        found = inspect.signature(function)
    except ValueError:
        return {}
    parameters = list(found.parameters.values())
    told = {
        "parameters": " ".join(
            f"{'/' if one.kind is one.POSITIONAL_ONLY else ''}{'*' if one.kind is one.KEYWORD_ONLY else ''}{one.name}"
            for one in parameters
        )
    }
    for one in parameters:
        default = "" if one.default is one.empty else f" = {one.default!r}"
        told[one.name] = re.sub(" at 0x[0-9a-f]+", "", annotation(one.annotation) + default)
    return told | {"returns": annotation(found.return_annotation)}


def annotation(kind: Any) -> str:
    """A type as it is written, without the modules that it is from."""
    text = kind if isinstance(kind, str) else inspect.formatannotation(kind)
    return re.sub(r"\b(?:[a-z_0-9]+\.)+(?=[A-Za-z_])", "", text)


def flags() -> dict[str, Any]:
    """Each flag and argument of each verb."""
    from u2net.cli import cli

    found: dict[str, Any] = {}

    def visit(command: click.Command, path: str) -> None:
        context = click.Context(command, info_name=path)
        found[path] = {parameter_name(one): facts(one) for one in command.get_params(context)}
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                visit(inner, f"{path} {name}")

    visit(cli, "u2net")
    return found


def parameter_name(parameter: click.Parameter) -> str:
    """A flag with all its spellings, or an argument."""
    return " ".join((*parameter.opts, *parameter.secondary_opts))


def facts(parameter: click.Parameter) -> dict[str, Any]:
    """Type, default and so on of a flag; but not its help, save for the defaults that are written there."""
    told = parameter.to_info_dict()
    kept = {name: told.get(name) for name in ("type", "required", "nargs", "multiple", "is_flag", "hidden", "envvar")}
    kept["default"] = repr(told.get("default"))
    kept["default in help"] = re.findall(r"\[default: [^\]]*\]", told.get("help") or "")
    kept["metavar"] = getattr(parameter, "metavar", None)
    return kept


def http() -> dict[str, Any]:
    """Each path of the service with its fields, from OpenAPI, with and without the fetching of pictures."""
    from u2net.server import ServerConfig, create_app

    return {name: without_prose(create_app(ServerConfig(**given)).openapi()["paths"]) for name, given in
            {"usual": {}, "fetching": {"fetch_hosts": ("*",)}}.items()}  # fmt: skip


def without_prose(value: Any) -> Any:
    """OpenAPI without what is only read by people."""
    if isinstance(value, dict):
        prose = ("description", "summary", "title", "operationId", "tags")
        return {
            name: without_prose(inner)
            for name, inner in value.items()
            if not (name in prose and isinstance(inner, str | list))
        }
    if isinstance(value, list) and all(isinstance(inner, dict) and "name" in inner for inner in value):
        return {inner["name"]: without_prose(inner) for inner in value}
    return value


def exit_codes() -> dict[str, Any]:
    """How the command ends, and how many lines it says, for each misuse."""
    from PIL import Image

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "FOLDER").mkdir()
        (folder / "EMPTY").mkdir()
        (folder / "TEXT").write_text("no picture", encoding="utf-8")
        Image.new("RGB", (40, 30), "gray").save(folder / "PICTURE", "PNG")
        (folder / "FOLDER/broken.png").write_bytes((folder / "PICTURE").read_bytes()[:60])
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(importlib.import_module("u2net").__file__ or "").parents[1]),
        }
        for name, args in MISUSES.items():
            command = [sys.executable, "-m", "u2net", *args]
            done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
            # A usage error of click's takes four lines; a line of ours is one.
            found[name] = {"exit code": done.returncode, "lines on stderr": len(done.stderr.splitlines())}
    return found


if __name__ == "__main__":
    main()
