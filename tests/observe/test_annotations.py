"Labels on disk: processes that share a file, what annotators may see, and an order that may be stopped anywhere."

import os

import numpy as np
import pytest

from rlops_lab.judges.corrected_rate import corrected_rate
from rlops_lab.judges.verdicts import Verdict
from rlops_lab.observe.annotations import LabelFile, label_order, read_labels, visible_parts


@pytest.mark.parametrize(
    'item',
    [
        dict(text='x', verdict=0.5),
        dict(text='x', verdict=Verdict('pass', 1.0)),
        dict(text='x', judge=None),
        dict(text='x', parts=[0.1]),
        3,
        None,
    ],
)
def test_what_is_no_text_is_not_shown(item):
    with pytest.raises(TypeError):
        visible_parts(item)


def test_messages_of_any_form_are_one_item():
    def calling(content, arguments):
        call = dict(type='function', function=dict(name='f', arguments=arguments))
        return dict(role='assistant', content=content, tool_calls=[call])

    plain, wire = calling('', {}), calling(None, '{}')
    as_array = np.array([wire], dtype=object)
    for said in ([plain], [wire], as_array):
        assert visible_parts(dict(said=said)) == dict(said=[plain])
    with pytest.raises(ValueError, match="its content of type 'image' is no text"):
        visible_parts(dict(said=[dict(role='user', content=[dict(type='image')])]))


def test_processes_share_a_file(tmp_path):
    path = tmp_path / 'labels.jsonl'
    children = []
    for who in ('ada', 'ben', 'eve'):
        if (child := os.fork()) == 0:
            try:
                row = dict(annotator=who, hash='h', rubric='v', criterion='c', label='pass')
                for i in range(60):
                    LabelFile(path).append(row | dict(item=str(i), note='x' * i))
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    rows = read_labels(path)
    assert len(rows) == 180
    for who in ('ada', 'ben', 'eve'):
        assert [r['item'] for r in rows if r['annotator'] == who] == [str(i) for i in range(60)]


def test_coverage_where_labelling_stops_early():
    "Drawn by verdict, shuffled, and 60 of 100 labelled: the corrected rate's interval holds what it should"
    r, held = np.random.default_rng(0), 0
    for seed in range(200):
        y = r.random(300) < 0.4
        v = np.where(r.random(300) < np.where(y, 0.9, 0.3), 'pass', 'fail').tolist()
        mine = set(label_order(300, 100, 'verdict', v, seed)[:60])
        found = corrected_rate(v, [bool(x) if i in mine else None for i, x in enumerate(y)], 'verdict').rate
        held += found.low <= 0.4 <= found.high
    assert held >= 182, held  # 182 of 200 or more in 99% of the cases, if it is 95%
