"Training steered by mouse and keyboard in a real JupyterLab, its tokens, and what outlives kernel and trust."

import re
import nbformat
import pytest
from browsing import RUN_ALL, opened

CELLS = [
    '''
from peft import LoraConfig
from rlops_lab.models.load import load
from rlops_lab.ppo.config import PPOConfig
from rlops_lab.ppo.trainer import PPOTrainer
from rlops_lab.widgets.live import LiveTraining
''',
    '''
class Ask:
    def reset(self, **_): return 'Write.'
def letters(completions, **_): return [sum(x.isalpha() for x in c[0]['content']) for c in completions]
model, tokenizer = load('tiny')
args = PPOConfig(num_updates=5000, episodes_per_update=4, max_turns=1, max_tokens_per_turn=6, max_total_tokens=64,
                 micro_batch_tokens=512, learning_rate=1e-2)
lora = LoraConfig(r=4, target_modules='all-linear')
trainer = PPOTrainer(model, args, environment_factory=Ask, reward_funcs=letters, train_dataset=[dict(prompt=[])],
                     processing_class=tokenizer, peft_config=lora)
live = LiveTraining(trainer)
''',
    'records = await live.run()',
    "print('learning rates', sorted({r['learning_rate'] for r in records}))",
    'viewer = live.viewer()\nviewer',
]
CURVES, WORDS, TOKENS = '.jp-RenderedHTML img', '.jp-RenderedHTML', '.jp-RenderedHTML span[title]'


def says(page, text, where=WORDS):
    "Wait until an output says something"
    page.wait_for_function(
        '([where, text]) => [...document.querySelectorAll(where)].some(o => o.innerText.includes(text))',
        arg=[where, text],
    )


def changed(page, before):
    page.wait_for_function(
        '([where, before]) => { const i = document.querySelector(where); return i && i.src !== before }',
        arg=[CURVES, before],
    )
    return page.locator(CURVES).first.get_attribute('src')


@pytest.fixture(scope='module')
def page(server):
    with opened(server, 'training', CELLS) as page:
        page.evaluate(
            f'() => {{ window.ran = {RUN_ALL} }}'
        )  # a promise that is kept when the training has ended
        page.wait_for_selector(CURVES)
        yield page


def button(page, name):
    return page.locator('.widget-button', has_text=re.compile(f'^{name}$'))


def type_into(page, label, text):
    "Key by key, as a person does: a value that is put into a field all at once is no change to ipywidgets"
    page.locator('.widget-text', has_text=label).locator('input').click(click_count=3)
    page.keyboard.type(text)
    page.keyboard.press('Enter')


def test_curves_grow_and_a_hand_steers(page):
    picture = changed(page, changed(page, page.locator(CURVES).first.get_attribute('src')))
    button(page, 'Pause').click()
    says(page, 'paused after update')
    type_into(page, 'learning rate', '-1')
    says(page, 'must be positive', '.widget-html')
    type_into(page, 'learning rate', '1e-4')
    says(page, 'from update', '.widget-html')
    picture = page.locator(CURVES).first.get_attribute('src')
    page.wait_for_timeout(1000)
    assert page.locator(CURVES).first.get_attribute('src') == picture, 'a paused run went on'
    button(page, 'Go on').click()
    says(page, 'learning_rate 0.01 → 0.0001')
    changed(page, picture)
    button(page, 'Stop').click()
    says(page, 'stopped after update')
    assert page.evaluate('window.ran'), 'a cell raised'
    says(page, 'learning rates [0.0001, 0.01]', '.jp-RenderedText')


def test_the_menus_of_the_token_viewer(page):
    page.wait_for_selector(TOKENS)
    says(page, 'sum of advantage')
    episode, quantity = (
        page.locator('.widget-dropdown select').nth(0),
        page.locator('.widget-dropdown select').nth(1),
    )
    before = page.locator(TOKENS).first.get_attribute('style')
    quantity.select_option(index=1)
    says(page, 'mean of value')
    last = episode.locator('option').count() - 1
    label = (
        episode.locator('option').nth(last).inner_text().replace('\xa0', ' ')
    )  # ipywidgets keeps spaces by force
    episode.select_option(index=last)
    says(page, label.strip())
    assert before and page.locator(TOKENS).count() == int(re.search(r'(\d+) tokens', label)[1])


def test_nothing_is_fetched_from_outside_and_nothing_fails(page):
    assert not page.outside and not [e for e in page.errors if 'favicon' not in e]


def test_curves_and_tokens_outlive_kernel_and_trust(page, server):
    url, root = server
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    saved = nbformat.read(root / 'training.ipynb', 4)
    saved.cells.append(nbformat.v4.new_markdown_cell('not what was signed'))
    nbformat.write(saved, root / 'stored.ipynb')
    page.goto(f'{url}/lab/tree/stored.ipynb?reset', wait_until='commit')
    page.wait_for_selector(TOKENS)
    says(page, 'stopped after update')
    says(page, 'mean of value')
    shown = page.evaluate(
        "where => [...document.querySelectorAll(where)].filter(s => s.style.background && s.offsetWidth > 0).length",
        TOKENS,
    )
    assert shown and shown == page.locator(TOKENS).count() and page.locator(CURVES).count() == 1
