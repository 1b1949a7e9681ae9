"""A small Llama whose parameter names and arithmetic are those of a Hugging Face checkpoint."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class LlamaShape:
    """The numbers that config.json carries. The vocabulary is one token per byte value."""

    vocab_size: int = 256
    hidden_size: int = 128
    # 352 = 5.5 * 64: the rows of down_proj do not fill whole blocks, so a block straddles two rows.
    intermediate_size: int = 352
    num_hidden_layers: int = 5
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 32
    max_position_embeddings: int = 256
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    def config_json(self) -> dict:
        """The content of config.json."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "dtype": "bfloat16",
            "torch_dtype": "bfloat16",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "attention_bias": False,
            "mlp_bias": False,
            # Untied, so that the head is a tensor of its own: "all linear layers but lm_head" then
            # means something. It costs 64 KiB.
            "tie_word_embeddings": False,
            # The NUL byte separates documents in the training text; it never occurs within one.
            "bos_token_id": 0,
            "eos_token_id": 0,
            "pad_token_id": 0,
        }


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def rotary_table(shape: LlamaShape, length: int) -> tuple[Tensor, Tensor]:
    """cos and sin, each [length, 1, head_dim]; the two halves of a head share their frequencies."""
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    angles = torch.outer(torch.arange(length, dtype=torch.float32), shape.rope_theta**-exponents)
    angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding in the half-split layout: element i is paired with i + head_dim / 2."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.kv_heads = shape.num_key_value_heads
        self.head_dim = shape.head_dim
        q_width = shape.num_attention_heads * shape.head_dim
        kv_width = shape.num_key_value_heads * shape.head_dim
        self.q_proj = linear(shape.hidden_size, q_width)
        self.k_proj = linear(shape.hidden_size, kv_width)
        self.v_proj = linear(shape.hidden_size, kv_width)
        self.o_proj = linear(q_width, shape.hidden_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        batch, length, _ = x.shape
        # The query heads that share a key head are stacked into the rows of one matrix: no copy of
        # K and V per query head, and on a CPU twice as fast as scaled_dot_product_attention.
        rows = (batch, self.kv_heads, -1, self.head_dim)
        q = rotate(self.q_proj(x).view(batch, length, -1, self.head_dim), cos, sin)
        k = rotate(self.k_proj(x).view(batch, length, -1, self.head_dim), cos, sin)
        v = self.v_proj(x).view(batch, length, -1, self.head_dim).transpose(1, 2)
        q = (q * self.head_dim**-0.5).transpose(1, 2).reshape(rows)
        scores = (q @ k.permute(0, 2, 3, 1)).view(batch, self.kv_heads, -1, length, length)
        weights = (scores + mask).softmax(dim=-1, dtype=scores.dtype)
        y = weights.view(batch, self.kv_heads, -1, length) @ v
        y = y.view(batch, -1, length, self.head_dim).transpose(1, 2)
        return self.o_proj(y.reshape(batch, length, -1))


class Mlp(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.gate_proj = linear(shape.hidden_size, shape.intermediate_size)
        self.up_proj = linear(shape.hidden_size, shape.intermediate_size)
        self.down_proj = linear(shape.intermediate_size, shape.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.mlp = Mlp(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = nn.RMSNorm(shape.hidden_size, shape.rms_norm_eps)


class Llama(nn.Module):
    """`state_dict()` has the tensor names of a Hugging Face LlamaForCausalLM checkpoint."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)
        self.lm_head = linear(shape.hidden_size, shape.vocab_size)
        positions = shape.max_position_embeddings
        cos, sin = rotary_table(shape, positions)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        mask = torch.full((positions, positions), float("-inf")).triu(1)
        self.register_buffer("mask", mask, persistent=False)
        self._init_weights()

    def _init_weights(self) -> None:
        depth_scale = (2 * self.shape.num_hidden_layers) ** -0.5
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue
            std = parameter.shape[1] ** -0.5
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std *= depth_scale
            nn.init.normal_(parameter, std=std)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids [batch, length] to logits [batch, length, vocab_size]."""
        length = tokens.shape[1]
        x = self.model.embed_tokens(tokens)
        cos, sin = self.cos[:length], self.sin[:length]
        mask = self.mask[:length, :length]
        for layer in self.model.layers:
            x = layer(x, cos, sin, mask)
        return self.lm_head(self.model.norm(x))
