"""A small network of every timm module that has attention, and of every kind of attention in it.

As few blocks and channels as the constructors allow, on as small an input as windows do. Every
weight is moved by noise, so that no path is dead: LayerScale, tables of relative positions and
batch norms that start at 0 would hide the attention behind them.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import timm
import torch
from timm.models.gcvit import GlobalContextVit
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
from timm.models.nest import Nest
from timm.models.volo import VOLO
from torch import nn

import headscope as hs


@dataclass(frozen=True)
class Network:
    """How a small network is built."""

    architecture: Any
    """A name of timm's, or a class of its where the named ones cannot be made small."""
    size: tuple[int, int]
    """Height and width of the input."""
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, channels: int = 3, **options: Any) -> nn.Module:
        """With noise in all its weights, the same each time."""
        options = {"num_classes": 5, "in_chans": channels, **self.options, **options}
        # Two threads must not share the process's generator; tests run in one.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            if isinstance(self.architecture, str):
                model = timm.create_model(self.architecture, **options)
            else:
                model = self.architecture(**options)
            for parameter in model.parameters():
                # Less on matrices: the sum over many channels would grow from block to block.
                scale = 0.02 if parameter.dim() > 1 else 0.1
                parameter += scale * torch.randn_like(parameter)
            for name, buffer in model.named_buffers():
                if name.endswith(("running_mean", "running_var")):
                    buffer += 0.2 * torch.rand_like(buffer)
        return model.eval()


def read(model: nn.Module, size: tuple[int, int], channels: int = 3) -> hs.Checkpoint:
    """A checkpoint of a network, whose input is as it comes."""
    preprocessing = hs.Preprocessing(size, (0.5,) * channels, (0.5,) * channels)
    labels = tuple("abcde")
    return hs.Checkpoint.of(
        model, name="small", architecture="small", preprocessing=preprocessing, labels=labels
    )


def noise(checkpoint: hs.Checkpoint, n_images: int = 2) -> torch.Tensor:
    """A batch for it."""
    shape = (n_images, checkpoint.preprocessing.channels, *checkpoint.preprocessing.size)
    weight = next(checkpoint.model.parameters())
    return torch.randn(*shape, generator=torch.manual_seed(1), dtype=weight.dtype)


@cache
def small(name: str) -> hs.Checkpoint:
    """A network of the table, read once for all tests."""
    network = NETWORKS[name]
    return read(network.build(), network.size)


class _Mvit(MultiScaleVit):
    def __init__(self, num_classes: int, in_chans: int, **options: Any) -> None:
        config = MultiScaleVitCfg(depths=(1, 2, 1, 1), embed_dim=8, **options)
        super().__init__(config, (64, 64), num_classes=num_classes, in_chans=in_chans)


def _vit(height: int, width: int, **options: Any) -> dict[str, Any]:
    return {"img_size": (height, width), "embed_dim": 24, "depth": 2, "num_heads": 3, **options}


def _stages(**options: Any) -> dict[str, Any]:
    return {
        "embed_dims": (8, 16, 24, 32),
        "num_heads": (1, 2, 3, 4),
        "depths": (1, 1, 1, 1),
        **options,
    }


_SWIN = {"embed_dim": 8, "num_heads": (1, 2, 2), "depths": (2, 2, 1), "window_size": 4}
_FOUR: dict[str, Any] = {"dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1)}

NETWORKS: dict[str, Network] = {
    "beit": Network("beit_base_patch16_224", (32, 48), _vit(32, 48)),
    "byoanet halo": Network("halonet26t", (256, 256)),
    "byoanet bottleneck": Network("botnet26t_256", (64, 96), {"img_size": (64, 96)}),
    "cait": Network("cait_xxs24_224", (32, 48), _vit(32, 48)),
    "convit": Network("convit_tiny", (32, 32), _vit(32, 32, local_up_to_layer=1)),
    "cpubone": Network("cpubone_nano", (64, 96)),
    "crossvit": Network(
        "crossvit_tiny_240",
        (120, 120),
        {
            "img_size": 120,
            "embed_dim": (16, 32),
            "num_heads": (2, 4),
            "depth": ((1, 2, 0), (1, 1, 0)),
        },
    ),
    "csatv2": Network(
        "csatv2",
        (128, 128),
        {"dims": (8, 16, 24, 32), "depths": (1, 1, 2, 2), "transformer_depths": (0, 0, 1, 1)},
    ),
    "davit": Network("davit_tiny", (64, 96), _stages(window_size=4)),
    "deepseek_vit": Network("deepseek_vit_412m", (84, 126), _vit(84, 126, embed_dim=48)),
    "deit": Network("deit_tiny_distilled_patch16_224", (32, 48), _vit(32, 48)),
    "efficientformer": Network(
        "efficientformer_l1",
        (224, 224),
        {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 1, 2)},
    ),
    "efficientformer_v2": Network(
        "efficientformerv2_s0",
        (64, 64),
        {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 3, 2), "img_size": 64},
    ),
    "efficientvit_msra": Network("efficientvit_m0", (128, 128), {"img_size": 128}),
    "eva": Network("eva02_tiny_patch14_224", (28, 42), _vit(28, 42)),
    "eva rotary": Network("vit_small_patch16_dinov3", (32, 48), _vit(32, 48)),
    "fastvit": Network(
        "fastvit_sa12", (64, 96), {"embed_dims": (8, 16, 32, 32), "layers": (1, 1, 1, 2)}
    ),
    "gcvit": Network(
        GlobalContextVit,
        (128, 128),
        {"img_size": 128, "embed_dim": 12, "depths": (2, 2, 2, 1), "num_heads": (1, 2, 4, 8)},
    ),
    "gemma4_vit": Network(
        "gemma4_vit_167m",
        (48, 96),
        {
            "img_size": (48, 96),
            "embed_dim": 32,
            "depth": 2,
            "num_heads": 4,
            "num_kv_heads": 2,
            "head_dim": 8,
            "intermediate_size": 32,
        },
    ),
    "hiera": Network(
        "hiera_tiny_224",
        (128, 192),
        {"img_size": (128, 192), "embed_dim": 8, "stages": (1, 2, 1, 1)},
    ),
    "hieradet_sam2": Network(
        "hieradet_small",
        (128, 160),
        {
            "embed_dim": 8,
            "stages": (1, 2, 2, 1),
            "window_spec": (8, 4, 4, 4),
            "global_att_blocks": (4,),
        },
    ),
    "iformer": Network("iformer_t", (64, 96)),
    "levit": Network(
        "levit_128s",
        (64, 64),
        {"img_size": 64, "embed_dim": (16, 32), "key_dim": 8, "num_heads": (2, 4), "depth": (1, 1)},
    ),
    "levit convolutional": Network(
        "levit_conv_128s",
        (64, 64),
        {"img_size": 64, "embed_dim": (16, 32), "key_dim": 8, "num_heads": (2, 4), "depth": (1, 1)},
    ),
    "lowformer": Network("lowformer_b0", (64, 96)),
    "maxxvit block and grid": Network(
        "maxvit_pico_rw_256",
        (128, 64),
        {"img_size": (128, 64), "embed_dim": (32, 32, 64), "depths": (1, 1, 1), "stem_width": 8},
    ),
    "maxxvit coatnet": Network(
        "coatnet_nano_rw_224",
        (64, 64),
        {"img_size": 64, "embed_dim": (32, 32, 64, 64), "depths": (1, 1, 1, 1)},
    ),
    "metaformer": Network("caformer_s18", (64, 96)),
    "mobilenetv5": Network("mobilenetv5_base", (64, 96), {"channel_multiplier": 0.125}),
    "mobilevit": Network("mobilevit_xxs", (64, 128)),
    "mvitv2": Network(_Mvit, (64, 64)),
    "mvitv2 class": Network(_Mvit, (64, 64), {"use_cls_token": True}),
    "naflexvit": Network(
        "naflexvit_base_patch16_gap", (32, 48), {"embed_dim": 24, "depth": 2, "num_heads": 3}
    ),
    "naflexvit pool": Network(
        "naflexvit_base_patch16_map", (32, 48), {"embed_dim": 24, "depth": 2, "num_heads": 3}
    ),
    "nest": Network(
        Nest,
        (64, 64),
        {"img_size": 64, "embed_dims": (8, 16, 24), "num_heads": (1, 2, 3), "depths": (1, 1, 1)},
    ),
    "nextvit": Network("nextvit_small", (64, 96), {"stem_chs": (8, 8, 8), "depths": (1, 2, 5, 2)}),
    "pit": Network(
        "pit_ti_distilled_224",
        (64, 96),
        {"img_size": (64, 96), "base_dims": (8, 8, 8), "heads": (1, 2, 4), "depth": (1, 1, 1)},
    ),
    "pvt_v2": Network("pvt_v2_b0", (64, 96), _stages()),
    "pvt_v2 linear": Network("pvt_v2_b2_li", (224, 224), _stages()),
    "qwen3_vit": Network("qwen3_vit_88m", (64, 96), _vit(64, 96, embed_dim=48)),
    "shvit": Network(
        "shvit_s1",
        (128, 192),
        {
            "embed_dim": (16, 24, 32),
            "partial_dim": (8, 8, 8),
            "qk_dim": (4, 4, 4),
            "depth": (1, 1, 1),
        },
    ),
    "swin_transformer": Network(
        "swin_tiny_patch4_window7_224", (64, 96), {**_SWIN, "img_size": (64, 96)}
    ),
    "swin_transformer_v2": Network(
        "swinv2_tiny_window8_256", (64, 96), {**_SWIN, "img_size": (64, 96)}
    ),
    "swin_transformer_v2_cr": Network(
        "swinv2_cr_tiny_224", (64, 96), {**_SWIN, "img_size": (64, 96)}
    ),
    "tiny_vit": Network("tiny_vit_5m_224", (64, 96), _stages(window_sizes=(4, 4, 3, 2))),
    "tnt": Network(
        "tnt_s_patch16_224",
        (32, 48),
        {
            "img_size": (32, 48),
            "embed_dim": 24,
            "inner_dim": 8,
            "depth": 2,
            "num_heads_inner": 2,
            "num_heads_outer": 3,
        },
    ),
    "twins pcpvt": Network("twins_pcpvt_small", (64, 96), _stages(img_size=(64, 96))),
    "twins svt": Network(
        "twins_svt_small", (64, 96), _stages(img_size=(64, 96), depths=(2, 2, 1, 1), wss=(4,) * 4)
    ),
    "visformer": Network(
        "visformer_tiny", (64, 96), {"img_size": (64, 96), "embed_dim": 48, "depth": (1, 1, 1)}
    ),
    "vision_transformer": Network("vit_tiny_patch16_224", (32, 48), _vit(32, 48)),
    "vision_transformer pool": Network("vit_base_patch16_siglip_224", (32, 48), _vit(32, 48)),
    "vision_transformer parallel": Network("vit_small_patch16_18x2_224", (32, 48), _vit(32, 48)),
    "vision_transformer differential": Network(
        "vit_dlittle_patch16_reg1_gap_256", (32, 48), _vit(32, 48, embed_dim=48)
    ),
    "vision_transformer_hybrid": Network("vit_tiny_r_s16_p8_224", (64, 96), _vit(64, 96)),
    "vision_transformer_relpos": Network("vit_relpos_small_patch16_224", (32, 48), _vit(32, 48)),
    "vision_transformer_sam": Network(
        "samvit_base_patch16_224",
        (80, 80),
        _vit(80, 80, window_size=2, global_attn_indexes=(1,), neck_chans=16, img_size=80),
    ),
    "vitamin": Network("vitamin_small_224", (64, 96), {"img_size": (64, 96), "depth": 2}),
    "volo": Network(
        VOLO,
        (64, 64),
        {
            "layers": [1, 1, 1, 1],
            "img_size": 64,
            "embed_dims": [16, 32, 32, 32],
            "num_heads": [2, 4, 4, 4],
            "stem_hidden_dim": 8,
        },
    ),
    "xcit": Network("xcit_nano_12_p16_224", (32, 48), _vit(32, 48)),
}
"""By module of timm, and the kind of its attention where it has several."""

REFUSED: dict[str, tuple[Network, str]] = {
    "byoanet lambda": (Network("lambda_resnet26t", (64, 64)), "its rows are channels"),
    "coat": (Network("coat_tiny", (32, 32), {"img_size": 32}), "factorised attention"),
    "edgenext": (
        Network("edgenext_xx_small", (64, 64), {"dims": (8, 16, 24, 32), "depths": (1, 2, 2, 2)}),
        "channel attention",
    ),
    "mobilevit linear": (Network("mobilevitv2_050", (64, 64)), "LinearSelfAttention"),
}
"""Networks of which nothing can be read as a map over the image, and words of the reason."""
