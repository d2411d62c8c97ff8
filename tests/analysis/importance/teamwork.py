"""A ViT built by hand whose heads work together, and what it must give."""

import numpy as np
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import headscope as hs

GRID, PATCH_PX = 4, 8
JOBS = {
    (0, 0): "backup",
    (0, 1): "chain",
    (0, 2): "chain",
    (0, 3): "adds",
    (1, 0): "backup",
    (1, 1): "subtracts",
    (1, 2): "silent",
    (1, 3): "silent",
}
"""What each head does; two backups in different layers, two links of a chain in one."""
WITHIN = {
    **dict.fromkeys(JOBS, "silent"),
    (0, 1): "backup",
    (0, 3): "backup",
    (0, 0): "chain",
    (1, 2): "chain",
}
"""The pairs the other way round: backups in one layer, the chain across layers."""
BACKUP, CHAIN, BAR = 4.0, 2.0, 3.0
SLOPE = {"adds": 1.0, "subtracts": -0.5}


def teamwork(jobs=None) -> hs.Checkpoint:
    """In float64, without norms; all heads attend uniformly, and the MLP of layer 1 rectifies.

    With B and C the numbers of backups and of links that are in the model, and m the mean content
    of all tokens (a patch's mean pixel; 0 for the class token),
        logit of class 0 = 4·min(B, 1) + 2·max(C − 1, 0) + m − ½m,   logit of class 1 = 3.
    One of two backups suffices; both links are needed; the last two terms are a head each. Silent
    heads have values as others do, but their part of the projection is zero.
    """
    jobs = JOBS if jobs is None else jobs
    head_dim, n_heads = 2, 4
    dim = head_dim * n_heads
    content, written = 0, {"backup": 1, "chain": 2, "adds": 3, "subtracts": 3}
    rectified = {"backup": 4, "chain": 5}
    model = VisionTransformer(
        img_size=GRID * PATCH_PX,
        patch_size=PATCH_PX,
        num_classes=2,
        embed_dim=dim,
        depth=2,
        num_heads=n_heads,
        qkv_bias=True,
        norm_layer=nn.Identity,
        act_layer=nn.ReLU,
    ).double()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
        parameter.requires_grad_(False)
    model.patch_embed.proj.weight[content] = 1 / (3 * PATCH_PX**2)
    for (layer, head), job in jobs.items():
        attention = model.blocks[layer].attn
        if job in SLOPE:
            attention.qkv.weight.view(3, n_heads, head_dim, dim)[2, head, 0, content] = 1
        else:
            attention.qkv.bias.view(3, n_heads, head_dim)[2, head, 0] = 1
        if job in written:
            attention.proj.weight[written[job], head * head_dim] = SLOPE.get(job, 1.0)
    mlp = model.blocks[1].mlp
    # min(x, 1) = relu(x) − relu(x − 1) for x ≥ 0
    mlp.fc1.weight[[0, 1], written["backup"]] = 1
    mlp.fc1.weight[2, written["chain"]] = 1
    mlp.fc1.bias[[1, 2]] = -1
    mlp.fc2.weight[rectified["backup"], 0] = 1
    mlp.fc2.weight[rectified["backup"], 1] = -1
    mlp.fc2.weight[rectified["chain"], 2] = 1
    model.head.weight[0, rectified["backup"]] = BACKUP
    model.head.weight[0, rectified["chain"]] = CHAIN
    model.head.weight[0, written["adds"]] = 1
    model.head.bias[1] = BAR
    return hs.Checkpoint.of(
        model,
        name="teamwork",
        architecture="teamwork",
        preprocessing=hs.Preprocessing(
            (GRID * PATCH_PX,) * 2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
        ),
        labels=("held", "lost"),
    )


def contents(batch) -> np.ndarray:
    """m of each image, of the model's own input."""
    return batch.double().mean(1).unfold(1, 8, 8).unfold(2, 8, 8).mean((-2, -1)).sum(
        (1, 2)
    ).numpy() / (GRID**2 + 1)


def logit_without(removed, m, jobs=None) -> np.ndarray:
    """The closed form of the logit of class 0, image by image."""
    left = [job for head, job in (jobs or JOBS).items() if head not in set(removed)]
    slope = sum(SLOPE.get(job, 0.0) for job in left)
    return (
        BACKUP * min(left.count("backup"), 1) + CHAIN * max(left.count("chain") - 1, 0) + slope * m
    )


def probability_without(removed, m, jobs=None) -> np.ndarray:
    """p(class 0) = σ(logit of class 0 − 3)."""
    return 1 / (1 + np.exp(BAR - logit_without(removed, m, jobs)))
