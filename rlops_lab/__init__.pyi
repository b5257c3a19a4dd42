# The everyday names, in the order of the loop. `__init__.py` loads each one when it is first used.
from .core import Lineage as Lineage, Trajectory as Trajectory, Usage as Usage
from .environments.check_env import check_environment as check_environment
from .finetune.preferences import preference as preference
from .finetune.reward_models import RewardModel as RewardModel
from .finetune.sft import sft as sft
from .judges.corrected_rate import corrected_rate as corrected_rate
from .judges.endpoints import Endpoint as Endpoint
from .judges.judge import Judge as Judge
from .judges.rubrics import Rubric as Rubric
from .models.load import load as load
from .ppo.config import PPOConfig as PPOConfig
from .ppo.trainer import PPOTrainer as PPOTrainer
from .rejection import select as select
from .rewards.compose import Gate as Gate, Sequential as Sequential, WeightedSum as WeightedSum
from .rollouts.curriculum import Curriculum as Curriculum
from .rollouts.engine import rollout as rollout
from .samplers.local import HFSampler as HFSampler
from .samplers.sampling import SamplingParams as SamplingParams
from .samplers.server import ServerSampler as ServerSampler
from .stats import Estimate as Estimate, share as share
from .tokenomics.prices import price as price
