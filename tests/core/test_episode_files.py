"Episodes come back from every kind of file as they were, or are refused by name"

import pytest
from datasets import Dataset, DatasetDict, load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from rlops_lab.core import Lineage, Run, Trajectory, Usage
from rlops_lab.core.episode_files import episode_dataset, load_episodes, save_episodes

TOKENS = dict(token_ids=[5, 6], action_mask=[0, 1], logprobs=[0.0, -0.1], turn_ids=[-1, 0])
CALL = dict(type='function', id='c1', function=dict(name='book', arguments=dict(seats=[1, 2], window=None)))
UNLIKE = [
    Trajectory(task=dict(seed=1), messages=[dict(role='user', content='Grüße 🙂')], **TOKENS),
    Trajectory(task=dict(seed='two', due=None), messages=[dict(role='assistant', tool_calls=[CALL])], **TOKENS),
    Trajectory(task={}, messages=[], scores=dict(tone=None, facts=0.1), kpis=dict(solved=1.0), **TOKENS),
    Trajectory(task=dict(half='\ud83d', deep=[[1], {'': {}}]), messages=[], usage=Usage(3, 2, 1), **TOKENS),
    Trajectory(task={}, messages=[], lineage=Lineage(model='m', seed=3), columns=dict(stage='sft'), **TOKENS),
    Trajectory(task={}, messages=[], tools=[dict(type='function', function=dict(name='book'))], **TOKENS),
]


def through(episodes, tmp_path, way):
    if way == 'dataset':
        return load_episodes(episode_dataset(episodes))
    if way == 'rows':
        return load_episodes([episode.to_dict() for episode in episodes])
    if way == 'frame':
        return load_episodes(episode_dataset(episodes).to_pandas())
    if way == 'folder':
        episode_dataset(episodes).save_to_disk(str(tmp_path / 'data'))
        return load_episodes(tmp_path / 'data')
    if way == 'theirs':
        episode_dataset(episodes).to_parquet(str(tmp_path / 'e.parquet'))
        files = dict(data_files=str(tmp_path / 'e.parquet'), cache_dir=str(tmp_path / 'cache'))
        return load_episodes(load_dataset('parquet', split='train', **files))
    save_episodes(episodes, tmp_path / f'e.{way}')
    return load_episodes(str(tmp_path / f'e.{way}'))


@pytest.mark.parametrize('way', ['jsonl', 'parquet', 'dataset', 'folder', 'theirs', 'rows', 'frame'])
def test_unlike_episodes_come_back_equal(tmp_path, way):
    assert through(UNLIKE, tmp_path, way) == UNLIKE


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(task=st.dictionaries(st.text(), PLAIN, max_size=3), rewards=st.lists(st.floats(), max_size=3))
def test_whatever_a_task_holds_comes_back(tmp_path_factory, task, rewards):
    "Compared as text, so that NaN equals NaN"
    episode = Trajectory(task=task, messages=[], turn_rewards=rewards, **TOKENS)
    folder = tmp_path_factory.mktemp('any')
    for way in ('jsonl', 'parquet'):
        assert repr(through([episode], folder, way)) == repr([episode])


def test_the_log_of_a_run_opens(tmp_path):
    run = Run(tmp_path / 'run')
    run.log('trajectories', [dict(stage='prompted', **episode.to_dict()) for episode in UNLIKE[:4]])
    found = load_episodes(tmp_path / 'run' / 'trajectories.jsonl')
    assert [episode.columns for episode in found] == [dict(stage='prompted')] * 4
    assert [episode.messages for episode in found] == [episode.messages for episode in UNLIKE[:4]]


def test_a_column_that_was_added_stays():
    data = episode_dataset(UNLIKE[:2]).add_column('split', ['train', 'eval'])
    assert [episode.columns for episode in load_episodes(data)] == [dict(split='train'), dict(split='eval')]


def test_a_data_set_in_the_format_of_a_trainer_opens():
    assert load_episodes(episode_dataset(UNLIKE[:2]).with_format('numpy')) == UNLIKE[:2]


@pytest.mark.parametrize(
    'task, says',
    [
        ({1: 'a'}, r"the key 1 in \['task'\] is no text"),
        (dict(options=[{2: 'b'}]), r"the key 2 in \['task'\]\['options'\] is no text"),
    ],
)
@pytest.mark.parametrize('ending', ['jsonl', 'parquet'])
def test_what_no_file_holds_is_refused_by_its_place_and_the_old_file_stays(tmp_path, task, says, ending):
    path = tmp_path / f'e.{ending}'
    save_episodes(UNLIKE, path)
    with pytest.raises(ValueError, match='episode 1: ' + says):
        save_episodes([UNLIKE[0], Trajectory(task=task, messages=[], **TOKENS)], path)
    assert load_episodes(path) == UNLIKE


def test_a_table_that_filled_in_none_is_refused():
    data = Dataset.from_list([episode.to_dict() for episode in UNLIKE[:1]])
    with pytest.raises(ValueError, match=r"row 0: a table has filled \['task', 'messages'"):
        load_episodes(data)


@pytest.mark.parametrize(
    'source, says',
    [
        (DatasetDict(), 'one split'),
        (UNLIKE[0], 'a list of rows'),
        (3, 'a list of rows'),
        ([dict(step=1)], 'row 0: .*lacks'),
        (UNLIKE, 'row 0 is a Trajectory'),
    ],
)
def test_what_holds_no_episodes_says_so(source, says):
    with pytest.raises(ValueError, match=says):
        load_episodes(source)


def test_a_path_that_holds_no_episodes_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match='check the path'):
        load_episodes(tmp_path / 'none.jsonl')
    with pytest.raises(ValueError, match=r'\.jsonl and \.parquet'):
        load_episodes(tmp_path)
    with pytest.raises(ValueError, match=r'end the name in \.jsonl or \.parquet'):
        save_episodes(UNLIKE, tmp_path / 'e.json')
    (tmp_path / 'log.jsonl').write_text('{"step": 1}\n', encoding='utf-8')
    with pytest.raises(ValueError, match=r'row 0 of .*log.jsonl: this row is no episode'):
        load_episodes(tmp_path / 'log.jsonl')
