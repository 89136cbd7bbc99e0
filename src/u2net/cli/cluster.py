"""`u2net remove --engine ray`: folders, object stores and Parquet files by a Ray cluster."""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from u2net.cli.failure import Refusal, quiet_decoders
from u2net.cli.folder import FolderOptions, Told, model_digest
from u2net.errors import ConfigMismatch

if TYPE_CHECKING:
    from u2net.cutout.cutter import CutoutConfig


def remove_by_cluster(source: str, target: str | None, config: CutoutConfig, options: FolderOptions) -> int:
    """Cut out the pictures of a folder or of Parquet files; gives the exit code. Raises Refusal, and what Ray does."""
    from u2net.cutout.batch.cluster import begin, cut_out, end, open_storage
    from u2net.cutout.cutter import Cutter

    if options.watch or options.report:
        raise Refusal("--watch and --report are for --engine pool")
    if "://" not in source and not source.endswith(".parquet") and not os.path.isdir(source):
        raise Refusal("--engine ray is for folders and Parquet files")
    if target is None and ("://" in source or source.endswith(".parquet")):
        raise Refusal("give OUTPUT, a folder or its URI")
    asked = {**config.asked(), "model_sha256": model_digest(config.model)}
    try:
        places = open_storage(source), open_storage(target or f"{source.rstrip(os.sep)}.out")
        if places[0] == places[1]:
            raise Refusal("a folder needs another folder to go to")
        begin(places[1], asked, overwrite=options.overwrite)
    except ConfigMismatch as error:
        raise Refusal(f"{error}: give another OUTPUT, or --overwrite to make all anew") from None
    except ValueError as error:
        raise Refusal(str(error)) from None
    cutter = Cutter(replace(config, threads=config.threads or 1))
    told = Told(options, None)
    told.begin(None)
    try:
        # Ray tells of nodes that died on stdout, where --json speaks.
        with quiet_decoders(), open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
            for outcome in cut_out(*places, cutter, overwrite=options.overwrite, workers=options.workers):
                told.tell(outcome)
        end(places[1], asked)
    except KeyboardInterrupt:
        click.echo("u2net: interrupted; the same command goes on from here", err=True)
        return 130
    finally:
        told.end()
    return 1 if options.strict and told.counts["failed"] else 0
