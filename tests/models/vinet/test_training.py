"""What training needs of VINet: flows in its record, and matching that works from the first step."""

import torch

from vidfill.models.base import View, Window
from vidfill.models.vinet.flow import FlowSubnetwork
from vidfill.models.vinet.model import VINet, VINetSizes

SIZES = VINetSizes(
    encoder=(4, 4, 6, 8), head=4, estimator=((8, 4),) * 4, context=((4,) * 6,) * 4, normalise_correlation=True
)


def test_the_record_holds_the_flows_of_all_scales() -> None:
    network = VINet(SIZES)
    frame, hole = torch.rand(2, 3, 32, 48), torch.zeros(2, 1, 32, 48)
    view = View(0, frame, hole, network.encode(frame, hole))
    flows = network.step(Window(view, [view] * 4), None, 0).record.flows
    assert [tuple(flow.shape) for flow in flows] == [(10, 2, 2, 3), (10, 2, 4, 6), (10, 2, 8, 12)]
    assert all((flow == 0).all() for flow in flows), "a new network starts from no motion"


def test_both_encoders_start_alike_so_that_their_features_match() -> None:
    network = VINet(SIZES)
    own, other = network.target_encoder.state_dict(), network.source_encoder.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert own["at1.conv.weight"].data_ptr() != other["at1.conv.weight"].data_ptr()


def test_correlation_ignores_brightness_and_contrast() -> None:
    torch.manual_seed(0)
    plain, normalised = (
        FlowSubnetwork(8, estimator=(8, 4), context=(4,) * 6, search_range_px=1, has_coarser=False, normalise=flag)
        for flag in (False, True)
    )
    for network in (plain, normalised):
        torch.nn.init.normal_(network.coarse.weight)
    target, source = 5 * torch.rand(1, 8, 6, 6), 5 * torch.rand(1, 8, 6, 6)
    for network, is_same in ((plain, False), (normalised, True)):
        dark, bright = (network(target, s, None) for s in (source, 3 * source + 5))
        assert torch.allclose(dark, bright, atol=0.02) == is_same


def test_a_normalised_target_has_no_scale() -> None:
    torch.manual_seed(0)
    raw, normalised = (
        FlowSubnetwork(
            8, estimator=(8, 4), context=(4,) * 6, search_range_px=1, has_coarser=True,
            normalise=True, normalise_target=flag,
        )
        for flag in (False, True)
    )  # fmt: skip
    target, sources, coarser = 50 * torch.rand(1, 8, 6, 6), 5 * torch.rand(2, 8, 6, 6), torch.rand(2, 2, 6, 6)
    for network, is_same in ((raw, False), (normalised, True)):
        torch.nn.init.normal_(network.coarse.weight)
        full, shrunk = (network(scale * target, sources, coarser) for scale in (1.0, 0.2))
        assert torch.allclose(full, shrunk, atol=0.02) == is_same


def test_sizes_of_an_older_file_build_what_they_did() -> None:
    sizes = {name: value for name, value in VINet(SIZES).sizes.items() if name != "normalise_target"}
    assert VINet.from_sizes(sizes).sizes == {**sizes, "normalise_target": False}
