"What people bring: gaps of every kind, data frames, and rows that belong together"

import warnings

import numpy as np
import pandas as pd
import pytest

from rlops_lab.core.rows import (
    dict_rows,
    group_codes,
    is_gap,
    named_columns,
    value_rows,
    visible_groups,
    warn_of_repeats,
)


@pytest.mark.parametrize('dtype', ['object', 'string', 'boolean', 'category'])
def test_gaps_of_every_column_of_pandas(dtype):
    values = [True, None] if dtype == 'boolean' else ['pass', None]
    assert [is_gap(value) for value in pd.Series(values, dtype=dtype)] == [False, True]


def test_an_array_is_no_gap():
    assert not is_gap(np.array([np.nan, 1.0])) and not is_gap(pd.Series([None]))


def test_tables_have_rows():
    frame = pd.DataFrame(dict(a=[1, 2], b=['x', pd.NA]), index=[7, 9])
    assert dict_rows(frame)[1]['a'] == 2 and len(value_rows(frame)) == 2
    assert named_columns(frame)['a'] == [1, 2]
    assert dict_rows([dict(a=1)]) == [dict(a=1)] and named_columns(dict(a=(1,))) == dict(a=[1])


def test_groups_of_any_values():
    messages = [dict(role='user', content='Hi')]
    assert group_codes([messages, messages, np.nan, pd.NA, 1, True], 6) == [0, 0, 1, 2, 3, 3]
    assert group_codes(pd.Series(['a', 'b', 'a'], index=[5, 6, 7]), 3) == [0, 1, 0]


def test_repeats_are_told_where_they_show():
    class FakeTrajectory:
        def __init__(self, task):
            self.task = dict(task=task)

    assert visible_groups([FakeTrajectory(1), FakeTrajectory(1)]) == [dict(task=1)] * 2
    assert visible_groups([dict(completion='a')]) is None
    with pytest.warns(UserWarning, match='3 rows have 2 different prompts'):
        warn_of_repeats(['a', 'a', 'b'])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_repeats(['a', 'b', None, None])
        warn_of_repeats(None)
