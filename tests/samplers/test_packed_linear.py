"Sampling on a processor without products in bfloat16"

import pytest
import torch
import torch.nn.functional as F

from rlops_lab.models import load as load_module
from rlops_lab.samplers import sampling_model
from rlops_lab.samplers.sampling_model import packed_linear


def without_bfloat16(dtype):
    return dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_processor_without_a_layout_multiplies_as_usual(dtype, monkeypatch):
    monkeypatch.setattr(sampling_model, "multiplies_fast", without_bfloat16)
    weight, bias, x = torch.randn(8, 16).to(dtype), torch.randn(8).to(dtype), torch.randn(3, 16).to(dtype)
    torch.testing.assert_close(packed_linear(weight, bias)(x), F.linear(x, weight, bias))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_this_processor_multiplies_in_every_precision(dtype):
    weight, bias, x = torch.randn(8, 16).to(dtype), torch.randn(8).to(dtype), torch.randn(3, 16).to(dtype)
    torch.testing.assert_close(packed_linear(weight, bias)(x), F.linear(x, weight, bias), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    "name, fast, device, expected",
    [
        ("smollm2", True, "cpu", torch.bfloat16),
        ("smollm2", False, "cpu", torch.float32),
        ("smollm2", False, "cuda", torch.bfloat16),
        ("tiny", True, "cpu", torch.float32),
    ],
)
def test_the_usual_precision_is_the_one_a_device_is_fast_in(name, fast, device, expected, monkeypatch):
    monkeypatch.setattr(load_module, "multiplies_fast", lambda dtype: fast)
    assert load_module._usual_dtype(name, device) == expected
