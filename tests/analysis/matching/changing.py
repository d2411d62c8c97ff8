"""Checkpoints that are another one with something changed."""

from copy import deepcopy

import torch

import headscope as hs


def of(network: torch.nn.Module, like: hs.Checkpoint, name: str) -> hs.Checkpoint:
    return hs.Checkpoint.of(
        network.eval(),
        name=name,
        architecture=like.architecture,
        preprocessing=like.preprocessing,
        labels=like.labels,
    )


def permuted(checkpoint: hs.Checkpoint, seed: int) -> tuple[hs.Checkpoint, list[list[int]]]:
    """The same function with the heads of each layer in another order: old head by new head."""
    network = deepcopy(checkpoint.model)
    generator = torch.Generator().manual_seed(seed)
    orders = []
    for block in network.blocks:
        attention = block.attn
        n, dim = attention.num_heads, attention.qkv.weight.shape[1]
        order = torch.randperm(n, generator=generator)
        with torch.no_grad():
            weight = attention.qkv.weight.view(3, n, -1, dim)[:, order]
            attention.qkv.weight.copy_(weight.reshape_as(attention.qkv.weight))
            bias = attention.qkv.bias.view(3, n, -1)[:, order]
            attention.qkv.bias.copy_(bias.reshape(-1))
            out = attention.proj.weight.view(attention.proj.weight.shape[0], n, -1)[:, order]
            attention.proj.weight.copy_(out.reshape_as(attention.proj.weight))
        orders.append(order.tolist())
    return of(network, checkpoint, "permuted"), orders


def begun_anew(checkpoint: hs.Checkpoint, layer: int, head: int) -> hs.Checkpoint:
    """The checkpoint with one head as random as it was before training."""
    network = deepcopy(checkpoint.model)
    attention = network.blocks[layer].attn
    n = attention.num_heads
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        weight = attention.qkv.weight.view(3, n, -1, attention.qkv.weight.shape[1])
        weight[:, head] = 0.05 * torch.randn(weight[:, head].shape, generator=generator)
        attention.qkv.bias.view(3, n, -1)[:, head] = 0
        out = attention.proj.weight.view(attention.proj.weight.shape[0], n, -1)
        out[:, head] = 0.05 * torch.randn(out[:, head].shape, generator=generator)
    return of(network, checkpoint, "one head begun anew")
