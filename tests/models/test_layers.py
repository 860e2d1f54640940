"""Shared layers against their formulas and slow twins."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name the field uses

from tests.models.vinet.twin import slow_correlation
from vidfill.models.layers import ConvLSTM, GatedConv, LeakyConv, LSTMMemory, correlation, resize


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (6, 12), (13, 7), (25, 31)])
@pytest.mark.parametrize("reach", [1, 4])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_correlation_is_the_mean_product_at_each_displacement(
    size: tuple[int, int], reach: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    target, source = (torch.randn(2, 5, *size).contiguous(memory_format=layout) for _ in range(2))
    assert torch.allclose(correlation(target, source, reach), slow_correlation(target, source, reach), atol=1e-6)


def test_correlation_takes_several_sources_for_each_target() -> None:
    torch.manual_seed(0)
    target, sources = torch.randn(2, 4, 9, 14), torch.randn(6, 4, 9, 14)
    each = torch.cat([slow_correlation(target, source, 4) for source in torch.split(sources, 2)])
    assert torch.allclose(correlation(target, sources, 4), each, atol=1e-6)


def test_correlation_peaks_where_the_source_has_moved_to() -> None:
    torch.manual_seed(0)
    source = F.normalize(torch.randn(1, 64, 20, 20), dim=1)
    target = source.roll((-2, 3), dims=(2, 3))  # target[y, x] = source[y + 2, x - 3]
    volume = correlation(target, source, 4)
    assert (volume[0, :, 5:15, 5:15].argmax(dim=0) == (2 + 4) * 9 + (-3 + 4)).all()


def test_correlation_has_the_gradient_of_its_twin() -> None:
    torch.manual_seed(0)
    weight = torch.randn(2, 81, 7, 11)
    gradients = []
    for function in (correlation, slow_correlation):
        torch.manual_seed(1)
        target, source = (torch.randn(2, 3, 7, 11, requires_grad=True) for _ in range(2))
        (function(target, source, 4) * weight).sum().backward()  # type: ignore[no-untyped-call]
        assert target.grad is not None
        assert source.grad is not None
        gradients.append(torch.cat([target.grad, source.grad]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-5)


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_gated_convolution_is_activation_times_gate(slope: float) -> None:
    layer = GatedConv(3, 4, stride=2, negative_slope=slope)
    x = torch.randn(2, 3, 9, 8)
    phi, gate = F.conv2d(x, layer.conv.weight, stride=2, padding=1).chunk(2, dim=1)
    expected = torch.where(phi > 0, phi, slope * phi) * torch.sigmoid(gate)
    assert layer(x).shape == (2, 4, 5, 4)
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_gated_convolution_keeps_the_scale_of_its_input() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 32, 32, 32)
    with torch.no_grad():
        for _ in range(8):
            x = GatedConv(32, 32)(x)
    assert 0.1 < float(x.pow(2).mean()) < 10


def test_leaky_convolution_keeps_the_size_at_any_dilation() -> None:
    layer = LeakyConv(2, 3, dilation=16)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1.0, -1.0, 0.0]))  # type: ignore[union-attr] # it has one
    assert layer(torch.randn(1, 2, 5, 7))[0, :, 2, 3].tolist() == pytest.approx([1.0, -0.1, 0.0])


def test_memory_gates_are_input_forget_output_candidate() -> None:
    layer = ConvLSTM(1)
    torch.nn.init.zeros_(layer.gates.weight)
    bias = torch.tensor([0.3, -0.7, 1.1, 0.5])
    with torch.no_grad():
        layer.gates.bias.copy_(bias)  # type: ignore[union-attr] # it has one
    old = LSTMMemory(torch.full((1, 1, 2, 2), 0.4), torch.full((1, 1, 2, 2), -0.9))
    new = layer(torch.randn(1, 1, 2, 2), old)
    admit, keep, show = torch.sigmoid(bias[:3])
    cell = keep * -0.9 + admit * torch.tanh(bias[3])
    assert torch.allclose(new.cell, cell.expand(1, 1, 2, 2))
    assert torch.allclose(new.hidden, (show * torch.tanh(cell)).expand(1, 1, 2, 2))


def test_memory_sees_its_input_before_its_hidden_state() -> None:
    layer = ConvLSTM(1)
    torch.nn.init.zeros_(layer.gates.weight)
    torch.nn.init.zeros_(layer.gates.bias)  # type: ignore[arg-type] # it has one
    with torch.no_grad():
        layer.gates.weight[3, 0, 1, 1] = 1.0  # the candidate looks at the input alone
    x = torch.full((1, 1, 1, 1), 0.8)
    new = layer(x, LSTMMemory(torch.full((1, 1, 1, 1), 100.0), torch.zeros(1, 1, 1, 1)))
    assert new.cell.item() == pytest.approx(0.5 * torch.tanh(x).item())


def test_no_memory_is_a_memory_of_zeros() -> None:
    torch.manual_seed(0)
    layer, x = ConvLSTM(3), torch.randn(2, 3, 4, 5)
    zeros = torch.zeros(2, 3, 4, 5)
    assert torch.equal(layer(x, None).cell, layer(x, LSTMMemory(zeros, zeros)).cell)


def test_memory_stays_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        memory = ConvLSTM(3)(torch.randn(1, 3, 4, 4).bfloat16(), None)
    assert memory.cell.dtype == memory.hidden.dtype == torch.float32


def test_resize_reaches_any_size() -> None:
    assert resize(torch.ones(1, 2, 3, 4), (7, 9)).shape == (1, 2, 7, 9)
