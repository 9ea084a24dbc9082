"""Several devices: one process each, equal networks, and no DistributedDataParallel around them.

A stage calls its networks directly and in alternation, outside the forward pass that DDP's reducer expects: a turn of
the critic alone would leave it waiting for the student's gradients. ``distributed.py`` averages gradients instead.
"""

from __future__ import annotations

from lightning.pytorch.strategies import DDPStrategy


class Replicas(DDPStrategy):
    """Lightning's process groups and launchers without its wrapper."""

    def configure_ddp(self) -> None:
        """Leave the module as it is."""
