"Grading episodes: the cut between prompt and policy, and where grades are written"

import pytest

from rlops_lab.core import Trajectory
from rlops_lab.rewards.compose import WeightedSum, kpi, length, matches
from rlops_lab.rewards.grading import grade, split_messages


def episode(n_turns, messages, **kpis):
    return Trajectory(
        dict(family='x', n=n_turns),
        messages,
        [0] * n_turns,
        [1] * n_turns,
        [0.0] * n_turns,
        list(range(n_turns)),
        kpis=kpis,
    )


def test_grade_cuts_at_the_policys_first_turn_and_writes_every_part():
    shots = [dict(role='user', content='q'), dict(role='assistant', content='shot')]
    ts = [
        episode(1, [*shots, dict(role='user', content='a'), dict(role='assistant', content='one')], done=1.0),
        episode(0, [*shots, dict(role='user', content='a')], done=0.0),
    ]
    assert [len(split_messages(t)[1]) for t in ts] == [1, 0]
    values = grade(ts, WeightedSum([matches('shot'), kpi('done')], name='r'))
    assert values == [1.0, 0.0] and ts[0].scores == {'r': 1.0, 'r/matches shot': 0.0, 'r/done': 1.0}
    assert grade(ts, length(1)) == [1.0, 0.0]
    with pytest.raises(ValueError, match='different episodes'):
        split_messages(episode(3, shots))
