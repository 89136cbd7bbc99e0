"""Pictures by the folder. `Cutter`, made of a `CutoutConfig`, is how one of them is cut out, whoever does it."""

from u2net.batch.cutter import Cut, CutoutConfig, Cutter

__all__ = ["Cut", "CutoutConfig", "Cutter"]
