"""Every family goes the whole way on a tiny random model: rollout, rows, a step of SFT, an update of PPO, a step of
TRL's GRPO, episodes through a server. What comes of it is what the table in the notebook of the chat format says."""

import pytest
from families import FAMILIES
from family_table import TRIALS, known, outcome


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv('TRL_EXPERIMENTAL_SILENCE', '1')


@pytest.mark.parametrize('trial', TRIALS)
@pytest.mark.parametrize('name', FAMILIES)
def test_a_family_does_what_the_table_says(name, trial):
    assert outcome(name, trial) == known()[name][trial]
