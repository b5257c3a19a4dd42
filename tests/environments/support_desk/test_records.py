"The desk's records: splits share nothing, and what an episode changed is seen"

import pytest

from rlops_lab.environments.support_desk.desk import SupportDesk
from rlops_lab.environments.support_desk.records import SPLITS, desk_samples, effects, open_db, world


def test_a_world_is_built_the_same_each_time():
    assert world('train') == world.__wrapped__('train')


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match='unknown split'):
        SupportDesk().reset('refund_ok', 1, 'test')


def test_splits_share_no_record():
    sql = (
        'select name from customers',
        'select zip from customers',
        'select order_id from orders',
        'select product from items',
        'select address from orders',
    )
    for q in sql:
        train, held_out = ({x for (x,) in open_db(s).execute(q)} for s in SPLITS)
        assert train and held_out and not train & held_out, q
    for pool in desk_samples('pools')['train']:
        assert not set(desk_samples('pools')['train'][pool]) & set(desk_samples('pools')['eval'][pool])
    parts = [
        {w for a in desk_samples('pools')[s]['street'] for w in a.split()[:1]}
        | {p for p in desk_samples('pools')[s]['product']}
        for s in SPLITS
    ]
    assert not parts[0] & parts[1]


def test_effects_see_every_change():
    db = open_db('train')
    order = world('train').orders['refunded'][0]
    db.execute('insert into refunds(order_id,cents) values (?,?)', (order, 100))
    db.execute('insert into escalations(order_id,reason) values (?,?)', (order, 'x'))
    db.execute("update orders set address='1 Elm St.' where order_id=?", (order,))
    assert effects(db) == {('refund', order, 100), ('escalate', order), ('address', order, '1 elm st')}
