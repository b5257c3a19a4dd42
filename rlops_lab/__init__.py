"""RL Ops in notebooks: environments, rollouts, judges, rejection sampling, SFT, PPO, and what it all costs.

The names of every day come from here, each loaded when it is first used: `from rlops_lab import load, PPOTrainer`.
Everything else comes from its module. The list is in `__init__.pyi`, where editors and type checkers read it."""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
