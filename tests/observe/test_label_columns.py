"Labels as columns: the majority, its ties, and agreement that is not shown too early."

import pytest

from rlops_lab.observe.label_columns import LEAST_SHARED, agreement, combined_design


def test_agreement_is_shown_from_five_shared_items_on():
    labels = ['pass', 'fail', 'pass', 'fail', 'pass']
    few = agreement(dict(ada=labels, ben=[None, *labels[1:]]))
    assert (few.shared, few.alpha) == (LEAST_SHARED - 1, None)
    assert agreement(dict(ada=labels, ben=labels)).alpha.value == 1


@pytest.mark.parametrize('designs', [{'random', 'label'}, {'verdict', 'label'}])
def test_balanced_labels_mix_with_nothing(designs):
    with pytest.raises(ValueError, match='do not mix'):
        combined_design(designs)
