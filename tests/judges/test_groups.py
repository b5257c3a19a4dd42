"Rows that belong together: every interval from labels widens by it, and it is asked about where it shows"

import warnings

import numpy as np
import pytest

from rlops_lab.judges.agreement import calibrate, calibrate_slices
from rlops_lab.judges.alignment import choose, split
from rlops_lab.judges.consistency import position_bias, rater_alpha, self_consistency
from rlops_lab.judges.corrected_mean import corrected_mean
from rlops_lab.judges.corrected_rate import corrected_rate
from rlops_lab.judges.graded import Graded
from rlops_lab.judges.handover import handover
from rlops_lab.judges.label_budget import expected_width
from rlops_lab.judges.shift import transfer
from rlops_lab.judges.verdicts import Verdict
from rlops_lab.stats import group_spread, mcnemar_p, paired_gain, share_of, stratified_gain

RANDOM = np.random.default_rng(0)
PROMPTS = np.repeat(np.arange(40), 5)
LABEL = RANDOM.random(40).round()[PROMPTS].astype(bool) ^ (RANDOM.random(200) < 0.05)
HARD = RANDOM.random(40)[PROMPTS]
JUDGED = LABEL ^ (HARD < 0.2)  # wrong about whole prompts
OTHER = LABEL ^ (HARD > 0.8)
GIVEN = [label if row < 150 else None for row, label in enumerate(LABEL.tolist())]
BALANCED = [label if row % 2 else None for row, label in enumerate(LABEL.tolist())]
GRADERS = Graded('a', JUDGED.tolist(), 1.0, 1.0), Graded('b', OTHER.tolist(), 0.1)


def as_stars(labels):
    return [None if label is None else 1.0 + label for label in labels]


INTERVALS = dict(
    share=lambda groups: share_of(LABEL, groups),
    gain=lambda groups: paired_gain(JUDGED == LABEL, OTHER == LABEL, groups),
    weighted_gain=lambda groups: stratified_gain(
        JUDGED == LABEL, OTHER == LABEL, JUDGED.tolist(), {True: 900, False: 700}, groups=groups
    ),
    rate=lambda groups: corrected_rate(JUDGED.tolist(), GIVEN, 'random', groups=groups).rate,
    rate_by_verdict=lambda groups: corrected_rate(JUDGED.tolist(), GIVEN, 'verdict', groups=groups).rate,
    rate_by_label=lambda groups: corrected_rate(JUDGED.tolist(), BALANCED, 'label', groups=groups).rate,
    rate_of_pool=lambda groups: corrected_rate(
        JUDGED.tolist(), GIVEN, 'verdict', target='pool', groups=groups
    ).rate,
    rate_from_elsewhere=lambda groups: corrected_rate(
        JUDGED.tolist(), GIVEN, 'random', False, groups=groups
    ).rate,
    labels_alone=lambda groups: corrected_rate(JUDGED.tolist(), GIVEN, 'random', groups=groups).humans,
    judge_alone=lambda groups: corrected_rate(JUDGED.tolist(), GIVEN, 'random', groups=groups).judge,
    mean=lambda groups: corrected_mean(JUDGED + 1.0, as_stars(GIVEN), 'random', groups=groups).mean,
    agreement=lambda groups: calibrate(JUDGED.tolist(), GIVEN, 'random', groups=groups).agreement,
    kappa=lambda groups: calibrate(JUDGED.tolist(), GIVEN, 'verdict', groups=groups).kappa,
    alpha=lambda groups: calibrate(JUDGED.tolist(), GIVEN, 'random', groups=groups).alpha,
    tpr=lambda groups: calibrate(JUDGED.tolist(), BALANCED, 'label', groups=groups).tpr,
    slice=lambda groups: calibrate_slices(JUDGED.tolist(), GIVEN, ['x'] * 200, 'random', groups=groups)['x'].kappa,
    handover=lambda groups: handover(*GRADERS, GIVEN, groups=groups).difference,
    handover_kappa=lambda groups: handover(*GRADERS, GIVEN, groups=groups).kappa['judge'],
    chosen=lambda groups: choose(
        dict(a=JUDGED.tolist(), b=OTHER.tolist()), LABEL.tolist(), PROMPTS < 20, groups=groups
    ).reported.agreement,
    raters=lambda groups: rater_alpha(np.stack([JUDGED, LABEL], 1).tolist(), groups=groups),
    again=lambda groups: self_consistency(np.stack([JUDGED, LABEL], 1).tolist(), groups=groups).unanimous,
    flips=lambda groups: position_bias(
        np.where(JUDGED, 'A', 'B'), np.where(LABEL, 'A', 'B'), groups=groups
    ).flips,
)


@pytest.mark.parametrize('name', INTERVALS)
@pytest.mark.filterwarnings('ignore:every row has a label')
def test_every_interval_knows_what_belongs_together(name):
    alone, together = INTERVALS[name](None), INTERVALS[name](PROMPTS)
    assert together.value == pytest.approx(alone.value)
    assert together.width > 1.2 * alone.width
    single = INTERVALS[name](range(200))
    assert single.width == pytest.approx(alone.width, rel=0.03)
    if name not in ('judge_alone',):
        with pytest.raises(ValueError, match='label some of others|on both sides'):
            INTERVALS[name](['one'] * 200)


def test_a_test_of_pairs_flips_whole_groups():
    alone, together = (mcnemar_p(JUDGED == LABEL, LABEL == LABEL, groups) for groups in (None, PROMPTS))
    assert alone < together < 0.05
    few = mcnemar_p([0] * 8, [1] * 8, [0] * 8)
    assert few == 1  # one group, one piece of luck


def test_the_effect_lies_between_one_and_the_size_of_groups():
    assert group_spread(np.tile([1.0, -1.0], 50), np.arange(100) // 2).effect == 1
    alike = np.repeat(RANDOM.choice([-1.0, 1.0], 50), 4)
    assert group_spread(alike - alike.mean(), np.arange(200) // 4).effect == pytest.approx(4, rel=0.15)
    assert group_spread(np.zeros(20), np.arange(20) // 4).effect == 4  # nothing deviates: as if all were alike


def test_a_plan_knows_the_groups():
    pilots = [corrected_rate(JUDGED.tolist(), GIVEN, 'random', groups=groups) for groups in (None, PROMPTS)]
    alone, together = (expected_width(100, pilot) for pilot in pilots)
    assert together > 1.2 * alone and 'groups raise the variance' in repr(pilots[1])


def test_repeated_texts_are_told():
    verdicts = [Verdict('pass', 1.0, item=f'text {row % 10}') for row in range(20)]
    for ask in (calibrate, corrected_rate):
        with pytest.warns(UserWarning, match='20 rows have 10 different'):
            ask(verdicts, [True] * 19 + [False], 'random')
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            ask(verdicts, [True] * 19 + [False], 'random', groups=[row % 10 for row in range(20)])


def test_repeated_prompts_are_told():
    rows = [dict(prompt=f'p{row % 10}', verdict=bool(row % 3), text=f't{row}', label=True) for row in range(60)]
    with pytest.warns(UserWarning, match="60 rows have 10 different .* group='…'"):
        transfer(rows, rows)
    with pytest.warns(UserWarning, match='60 rows have 10 different'):
        split(rows)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = transfer(rows, rows, group='prompt')
        assert split(rows, group='prompt').sum() == 30
    assert {'verdict', 'labels'} <= found.p_values.keys()
    graders = (Graded(name, [True, False] * 30, 1.0) for name in 'ab')
    with pytest.warns(UserWarning, match='60 rows have 10 different'):
        handover(*graders, [True, False] * 30, rows)


def test_labels_that_are_not_drawn_as_said_are_told_everywhere():
    judged = [True] * 100 + [False] * 100
    given = [row % 4 > 0 if row < 60 else None for row in range(200)]  # only of those that passed
    graders = Graded('a', judged, 1.0), Graded('b', judged[::-1], 0.1)
    asks = (
        lambda: calibrate(judged, given, 'random').draw_p,
        lambda: corrected_rate(judged, given, 'random').draw_p,
        lambda: corrected_mean(as_stars(judged), as_stars(given), 'random').draw_p,
        lambda: handover(*graders, given).drawn,
        lambda: choose(dict(a=judged), given, np.arange(200) % 2 == 0).name,
    )
    for ask in asks:
        with pytest.warns(UserWarning, match='labels drawn at random would not'):
            ask()


def test_what_was_not_tested_says_so():
    judged, given = [True, False] * 20, [True, False] * 19 + [True, True]
    assert 'at random, not tested' in repr(corrected_rate(judged, given, 'random'))
    assert 'at random, not tested' in calibrate(judged, given, 'random')._repr_html_()
    assert 'at random, not tested' in handover(*(Graded(n, judged, 1.0) for n in 'ab'), given)._repr_html_()
    some = [label if row % 2 else None for row, label in enumerate(given)]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert 'not tested' not in repr(corrected_rate(judged, some, 'random'))
    shown = transfer([dict(verdict=True)], [dict(verdict=True)])._repr_html_()
    assert 'not tested: no texts on the rows calibrated' in shown and 'no label on the rows used' in shown
