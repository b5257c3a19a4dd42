"Documents: the text holds what the truth says, and the splits share no names"

import pytest

from rlops_lab.environments.extraction.documents import DOCUMENT_KINDS, document


@pytest.mark.parametrize('kind', DOCUMENT_KINDS)
def test_splits_share_no_names(kind):
    def names(split):
        fields = [document(kind, seed, split).fields for seed in range(200)]
        named = 'title' if kind == 'product' else 'vendor'
        return {found[named][1] for found in fields}

    assert not names('train') & names('eval')


def test_unknown_kinds_and_splits_are_refused():
    with pytest.raises(KeyError, match='unknown kind'):
        document('letter', 0)
    with pytest.raises(ValueError, match='unknown split'):
        document('product', 0, 'test')
