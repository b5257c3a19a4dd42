"Voice: all four meters of a call, and the audio tokens of a speech model"

from datetime import UTC, datetime

import pytest

from rlops_lab.core import Usage
from rlops_lab.stats import Estimate
from rlops_lab.tokenomics.prices import price
from rlops_lab.tokenomics.voice import (
    PHONE_MINUTE,
    SPEECH_CHARACTERS,
    TRANSCRIPT_MINUTE,
    VOICE_MILLION,
    realtime_usage,
    speech_usd,
    voice_usd,
)

DAY = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_call_by_hand():
    call = voice_usd(10, Estimate(0.02, 0.01, 0.04), share_spoken=0.4)
    characters = {end: 4 * getattr(SPEECH_CHARACTERS, end) for end in ('value', 'low', 'high')}
    for end, model in (('value', 0.02), ('low', 0.01), ('high', 0.04)):
        line, transcript = 10 * getattr(PHONE_MINUTE, end), 10 * getattr(TRANSCRIPT_MINUTE, end)
        voice = characters[end] * getattr(VOICE_MILLION, end) / 1e6
        assert getattr(call.usd, end) == pytest.approx(line + transcript + voice + model)


def test_a_part_without_a_price_is_left_out():
    assert set(voice_usd(5, 0.1, voice=0, transcript=0).parts) == {'line', 'model'}
    assert voice_usd(5, 0.0, phone=0, transcript=0, voice=10, characters_per_minute=1000).usd == Estimate(
        0.025, 0.025, 0.025
    )


@pytest.mark.parametrize(
    'bad',
    [dict(minutes=0), dict(share_spoken=1.2), dict(model_usd=-0.1), dict(phone=float('nan'))],
)
def test_calls_that_cannot_be(bad):
    with pytest.raises(ValueError):
        voice_usd(**{'minutes': 5, 'model_usd': 0.1, **bad})


@pytest.mark.parametrize(
    'model, how, usd',
    [
        ('whisper-1', dict(seconds=3600), 0.36),
        ('whisper-large-v3-turbo', dict(provider='groq', seconds=3600), 0.04),
        ('tts-1', dict(characters=1e6), 15.0),
        ('gpt-live-1', dict(seconds=60), 0.05),
    ],
)
def test_services_by_the_hour_and_the_character(model, how, usd):
    assert speech_usd(model, when=DAY, **how) == pytest.approx(usd)


def test_what_a_service_does_not_bill_is_refused():
    with pytest.raises(ValueError, match='no price by input_mchars'):
        speech_usd('whisper-1', characters=10)
    with pytest.raises(ValueError, match='no price by audio_hours'):
        speech_usd('gpt-6-luna', seconds=10)


def test_every_turn_reads_the_call_so_far():
    # 3 turns of 10 s heard (100 tokens) and 5 s spoken (100 tokens): 100, 300, 500 read; hits 0, 100, 300
    audio = realtime_usage(3, 10, 5)['audio']
    assert audio == Usage(900, 400, 300, calls=3)
    assert audio.longest_prompt == 500
    half = realtime_usage(3, 10, 5, instruction_tokens=200, share_hit=0.5)
    assert (half['audio'].cached_tokens, half['text'].cached_tokens) == (200, 200)
    usd = price('gpt-realtime-2', audio, when=DAY, modality='audio').usd
    assert usd == pytest.approx((500 * 32 + 400 * 0.4 + 300 * 64) / 1e6)
