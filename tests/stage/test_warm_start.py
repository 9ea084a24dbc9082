"""Wan's weights in the video path: its output is reproduced, every key accounted for, and what does not fit is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from avatar_lab.avatar_model import AvatarModel
from avatar_lab.checkpoint import build_model
from avatar_lab.codebook import Codebook
from avatar_lab.config import COMPOSITION_ERRORS, load
from avatar_lab.construct import build
from avatar_lab.diffusion.warp import Warp
from avatar_lab.level import Level
from avatar_lab.model import dit
from avatar_lab.model.dit import JointDiT
from avatar_lab.model.visibility import Role
from avatar_lab.stage.start import ModelSize
from avatar_lab.stage.teacher import Teacher
from avatar_lab.stage.warm_start import WanWeights, counterpart
from avatar_lab.tensors import AVState, NoiseLevels
from tests.factory import LAYOUT, USER_WIDTH, WIDTH, context_of, random_batch, tiny_codebook
from tests.training.stages import RATES, fake_codecs

GRID = (4, 6, 3)
"""Not square, so that rows cannot pass for columns."""
NUM_BLOCKS = 3
CONFIGS = Path(__file__).parents[2] / "configs"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def wan(grid: tuple[int, int, int] = GRID, **changes: Any) -> Any:
    """A random Wan whose every parameter matters; its text cross-attention adds nothing."""
    diffusers = pytest.importorskip("diffusers", reason="needs the extra: pip install 'avatar-lab[codecs]'")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "in_channels": grid[2],
        "out_channels": grid[2],
        "text_dim": 8,
        "ffn_dim": 60,
        "num_layers": 2,
    }
    network = diffusers.WanTransformer3DModel(**sizes | changes).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
            if "attn2.to_out" in name:
                parameter.zero_()
    return network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wan") / "transformer"
    wan().save_pretrained(path)
    return path


def trunk(grid: tuple[int, int, int] = GRID, **changes: Any) -> AvatarModel:
    sizes = {"width": 24, "num_heads": 2, "num_layers": 2, "patch": 2, "feed_forward_ratio": 2.5}
    torch.manual_seed(1)
    return build_model(
        layout=LAYOUT,
        codebook=tiny_codebook(),
        level=Level.SEE,
        sizes={"grid": grid, "user_width": USER_WIDTH} | sizes | changes,
        video_head="VelocityHead",
        audio_warp=Warp(),
        video_warp=Warp(),
    )


def without_audio_keys(num_blocks: int, tokens_per_block: int) -> Tensor:
    """No token sees an audio token but itself, so what video tokens become depends on video tokens alone."""
    is_video = torch.arange(num_blocks * tokens_per_block) % tokens_per_block >= LAYOUT.audio_per_block
    return is_video[None] | torch.eye(len(is_video), dtype=torch.bool)


def ours(net: JointDiT, video_BFHWC: Tensor, sigma_BF: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Velocity of the forward as it is trained, conditions and both user streams there, audio keys alone hidden."""
    monkeypatch.setattr(dit, "avatar_mask", lambda *_, **__: without_audio_keys(NUM_BLOCKS, net.tokens_per_block))
    batch = random_batch(num_blocks=NUM_BLOCKS, dtype=torch.float32)
    anchor = replace(batch.anchor, picture_BHWC=torch.randn(batch.size, *net.grid))
    context = context_of(replace(batch, anchor=anchor))
    num_audio = NUM_BLOCKS * LAYOUT.audio_per_block
    noisy = AVState(audio_BAD=torch.randn(batch.size, num_audio, WIDTH), video_BFHWC=video_BFHWC)
    levels = NoiseLevels(audio_BA=torch.rand(batch.size, num_audio), video_BF=sigma_BF)
    with torch.no_grad():
        return net(noisy, levels, context, role=Role.BIDIRECTIONAL).velocity_BFHWC


def theirs(network: Any, video_BFHWC: Tensor, timestep: Tensor) -> Tensor:
    text = torch.randn(len(video_BFHWC), 5, 8)
    with torch.no_grad():
        output = network(video_BFHWC.permute(0, 4, 1, 2, 3), timestep, text, return_dict=False)[0]
    return output.permute(0, 2, 3, 4, 1)


def noise(grid: tuple[int, int, int] = GRID) -> Tensor:
    return torch.randn(2, NUM_BLOCKS * LAYOUT.latents_per_block, *grid, generator=torch.Generator().manual_seed(3))


def test_the_video_path_returns_what_wan_returns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = trunk().net
    WanWeights(folder=str(folder)).apply(net)
    sigma_B = torch.tensor([0.25, 0.875])  # 1000 times these are whole numbers in float32 too
    found = ours(net, noise(), sigma_B[:, None].expand(-1, noise().shape[1]), monkeypatch)
    expected = theirs(wan(), noise(), 1000 * sigma_B)
    assert expected.std() > 0.1
    assert (found - expected).abs().max() < 1e-5


def test_so_it_does_with_a_noise_level_for_each_latent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = trunk().net
    WanWeights(folder=str(folder)).apply(net)
    sigma_BF = torch.arange(2 * noise().shape[1]).reshape(2, -1) / 16
    per_token = (1000 * sigma_BF).repeat_interleave(net.patches.per_latent, dim=1)
    expected = theirs(wan(), noise(), per_token)
    assert (ours(net, noise(), sigma_BF, monkeypatch) - expected).abs().max() < 1e-5
    assert (theirs(wan(), noise(), 1000 * sigma_BF[:, 0]) - expected).abs().max() > 1e-2, "levels matter"


def test_nothing_but_audio_keys_stands_between(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison sees a difference where there is one: audio keys left visible, or conditions that add."""
    net = trunk().net
    WanWeights(folder=str(folder)).apply(net)
    sigma_BF = torch.full(noise().shape[:2], 0.5)
    hidden = ours(net, noise(), sigma_BF, monkeypatch)
    with monkeypatch.context() as visible:
        visible.setattr(f"{__name__}.without_audio_keys", lambda *_: None)
        assert (ours(net, noise(), sigma_BF, visible) - hidden).abs().max() > 1e-3
    torch.nn.init.normal_(net.get_parameter("layers.0.conditions.o.weight"), std=0.1)
    assert (ours(net, noise(), sigma_BF, monkeypatch) - hidden).abs().max() > 1e-3


def test_every_key_is_reported_once(folder: Path) -> None:
    net = trunk().net
    report = WanWeights(folder=str(folder)).apply(net)
    stored = load_file(folder / WEIGHTS)
    assert sorted([*report.mapped, *report.unused]) == sorted(stored)
    named = [*report.mapped.values(), *report.new, *report.zeroed]
    assert sorted(named) == sorted(name for name, _ in net.named_parameters())
    assert all("attn2" in key or "text_embedder" in key for key in report.unused)
    video = ("patches.", "noise.", "video_out.", "scale_shift_out", ".attention.", ".feed_forward.", ".norm2.")
    kept_out = [name for name in report.new if any(part in name for part in video)]
    assert all(".listen." in name or ".see." in name for name in kept_out)
    lines = "\n".join(report.lines())
    assert "blocks.*.attn1.to_q.weight -> layers.*.attention.q.weight (2 layers)" in lines
    assert "new, zeroed: layers.*.conditions.o.weight (2 layers)" in lines


def test_shards_and_a_single_file_give_the_same(folder: Path, tmp_path: Path) -> None:
    wan().save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    nets = [trunk().net for _ in range(3)]
    for net, source in zip(nets, (folder, tmp_path, folder / WEIGHTS), strict=True):
        WanWeights(folder=str(source)).apply(net)
    states = [net.state_dict() for net in nets]
    assert all(torch.equal(states[0][name], other[name]) for other in states[1:] for name in states[0])


def test_a_teacher_starts_from_it_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    codecs = fake_codecs()
    spec = codecs["video_codec"].spec
    wan((spec.grid_height, spec.grid_width, spec.channels)).save_pretrained(tmp_path)
    size = ModelSize(width=24, num_heads=2, num_layers=2, patch=2, feed_forward_ratio=2.5, video_head="VelocityHead")
    node = yaml.safe_load((CONFIGS / "init_from/wan.yaml").read_text()) | {"folder": str(tmp_path)}

    def teacher() -> Teacher:
        return Teacher(
            layout=LAYOUT,
            audio_codec=codecs["audio_codec"],
            video_codec=codecs["video_codec"],
            size=size,
            rates=RATES,
            fit_warp_at=1,
            window_blocks=NUM_BLOCKS,
            init_from=build(node),
        )

    with caplog.at_level("INFO"):
        checkpoint = teacher().export(teacher().roles)["teacher"]
    assert "warm start: " in caplog.text
    stored = load_file(tmp_path / WEIGHTS)
    assert torch.equal(checkpoint.model.net.video_out.weight, stored["proj_out.weight"])
    assert [line.split(":")[0] for line in checkpoint.card.lineage] == ["wan"]
    assert "Wan" in checkpoint.card.data_licence
    with torch.device("meta"):
        assert teacher().start.model.net.video_out.weight.is_meta


def test_what_does_not_fit_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no .*nowhere: give the transformer folder"):
        WanWeights(folder=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"whole pipeline: give .*transformer"):
        WanWeights(folder=str(folder.parent))
    with pytest.raises(ValueError, match=r"size \(model\.num_layers is 3, Wan's 2\): choose"):
        WanWeights(folder=str(folder)).apply(trunk(num_layers=3).net)
    with pytest.raises(ValueError, match=r"model\.num_heads is 4, Wan's 2; model\.feed_forward.* is 96, Wan's 60"):
        WanWeights(folder=str(folder)).apply(trunk(num_heads=4, feed_forward_ratio=4).net)


def test_the_command_line_chooses_it() -> None:
    choice = ["experiment=quickstart/teacher", "model=wan_1_3b", "+init_from@stage.init_from=wan"]
    config = load([*choice, "stage.init_from.folder=somewhere"])
    assert config.stage["init_from"] == {"_target_": "avatar_lab.stage.warm_start.WanWeights", "folder": "somewhere"}
    assert config.stage["size"]["feed_forward_ratio"] * config.stage["size"]["width"] == 8960
    assert load(choice[:1]).stage["init_from"] is None
    with pytest.raises(COMPOSITION_ERRORS, match="folder"):
        load(choice)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"in_channels": 36, "out_channels": 16}, "in_channels 36 for out_channels 16"),
        ({"added_kv_proj_dim": 24}, "added_kv_proj_dim 24 instead of None"),
        ({"image_dim": 8}, "image_dim 8 instead of None"),
        ({"_class_name": "UNet2DModel"}, "_class_name 'UNet2DModel'"),
    ],
)
def test_another_architecture_is_refused(folder: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(load_file(folder / WEIGHTS), tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match=f"is no text-to-video Wan .*{said}"):
        WanWeights(folder=str(tmp_path))


def test_files_that_lack_a_key_leave_the_network_as_it_was(folder: Path, tmp_path: Path) -> None:
    stored = load_file(folder / WEIGHTS)
    del stored["blocks.1.attn1.to_q.weight"]
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    save_file(stored, tmp_path / WEIGHTS)
    net = trunk().net
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"nothing for layers\.1\.attention\.q\.weight"):
        WanWeights(folder=str(tmp_path)).apply(net)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_the_real_size_fits_on_the_meta_device() -> None:
    """Shapes of the published 1.3 B network against those of ``model=wan_1_3b``, parameter by parameter."""
    size = build(yaml.safe_load((CONFIGS / "model/wan_1_3b.yaml").read_text()))
    with torch.device("meta"):
        published = wan(
            (32, 32, 16), num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=30, text_dim=4096
        )
        model = build_model(
            layout=LAYOUT,
            codebook=Codebook(torch.empty(8, 2048, 256)),
            level=Level.SEE,
            sizes={
                "grid": (32, 32, 16),
                "user_width": USER_WIDTH,
                "width": size.width,
                "num_heads": size.num_heads,
                "num_layers": size.num_layers,
                "patch": size.patch,
                "feed_forward_ratio": size.feed_forward_ratio,
            },
            video_head=size.video_head,
            audio_warp=Warp(),
            video_warp=Warp(shift=size.video_shift),
        )
    parameters = dict(model.net.named_parameters())
    fitting = {key: counterpart(key) for key, _ in published.named_parameters()}
    for key, name in fitting.items():
        if name is not None:
            assert parameters[name].numel() == published.get_parameter(key).numel(), key
    assert sum(name is not None for name in fitting.values()) == 10 + 1 + 30 * 17
