"""Models by name: what auto means, what is imported when, and loading and importing weights."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.vinet.twin import rule_weights
from vidfill import models, weights
from vidfill.errors import UsageError, WeightsError
from vidfill.models import MODEL_NAMES, import_checkpoint, load_model, resolve_model
from vidfill.models.checkpoint import begin_with, load_strict
from vidfill.models.opn.authors import PEELING_LAYERS, TEMPORAL_LAYERS, authors_shapes
from vidfill.models.opn.model import OPN, OPNSizes
from vidfill.models.opn.tcn import OPNTCN, OPNTCNSizes
from vidfill.models.vinet.model import VINet, VINetSizes
from vidfill.weights import Card, Checkpoint, find_weights, install_weights, load_weights, save_weights, write_manifest

SLIM = VINetSizes(
    encoder=(4, 4, 4, 4), head=4, estimator=((4, 4, 4, 4, 4),) * 4, context=((4,) * 6,) * 4, search_range_px=1
)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shipped"
    monkeypatch.setattr(weights.manifest, "shipped_dir", lambda: folder)
    return folder


def authors_tensors() -> dict[str, Tensor]:
    return rule_weights(VINet().authors_shapes())


def save_authors(path: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save({"epoch": 7, "state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, path)
    return path


def scored(name: str, *, file: str = "", hole_psnr_db: float | None = None) -> Card:
    scores = {} if hole_psnr_db is None else {"stationary": {"hole_psnr_db": hole_psnr_db}}
    return Card(name, file=file, sha256="0" * 64 if file else "", scores=scores)


def test_resolving_auto_imports_no_torch() -> None:
    code = "import sys, vidfill.models as m; m.resolve_model('auto'); print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_auto_is_the_winner_of_the_recorded_evaluation(tmp_path: Path) -> None:
    scores = {card.name: card.scores.values() for card in weights.read_manifest(weights.shipped_dir())}
    assert {len(protocols) for protocols in scores.values()} <= {0, 2}  # both or none, or the means say nothing
    errors = {
        name: [p["feature_distance"] * max(1, p["flicker"]) ** 0.5 for p in protocols if "flicker" in p]
        for name, protocols in scores.items()
    }
    judged = {name: sum(values) for name, values in errors.items() if values}
    hole = {name: sum(p["hole_psnr_db"] for p in protocols) for name, protocols in scores.items() if protocols}
    best = min(judged, key=judged.__getitem__) if judged else max(hole, key=hole.__getitem__)
    assert resolve_model("auto", model_dir=tmp_path) == best


def test_auto_is_the_best_score_among_usable_models(shipped: Path, tmp_path: Path) -> None:
    cards = (scored("propagate", hole_psnr_db=18.0), scored("vinet", file="vinet.safetensors", hole_psnr_db=19.0))
    write_manifest(shipped, cards)
    assert resolve_model("auto", model_dir=tmp_path) == "propagate"  # the file of the better one is not there
    (shipped / "vinet.safetensors").touch()
    assert resolve_model("auto", model_dir=tmp_path) == "vinet"
    write_manifest(shipped, (scored("vinet", file="vinet.safetensors", hole_psnr_db=17.9), cards[0]))
    assert resolve_model("auto", model_dir=tmp_path) == "propagate"


def test_auto_prefers_measured_models_then_those_without_weights(shipped: Path, tmp_path: Path) -> None:
    unscored = scored("vinet", file="vinet.safetensors")
    write_manifest(shipped, (unscored, scored("propagate")))
    (shipped / "vinet.safetensors").touch()
    assert resolve_model("auto", model_dir=tmp_path) == "propagate"
    write_manifest(shipped, (scored("propagate"), scored("vinet", file="vinet.safetensors", hole_psnr_db=1.0)))
    assert resolve_model("auto", model_dir=tmp_path) == "vinet"


def seen(name: str, feature_distance: float, flicker: float, *, hole_psnr_db: float = 20.0) -> Card:
    measures = {"feature_distance": feature_distance, "flicker": flicker, "hole_psnr_db": hole_psnr_db}
    return Card(name, scores={"stationary": measures})


def test_auto_follows_what_people_see_before_psnr(shipped: Path, tmp_path: Path) -> None:
    def winner(*cards: Card) -> str:
        write_manifest(shipped, cards)
        return resolve_model("auto", model_dir=tmp_path)

    blurred = seen("propagate", 1.2, 0.3, hole_psnr_db=22.0)
    assert winner(blurred, seen("vinet", 1.0, 1.0)) == "vinet"
    assert winner(blurred, seen("vinet", 1.0, 1.4)) == "vinet"
    assert winner(blurred, seen("vinet", 1.0, 1.5)) == "propagate", "1.2 is less than 1.0 times the root of 1.5"
    only_psnr = Card("opn", scores={"stationary": {"hole_psnr_db": 30.0}})
    assert winner(only_psnr, seen("vinet", 1.0, 4.0)) == "vinet", "whoever was not judged by it comes after"


def test_auto_without_any_usable_model_says_so(shipped: Path, tmp_path: Path) -> None:
    write_manifest(shipped, (scored("unheard-of"),))
    with pytest.raises(WeightsError, match="no manifest names a usable model"):
        resolve_model("auto", model_dir=tmp_path)


def test_unknown_model_is_a_usage_error_that_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="auto, " + ", ".join(MODEL_NAMES)):
        load_model("vinett")


def test_propagate_needs_no_weights_and_takes_none(tmp_path: Path) -> None:
    assert load_model("propagate", model_dir=tmp_path).training is False
    with pytest.raises(UsageError, match="has no weights"):
        load_model("propagate", checkpoint=tmp_path / "x.safetensors")


def test_a_model_without_weights_says_how_to_get_on(shipped: Path, tmp_path: Path) -> None:
    write_manifest(shipped, ())
    with pytest.raises(WeightsError, match="vidfill weights import opn") as caught:
        load_model("opn", model_dir=tmp_path)
    assert caught.value.exit_code == 6
    assert "propagate" in str(caught.value)


def test_imported_checkpoint_of_the_authors_is_found_and_the_same(tmp_path: Path) -> None:
    tensors = authors_tensors()
    model_dir = tmp_path / "models"
    installed = import_checkpoint("vinet", save_authors(tmp_path / "authors.pth", tensors), model_dir=model_dir)
    assert installed.path == model_dir / "vinet.safetensors"
    assert "authors.pth" in installed.card.recipe
    assert [path.name for path in sorted(model_dir.iterdir())] == ["manifest.json", "vinet.safetensors"]
    found = load_model("vinet", model_dir=model_dir)
    assert isinstance(found, VINet)
    assert not found.training
    assert found.sizes["double_size"] is True
    # What stands under the authors' names must have gone where their layers are.
    aggregation = found.get_parameter("aggregation.at4.gated.conv.weight")
    stacked = tensors["st_agg_64.stAgg.conv.weight"]
    assert torch.equal(aggregation[:, 3 * 96 : 4 * 96], stacked[:, :, 3])
    assert torch.equal(found.get_parameter("decoder.rgb.weight"), tensors["decoder.dc6.weight"][:, :, 0])
    assert torch.equal(found.get_parameter("flow.at2.context.6.bias"), tensors[f"{FINE}.6.0.bias"])


FINE = "flownet_128.flow_estimator.convs_fine.convs"


def test_checkpoint_that_does_not_fit_names_every_key(tmp_path: Path) -> None:
    tensors = authors_tensors()
    del tensors["encoder1.ec0.conv.weight"], tensors["masknet.convs.2.bias"]
    tensors |= {"extra.weight": torch.zeros(1), "convlstm.Gates.bias": torch.zeros(5)}
    with pytest.raises(WeightsError) as caught:
        import_checkpoint("vinet", save_authors(tmp_path / "x.pth", tensors), model_dir=tmp_path / "models")
    message = str(caught.value)
    assert "missing: encoder1.ec0.conv.weight, masknet.convs.2.bias" in message
    assert "unexpected: extra.weight" in message
    assert "convlstm.Gates.bias (5,) for (512,)" in message
    assert not (tmp_path / "models").exists()


def test_both_checkpoints_of_onion_peel_are_imported(shipped: Path, tmp_path: Path) -> None:
    write_manifest(shipped, ())
    model_dir = tmp_path / "models"
    opn = rule_weights(authors_shapes(OPN(), PEELING_LAYERS))
    temporal = rule_weights(authors_shapes(OPNTCN().temporal, TEMPORAL_LAYERS))
    opn_file, temporal_file = save_authors(tmp_path / "OPN.pth", opn), save_authors(tmp_path / "TCN.pth", temporal)
    with pytest.raises(WeightsError, match="vidfill weights import opn FILE"):
        import_checkpoint("opn-tcn", temporal_file, model_dir=model_dir)
    with pytest.raises(WeightsError, match="TCN.pth does not fit the network .missing: Decoder.conv3c"):
        import_checkpoint("opn", temporal_file, model_dir=model_dir)
    import_checkpoint("opn", opn_file, model_dir=model_dir)
    import_checkpoint("opn-tcn", temporal_file, model_dir=model_dir)
    found, both = load_model("opn", model_dir=model_dir), load_model("opn-tcn", model_dir=model_dir)
    assert isinstance(both, OPNTCN)
    key = torch.cat([opn[f"Encoder.key3.{part}.weight"] for part in ("input_conv", "gating_conv")])
    assert torch.equal(found.get_parameter("encoder.key.conv.weight"), key)
    assert torch.equal(both.get_parameter("opn.encoder.key.conv.weight"), key)
    assert torch.equal(both.get_parameter("temporal.memory.gates_of_hidden.bias"), temporal["GRU.convHH.bias"])


def test_a_network_begins_with_weights_it_can_use(tmp_path: Path) -> None:
    torch.manual_seed(0)
    slim = OPNTCNSizes(opn=OPNSizes(half=2, channels=4), temporal=(2, 2, 2, 2))
    whole = OPNTCN(slim)
    save_weights(tmp_path / "whole.safetensors", Checkpoint("opn-tcn", whole.sizes, whole.state_dict()))
    save_weights(tmp_path / "opn.safetensors", Checkpoint("opn", whole.opn.sizes, whole.opn.state_dict()))
    for file, same in (("whole", True), ("opn", False)):
        network = OPNTCN(slim)
        begin_with(network, "opn-tcn", tmp_path / f"{file}.safetensors")
        equal = {name for name, tensor in network.state_dict().items() if torch.equal(tensor, whole.state_dict()[name])}
        assert {name for name in network.state_dict() if name.startswith("opn.")} <= equal
        assert ("temporal.decoder.rgb.conv.weight" in equal) is same
    save_slim(tmp_path / "vinet.safetensors")
    with pytest.raises(WeightsError, match="holds weights for vinet; expected opn-tcn or opn"):
        begin_with(OPNTCN(slim), "opn-tcn", tmp_path / "vinet.safetensors")


def test_only_models_with_weights_can_be_imported(tmp_path: Path) -> None:
    for name in ("propagate", "nonsense"):
        with pytest.raises(UsageError, match="expected one of vinet"):
            import_checkpoint(name, tmp_path / "x.pth")


@pytest.fixture
def borrower(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model that takes the weights of vinet."""
    entry = replace(models._REGISTRY["vinet"], weights_of="vinet")
    monkeypatch.setitem(models._REGISTRY, "borrower", entry)
    return "borrower"


def test_a_model_with_the_weights_of_another_loads_its_file(shipped: Path, tmp_path: Path, borrower: str) -> None:
    network = VINet(SLIM)
    owner = install_weights(Card("vinet", sizes=network.sizes), network.state_dict(), model_dir=shipped).card
    own_scores = {"stationary": {"hole_psnr_db": 30.0}}
    write_manifest(shipped, (owner, replace(owner, name=borrower, scores=own_scores)))
    for found in (
        load_model(borrower, model_dir=tmp_path),
        load_model("auto", model_dir=tmp_path),  # by its own scores
        load_model(borrower, checkpoint=shipped / "vinet.safetensors", model_dir=tmp_path),
    ):
        assert torch.equal(found.get_parameter("decoder.rgb.weight"), network.decoder.rgb.weight)


def test_a_model_with_the_weights_of_another_takes_no_third_ones(tmp_path: Path, borrower: str) -> None:
    for model in ("opn", borrower):
        save_slim(tmp_path / "x.safetensors", model=model)
        with pytest.raises(WeightsError, match=f"holds weights for {model}; expected vinet"):
            load_model(borrower, checkpoint=tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match="no weights can be imported for 'borrower'"):
        import_checkpoint(borrower, tmp_path / "x.pth")


def save_slim(path: Path, *, model: str = "vinet", sizes: dict[str, Any] | None = None) -> VINet:
    torch.manual_seed(0)
    network = VINet(SLIM)
    save_weights(path, Checkpoint(model, sizes or network.sizes, network.state_dict()))
    return network


def test_checkpoint_argument_goes_before_what_is_installed(tmp_path: Path) -> None:
    network = save_slim(tmp_path / "slim.safetensors")
    found = load_model("vinet", checkpoint=tmp_path / "slim.safetensors", model_dir=tmp_path)
    assert found.sizes == network.sizes
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in found.state_dict().items())


def test_own_weights_go_before_shipped_ones(shipped: Path, tmp_path: Path) -> None:
    network = VINet(SLIM)
    theirs = install_weights(Card("vinet", sizes=network.sizes), network.state_dict(), model_dir=shipped)
    installed = find_weights("vinet", model_dir=tmp_path)
    assert installed is not None
    assert (installed.origin, installed.path) == ("shipped", theirs.path)
    mine = install_weights(Card("vinet", sizes=network.sizes), network.state_dict(), model_dir=tmp_path)
    assert find_weights("vinet", model_dir=tmp_path) == mine


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_slim(tmp_path / "other.safetensors", model="opn")
    with pytest.raises(WeightsError, match="holds weights for opn; expected vinet"):
        load_model("vinet", checkpoint=tmp_path / "other.safetensors")


@pytest.mark.parametrize("sizes", [{"encoder": [4, 4]}, {"colour": 1}])
def test_sizes_that_describe_no_network_are_refused(tmp_path: Path, sizes: dict[str, Any]) -> None:
    save_slim(tmp_path / "x.safetensors", sizes=sizes)
    with pytest.raises(WeightsError, match="describes no vinet network"):
        load_model("vinet", checkpoint=tmp_path / "x.safetensors")


def test_weights_that_do_not_fit_their_sizes_are_refused(tmp_path: Path) -> None:
    save_slim(tmp_path / "x.safetensors", sizes={**VINet(SLIM).sizes, "head": 5})
    with pytest.raises(WeightsError, match=r"decoder.rgb.weight \(3, 4, 3, 3\) for \(3, 5, 3, 3\)"):
        load_model("vinet", checkpoint=tmp_path / "x.safetensors")


def test_installed_weights_are_hashed_on_every_load(tmp_path: Path) -> None:
    network = VINet(SLIM)
    installed = install_weights(Card("vinet", sizes=network.sizes), network.state_dict(), model_dir=tmp_path)
    assert installed.path is not None
    content = bytearray(installed.path.read_bytes())
    content[-1] ^= 1
    installed.path.write_bytes(content)
    with pytest.raises(WeightsError, match="sha256"):
        load_model("vinet", model_dir=tmp_path)


def test_load_strict_loads_what_fits() -> None:
    source, target = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    load_strict(target, source.state_dict(), source="here")
    assert torch.equal(target.weight, source.weight)
    with pytest.raises(WeightsError, match="here does not fit.*missing: bias"):
        load_strict(target, {"weight": source.weight}, source="here")


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    network = save_slim(tmp_path / "a.safetensors")
    loaded = load_weights(tmp_path / "a.safetensors")
    assert loaded.sizes == network.sizes
    assert {k: v.numpy().tobytes() for k, v in loaded.tensors.items()} == {
        k: v.contiguous().numpy().tobytes() for k, v in network.state_dict().items()
    }


def test_checkpoint_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump(_Evil(str(tmp_path / "ran")), file)
    torch.save({"state_dict": _Evil(str(tmp_path / "ran"))}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(WeightsError, match="more than tensors and plain data"):
            import_checkpoint("vinet", tmp_path / name, model_dir=tmp_path / "models")
    assert not (tmp_path / "ran").exists()


class _Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.path),)
