"""Pictures by the folder: what each becomes, how it is made, by how many processes, and what came of it."""

from u2net.batch.cutter import Cut, CutoutConfig, Cutter
from u2net.batch.plan import Job, Outcome, plan

__all__ = ["Cut", "CutoutConfig", "Cutter", "Job", "Outcome", "plan"]
