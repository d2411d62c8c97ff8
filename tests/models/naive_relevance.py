"""Layer-wise relevance of a small timm ViT, written out by hand from the published rules.

No derivative is taken: at each step relevance is handed from outputs to inputs in proportion to
explicit contributions z_ij (Achtibat et al. 2024, equations 8 to 15; γ-rule of Montavon et al.
2019). One image, numpy, float64.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from timm.models.vision_transformer import VisionTransformer

GELU = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))


@dataclass
class Naive:
    """What is owed to what."""

    score: float
    pixels: np.ndarray
    patches: np.ndarray
    """Row by row, at the embedding."""
    maps: list[np.ndarray]
    """Relevance of the attention of each layer: head, query, key."""
    apart: dict[str, float] = field(default_factory=dict)

    def book(self, account: str, amount: float) -> None:
        self.apart[account] = self.apart.get(account, 0.0) + float(amount)


def linear(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, owed: np.ndarray, gamma: float
) -> tuple[np.ndarray, float]:
    """What the inputs of one linear map are owed, and what its bias is owed."""
    parts = np.concatenate([weight * x[None], bias[:, None]], axis=1)
    total = parts.sum(1, keepdims=True)
    winning = np.where(np.sign(parts) == np.sign(total), parts, 0)
    boosted = parts + gamma * winning
    shares = boosted / boosted.sum(1, keepdims=True) * owed[:, None]
    return shares[:, :-1].sum(0), shares[:, -1].sum()


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Layer:
    """A linear layer or norm by its numbers."""

    def __init__(self, module: object) -> None:
        self.weight = module.weight.detach().numpy()  # pyright: ignore
        self.bias = module.bias.detach().numpy()  # pyright: ignore

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        return tokens @ self.weight.T + self.bias

    def back(
        self, into: Naive, tokens: np.ndarray, owed: np.ndarray, gamma: float = 0.0
    ) -> np.ndarray:
        rows = []
        for token, of_token in zip(tokens, owed, strict=True):
            row, of_bias = linear(token, self.weight, self.bias, of_token, gamma)
            into.book("biases", of_bias)
            rows.append(row)
        return np.stack(rows)


class Norm(Layer):
    eps = 1e-6

    def deviation(self, token: np.ndarray) -> float:
        return math.sqrt(((token - token.mean()) ** 2).mean() + self.eps)

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        return np.stack(
            [(t - t.mean()) / self.deviation(t) * self.weight + self.bias for t in tokens]
        )

    def back(
        self, into: Naive, tokens: np.ndarray, owed: np.ndarray, gamma: float = 0.0
    ) -> np.ndarray:
        del gamma  # a norm is no layer of weights
        n, rows = len(self.weight), []
        for token, of_token in zip(tokens, owed, strict=True):
            centring = np.eye(n) - 1 / n
            matrix = self.weight[:, None] * centring / self.deviation(token)
            row, of_bias = linear(token, matrix, self.bias, of_token, 0.0)
            into.book("biases", of_bias)
            rows.append(row)
        return np.stack(rows)


def naive_relevance(
    model: VisionTransformer,
    image: np.ndarray,
    target: int,
    *,
    gamma: float = 0.0,
    constant_attention: bool = False,
) -> Naive:
    """Of the logit of a class."""
    # Forwards, keeping everything.
    kernel = model.patch_embed.proj.weight.detach().numpy()
    side = kernel.shape[-1]
    embed_bias = model.patch_embed.proj.bias.detach().numpy()
    rows, columns = image.shape[1] // side, image.shape[2] // side
    squares = [
        image[:, r * side : (r + 1) * side, c * side : (c + 1) * side].reshape(-1)
        for r in range(rows)
        for c in range(columns)
    ]
    flat_kernel = kernel.reshape(len(kernel), -1)
    embedded = np.stack([flat_kernel @ square + embed_bias for square in squares])
    first = np.concatenate([model.cls_token.detach().numpy()[0], embedded])
    positions = model.pos_embed.detach().numpy()[0]
    x = first + positions
    blocks = []
    for block in model.blocks:
        attention = block.attn
        n_heads, dim = attention.num_heads, x.shape[1]
        width = dim // n_heads
        norm1, norm2 = Norm(block.norm1), Norm(block.norm2)
        qkv, proj = Layer(attention.qkv), Layer(attention.proj)
        fc1, fc2 = Layer(block.mlp.fc1), Layer(block.mlp.fc2)
        scales = block.ls1.gamma.detach().numpy(), block.ls2.gamma.detach().numpy()
        normed = norm1(x)
        made = qkv(normed).reshape(len(x), 3, n_heads, width)
        q, k, v = (made[:, i].transpose(1, 0, 2) for i in range(3))
        q_scaled = q / math.sqrt(width)
        scores = q_scaled @ k.transpose(0, 2, 1)
        weights = softmax(scores)
        heads = weights @ v
        joined = heads.transpose(1, 0, 2).reshape(len(x), dim)
        first_branch = proj(joined) * scales[0]
        middle = x + first_branch
        normed2 = norm2(middle)
        hidden = fc1(normed2)
        active = GELU(hidden)
        second_branch = fc2(active) * scales[1]
        after = middle + second_branch
        blocks.append(
            (
                (x, norm1, normed, qkv, q_scaled, k, v, scores, weights, heads, proj, joined),
                (
                    first_branch,
                    middle,
                    norm2,
                    normed2,
                    fc1,
                    hidden,
                    fc2,
                    active,
                    second_branch,
                    after,
                ),
            )
        )
        x = after
    norm, head = Norm(model.norm), Layer(model.head)
    normed = norm(x)
    logits = head(normed[:1])[0]
    into = Naive(float(logits[target]), np.zeros_like(image), np.zeros((rows, columns)), [])

    # Backwards.
    owed_logits = np.zeros((1, len(logits)))
    owed_logits[0, target] = logits[target]
    owed = np.zeros_like(x)
    owed[:1] = head.back(into, normed[:1], owed_logits, gamma)
    owed[:1] = norm.back(into, x[:1], owed[:1])
    for kept in reversed(blocks):
        (x, norm1, normed, qkv, q, k, v, scores, weights, heads, proj, joined), rest = kept
        first_branch, middle, norm2, normed2, fc1, _, fc2, active, second, after = rest
        # A residual sum: in proportion. LayerScale and GELU pass on what they are given.
        to_branch = second / after * owed
        to_stream = middle / after * owed
        to_hidden = fc2.back(into, active, to_branch, gamma)
        to_normed = fc1.back(into, normed2, to_hidden, gamma)
        owed = to_stream + norm2.back(into, middle, to_normed)
        to_branch = first_branch / middle * owed
        to_stream = x / middle * owed
        to_joined = proj.back(into, joined, to_branch, gamma)
        n_heads, n_tokens, width = heads.shape
        to_heads = to_joined.reshape(n_tokens, n_heads, width).transpose(1, 0, 2)
        to_q, to_k, to_v = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
        to_weights = np.zeros_like(weights)
        share = 1.0 if constant_attention else 0.5
        for h in range(n_heads):
            for i in range(n_tokens):
                for j in range(n_tokens):
                    parts = weights[h, i, j] * v[h, j] / heads[h, i] * to_heads[h, i]
                    to_v[h, j] += share * parts
                    to_weights[h, i, j] += (1 - share) * parts.sum()
        for h in range(n_heads):
            for i in range(n_tokens):
                given, all_given = to_weights[h, i], to_weights[h, i].sum()
                to_scores = scores[h, i] * (given - weights[h, i] * all_given)
                into.book("softmax", all_given - to_scores.sum())
                for j in range(n_tokens):
                    parts = q[h, i] * k[h, j] / scores[h, i, j] * to_scores[j]
                    to_q[h, i] += 0.5 * parts
                    to_k[h, j] += 0.5 * parts
        into.maps.insert(0, to_weights)
        made = np.stack([to.transpose(1, 0, 2) for to in (to_q, to_k, to_v)], axis=1)
        to_normed = qkv.back(into, normed, made.reshape(n_tokens, -1), gamma)
        owed = to_stream + norm1.back(into, x, to_normed)
    x = first + positions
    into.book("positions and other constants", (positions / x * owed).sum())
    owed = first / x * owed
    into.book("prefix tokens", owed[0].sum())
    into.patches[:] = owed[1:].sum(1).reshape(rows, columns)
    for index, (square, to_patch) in enumerate(zip(squares, owed[1:], strict=True)):
        to_pixels, to_bias = linear(square, flat_kernel, embed_bias, to_patch, gamma)
        into.book("biases", to_bias)
        r, c = divmod(index, columns)
        into.pixels[:, r * side : (r + 1) * side, c * side : (c + 1) * side] = to_pixels.reshape(
            image.shape[0], side, side
        )
    return into
