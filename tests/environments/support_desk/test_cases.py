"Cases: no wording is shared between splits, and none betrays its family"

import pytest

from rlops_lab.environments.support_desk.cases import DESK_FAMILIES, INTENT_QUEUE, draw_case
from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.records import SPLITS, desk_samples, open_db, record_numbers


def test_an_unknown_family_is_named():
    assert 'refunds' not in DESK_FAMILIES
    with pytest.raises(KeyError, match='unknown family'):
        SupportDesk().reset('refunds', 1)


def leaves(x):
    if isinstance(x, str):
        return {x} if x else set()
    return {y for part in (x.values() if isinstance(x, dict) else x) for y in leaves(part)}


def test_splits_share_no_wording():
    train, held_out = (leaves(desk_samples('wordings')[s]) for s in SPLITS)
    assert not {w.lower().strip(' .!?') for w in train} & {w.lower().strip(' .!?') for w in held_out}
    for intent in INTENT_QUEUE:
        assert (
            len(set(desk_samples('wordings')['train']['request'][intent])) >= 6
            and len(set(desk_samples('wordings')['eval']['request'][intent])) >= 4
        )


def test_mistyped_numbers_belong_to_nobody():
    used = {str(n) for numbers in record_numbers().values() for n in numbers.orders + numbers.zips}
    for seed in range(60):
        case = draw_case('wrong_number', seed, 'eval', open_db('eval'))
        assert len({case.given[k] for k in case.given if case.given[k] != case.true[k]} - used) == 1


def test_families_of_one_intent_sound_alike():
    "The first message must not betray the family: every refund family uses every refund wording."
    wordings = desk_samples('wordings')['train']['request']['refund']
    for family in (
        'refund_ok',
        'refund_late',
        'final_sale',
        'already_refunded',
        'refund_over_limit',
        'refund_one_item',
        'dishonest_date',
    ):
        texts = [draw_case(family, s, 'train', open_db('train')).text for s in range(400)]
        stems = [w.split('{item}')[0] for w in wordings]
        assert all(any(stem in t for t in texts) for stem in stems)
    honest = [draw_case('refund_ok', s, 'train', open_db('train')).text for s in range(400)]
    assert any(d in t for t in honest for d in desk_samples('wordings')['train']['date'])
