"Episodes of one turn for tests of selection and of training rows"

from rlops_lab.core import Trajectory, Usage

SHORT = [dict(role='system', content='short'), dict(role='user', content='')]


def episode(task=0, right=True, text='ok', group='a', prompt=SHORT, **kw):
    "One turn, without real tokens"
    ms = [dict(role='user', content='hello'), dict(role='assistant', content=text)]
    kw = (
        dict(
            turn_rewards=[float(right)],
            kpis=dict(verified_resolution=float(right)),
            usage=Usage(10, 4, 2, 1.0, 1, 0.5),
        )
        | kw
    )
    return Trajectory(
        dict(family=group, seed=task, prompt=prompt), ms, [0, 1], [0, 1], [0.0, 0.0], [-1, 0], **kw
    )
