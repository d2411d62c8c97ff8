"""Other sizes than trained, and other channels: read all the same, or said in a sentence."""

import pytest
import torch

import headscope as hs
from headscope.models.layout import PADDING

from .networks import NETWORKS, noise, read

SIZED = {
    "cait_xxs24_224": (32, 80),
    "deit_tiny_patch16_224": (48, 32),
    "maxvit_pico_rw_256": (64, 128),
    "pvt_v2_b0": (64, 96),
    "swin_tiny_patch4_window7_224": (112, 160),
    "vit_tiny_patch16_224": (32, 80),
    "xcit_nano_12_p16_224": (64, 32),
}


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("channels", [1, 4, 13])
def test_any_size_and_any_channels(name, channels):
    size = SIZED[name]
    if channels != 4:
        size = size[::-1]
    checkpoint = hs.load(name, pretrained=False, image_size=size, in_chans=channels)
    assert checkpoint.preprocessing.size == size
    assert checkpoint.preprocessing.channels == channels
    batch = noise(checkpoint, 1)
    assert batch.shape == (1, channels, *size)
    for layer in hs.capture(checkpoint, batch):
        sums = layer.weights.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-4)
        if layer.queries.n_patches:
            rows, columns = layer.queries.grid
            assert layer.queries.patch_px == (size[0] / rows, size[1] / columns)


@pytest.mark.parametrize(
    "name", ["davit", "efficientvit_msra", "swin_transformer", "tiny_vit", "vision_transformer_sam"]
)
def test_what_windows_are_filled_up_with_is_a_token_of_its_own(name):
    network = NETWORKS[name]
    checkpoint = read(network.build(), network.size)
    filled = [
        layer
        for layer in hs.capture(checkpoint, noise(checkpoint, 1))
        if PADDING in layer.keys.kinds
    ]
    assert filled
    for layer in filled:
        assert layer.keys.kinds.count(PADDING) == 1
        assert PADDING not in layer.queries.kinds
        assert (layer.layout.query_tokens == -1).any()
        sums = layer.weights.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-5)
        assert layer.weights.shape[-2:] == (layer.queries.n_tokens, layer.queries.n_tokens + 1)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_tiny_patch16_224", 0),
        ("vit_tiny_patch16_224", 30),
        ("swin_tiny_patch4_window7_224", 0),
        ("swin_tiny_patch4_window7_224", -32),
        ("swin_tiny_patch4_window7_224", 50),
        ("maxvit_pico_rw_256", 50),
        ("convit_tiny", (32, 48)),
        ("levit_128s", 100),
        ("mvitv2_tiny", (64, 96)),
        ("crossvit_tiny_240", 100),
        ("pvt_v2_b0", 1),
    ],
)
def test_what_a_model_cannot_take_is_said_in_a_sentence(name, size):
    with pytest.raises(hs.HeadscopeError) as error:
        hs.load(name, pretrained=False, image_size=size)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert len(sentence) < 400, sentence
