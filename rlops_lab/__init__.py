"""RL Ops in notebooks: environments, rollouts, judges, rejection sampling, SFT, PPO, and what it all costs.

The names of every day come from here, each loaded when it is first used: `from rlops_lab import load, PPOTrainer`.
Everything else comes from its module. The list is in `__init__.pyi`, where editors and type checkers read it."""

__version__ = "0.1.0"


def __getattr__(name: str):
    "Set up the lazy names when the first is asked for: to read the stub takes longer than the rest of the import"
    import lazy_loader

    get, names, everything = lazy_loader.attach_stub(__name__, __file__)
    globals().update(__getattr__=get, __dir__=names, __all__=everything)
    return everything if name == "__all__" else get(name)


def __dir__():
    return sorted(__getattr__("__all__"))
