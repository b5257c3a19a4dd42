"Signs of a training that was too short: rarely where there is none, mostly where there is one"

import math

import numpy as np
import pytest

from rlops_lab.core import rng
from rlops_lab.finetune.training_length import late_fall, short_training


def noisy(course, i, spread=0.08):
    return course + rng(i, 'losses').normal(0, spread, len(course))


def test_a_flat_course_is_rarely_called_falling():
    flat = np.full(120, 0.4)
    assert sum(bool(short_training(noisy(flat, i), math.log(2))) for i in range(200)) <= 8


def test_a_course_that_falls_is_called_so_and_learning_by_heart_is_not():
    falling = np.linspace(0.69, 0.35, 120)
    assert sum(bool(short_training(noisy(falling, i), math.log(2))) for i in range(200)) >= 190
    assert not any(short_training(noisy(falling, i), math.log(2), held_loss=0.7) for i in range(50))


def test_nothing_learnt_and_few_steps():
    for i in range(50):
        assert 'ended at' in short_training(noisy(np.full(120, 0.69), i), math.log(2))[0]
    assert short_training([0.5] * 7, math.log(2)) == ['it was trained for 7 steps']
    with pytest.raises(ValueError, match='at least 8'):
        late_fall([0.5] * 7)


def test_the_interval_of_the_fall_holds_it():
    course = np.linspace(0.6, 0.4, 200)
    truth = course[100:150].mean() - course[150:].mean()
    held = [not late_fall(noisy(course, i)).excludes(truth) for i in range(300)]
    assert np.mean(held) >= 0.92
