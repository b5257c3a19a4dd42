"Live training without a browser: clicks and texts arrive as messages, updates wait for a gate, and what goes wrong is visible"

import asyncio, re, threading, time, warnings
from types import SimpleNamespace

import pytest
from browsing import click, from_browser
from policies import timeless, trainer as offline_trainer
from rlops_lab.ppo.config import PPOConfig
from rlops_lab.widgets.live import LiveTraining, curves_png

pytestmark = pytest.mark.usefixtures('loud')


class Gated:
    "A trainer whose updates wait until they are let through"

    def __init__(self, open=0, n_updates=0, **settings):
        self.args, self.gate = PPOConfig(**(dict(num_updates=5) | settings)), threading.Semaphore(open)
        self.n_updates, self.trajectories, self.rollout_options = n_updates, [], {}
        self.stopped = self.tokenizer = self.fault = None

    def steps(self):
        while self.n_updates < self.args.num_updates and not self.stopped:
            rate = self.args.learning_rate
            assert self.gate.acquire(timeout=60)
            if self.fault:
                raise self.fault
            self.trajectories, self.n_updates = [SimpleNamespace(reward=1.0)], self.n_updates + 1
            yield dict(
                update=self.n_updates,
                reward=0.1 * self.n_updates,
                reward_std=0.1,
                episodes=4,
                kl_k3=0.01,
                explained_variance=None,
                length=9.0,
                learning_rate=rate,
                kl_coef=self.args.kl_coef,
                clip_range=self.args.clip_range,
            )


async def until(happened):
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end, 'it did not happen within a minute'
        await asyncio.sleep(0.005)


def drive(body, **kw):
    "A run that has begun its first update, `body(live, task)`, and its end"

    async def main():
        live = LiveTraining(Gated(**kw))
        task = asyncio.create_task(live.run())
        await until(lambda: live.work)
        await body(live, task)
        live.trainer.gate.release(100)
        return live, await task

    return asyncio.run(main())


def test_a_click_is_answered_while_an_update_computes():
    async def body(live, task):
        await until(lambda: 'update 1 of 5: playing episodes' in live.doing)
        assert not live.buttons['pause'].disabled and live.buttons['go'].disabled
        click(live.buttons['pause'])
        assert live.doing == 'pauses after this update' and live.work and not live.records
        live.trainer.gate.release(100)
        await until(lambda: live.doing.startswith('paused after update 1'))
        await asyncio.sleep(0.1)
        assert len(live.records) == 1 and live.buttons['pause'].disabled and not live.buttons['go'].disabled
        click(live.buttons['go'])

    live, records = drive(body)
    assert [r['update'] for r in records] == [1, 2, 3, 4, 5] and live.doing == 'finished after update 5 of 5'
    assert all(b.disabled for b in live.buttons.values())


def test_stop_and_run_again():
    async def body(live, task):
        click(live.buttons['stop'])
        assert live.doing == 'stops after this update' and all(b.disabled for b in live.buttons.values())

    live, records = drive(body)
    assert len(records) == 1 and live.doing == 'stopped after update 1 of 5' and not live.running
    assert len(asyncio.run(live.run())) == 5


@pytest.mark.parametrize(
    'name, typed, value',
    [
        ('learning_rate', '1e-3', 1e-3),
        ('kl_coef', ' 0.5 ', 0.5),
        ('kl_coef', '0', 0.0),
        ('clip_range', '.1', 0.1),
        ('clip_range', '(0.2, 0.28)', (0.2, 0.28)),
    ],
)
def test_a_typed_setting_holds_from_the_next_update_on(name, typed, value, sent):
    async def body(live, task):
        was = getattr(live.trainer.args, name)
        del sent[:]
        from_browser(live.fields[name], value=typed)
        assert live.notes[name].value == 'from update 2 on' and getattr(live.trainer.args, name) == was
        assert any(
            d.get('state', {}).get('value') == 'from update 2 on' for kind, d in sent if kind == 'comm_msg'
        )

    live, records = drive(body)
    assert [r[name] for r in records] == [records[0][name]] + [value] * 4 and records[0][name] != value
    assert (
        len(live.changes) == 1
        and live.changes[0][0] == 2
        and 'from update 2 on' in live.html()
        and live.notes[name].value == ''
    )


@pytest.mark.parametrize(
    'name, typed, text',
    [
        ('learning_rate', '0', 'must be positive'),
        ('learning_rate', 'fast', 'write a number'),
        ('learning_rate', '', 'write a number'),
        ('learning_rate', 'inf', 'write a number'),
        ('kl_coef', '-1', 'must not be negative'),
        ('kl_coef', '.1, .2', 'write a number'),
        ('clip_range', '0', 'must be positive'),
        ('clip_range', '.1, .2, .3', 'two: low, high'),
        ('clip_range', '.8', 'dual_clip'),
    ],
)
def test_a_bad_value_shows_why_and_changes_nothing(name, typed, text):
    async def body(live, task):
        from_browser(live.fields[name], value=typed)
        assert text in live.notes[name].value and not live.pending and live.fields[name].value == typed

    live, records = drive(body, dual_clip=1.5)
    assert live.trainer.args == PPOConfig(num_updates=5, dual_clip=1.5) and not live.changes
    assert live.fields[name].value == typed and text in live.notes[name].value  # it stays until it is mended
    from_browser(live.fields[name], value=live.in_force(name))
    assert live.notes[name].value == ''


def test_two_settings_are_checked_together():
    live = LiveTraining(Gated(kl_target=0.1))
    from_browser(live.fields['kl_coef'], value='0')
    assert 'kl_target' in live.notes['kl_coef'].value and not live.pending


def test_what_the_trainer_moves_is_shown():
    async def body(live, task):
        live.trainer.args.kl_coef = 0.07
        click(live.buttons['stop'])

    live, _ = drive(body)
    assert live.fields['kl_coef'].value == '0.07' and not live.pending and not live.changes


def test_a_click_that_cannot_work_is_loud():
    live = LiveTraining(Gated())
    with pytest.raises(RuntimeError, match='nothing is running'):
        click(live.buttons['pause'])
    assert 'RuntimeError' in live.html() and 'await live.run()' in live.html()


def test_an_update_that_raises_is_shown_and_raised():
    trainer = Gated(open=100)
    live = LiveTraining(trainer)
    trainer.fault = FloatingPointError('the gradient is <nan>')
    with pytest.raises(FloatingPointError):
        asyncio.run(live.run())
    assert 'the gradient is &lt;nan&gt;' in live.html() and not live.running and live.work is None
    trainer.fault = None
    assert len(asyncio.run(live.run())) == 5 and 'nan' not in live.html()


def test_an_interrupt_waits_for_the_update_and_a_second_does_not():
    async def main():
        live = LiveTraining(Gated())
        task = asyncio.create_task(live.run())
        await until(lambda: live.work)
        task.cancel()
        await until(lambda: live.wish == 'stop')
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert live.work and not live.records and live.doing == 'interrupted after update 0 of 5'
        live.trainer.gate.release(100)
        records = await live.run()
        assert [r['update'] for r in records] == [1, 2, 3, 4, 5]

    asyncio.run(main())


def test_one_run_at_a_time():
    async def body(live, task):
        with pytest.raises(RuntimeError, match='going on already'):
            await live.run()

    drive(body)


def test_warnings_are_alarms():
    class Alarming(Gated):
        def steps(self):
            for record in super().steps():
                warnings.warn(f'update {self.n_updates}: longer episodes earn more')
                warnings.warn('old name', DeprecationWarning)
                yield record

    live = LiveTraining(Alarming(open=100))
    asyncio.run(live.run())
    assert live.alarms == [f'update {n}: longer episodes earn more' for n in range(1, 6)]
    assert live.html().count('⚠') == 5 and '2 earlier alarms' in live.html()


def test_it_takes_the_trainers_own_steps():
    live = LiveTraining(offline_trainer())
    plain = [timeless(r) for r in offline_trainer().steps()]
    assert [timeless(r) for r in asyncio.run(live.run())] == plain


def test_a_run_that_the_trainer_ends_says_why():
    async def body(live, task):
        live.trainer.stopped = 'KL 3.2 nats a token exceeds stop_kl=3'

    live, records = drive(body)
    assert len(records) == 1 and live.doing == 'KL 3.2 nats a token exceeds stop_kl=3 after update 1 of 5'


def test_a_resumed_trainer_counts_on():
    async def body(live, task):
        await until(lambda: 'update 4 of 5' in live.doing)

    live, records = drive(body, n_updates=3)
    assert [r['update'] for r in records] == [4, 5]


def test_the_time_left():
    live = LiveTraining(Gated())
    live.seconds, live.done = [100.0] + [2.0] * 5, 2
    assert live._progress(time.perf_counter(), live.trainer.trajectories).endswith('· 6.0 s left')
    live.wish = 'pause'
    assert ', then pause' in live._progress(time.perf_counter(), None)


def test_what_stays_needs_nothing_beside_itself():
    live, _ = drive(lambda live, task: asyncio.sleep(0))
    assert (
        not re.search(r'<script|<style|<svg|<link|href=|https?:| id=', live.static().data)
        and live.static().data.count('<img') == 1
    )


def test_curves():
    record = dict(
        update=1, reward=0.5, reward_std=0.1, episodes=4, kl_k3=None, explained_variance=0.1, length=3.0
    )
    pictures = [
        curves_png(*args)
        for args in (
            ([],),
            ([record],),
            ([record], 'eval/reward'),
            ([record], None, [(1, 'kl_coef')]),
            ([record, record | {'update': 2, 'eval/reward': 0.4}], 'eval/reward'),
        )
    ]
    assert len(set(pictures)) == 5 and all(p.startswith(b'\x89PNG') for p in pictures)


def test_the_viewer_needs_an_update():
    with pytest.raises(ValueError, match='no update has ended'):
        LiveTraining(Gated()).viewer()
