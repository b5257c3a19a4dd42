"""What every stage stands on: trajectories, messages, runs and files. No torch.

The records that stages pass on come from here, each module loaded when it is first used: `from rlops_lab.core import
Trajectory`. The list is in `__init__.pyi`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
