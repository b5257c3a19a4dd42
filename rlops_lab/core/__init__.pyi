# The records that every stage passes on. `__init__.py` loads each one when it is first used.
from .code_blocks import code_blocks as code_blocks, only_block as only_block
from .runs import Run as Run, rng as rng, seed_everything as seed_everything, warn_again as warn_again
from .trajectories import (
    Lineage as Lineage,
    Trajectory as Trajectory,
    Usage as Usage,
    digest as digest,
    git_state as git_state,
    transcript_html as transcript_html,
)
