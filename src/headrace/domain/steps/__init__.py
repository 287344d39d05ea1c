"""Which steps are built in? The whole table, and nothing is registered by importing it.

Every function here says in its docstring what it reads and writes, what goes wrong, and under ``Example:`` one case as
YAML, which a test runs: ``in`` holds columns with a value for each row, ``params`` the parameters, ``values`` the
values of the pipeline (statistics), and ``out`` columns that follow. A picture stands there as its rows of bytes:
``{picture: [[0, 255]]}`` decoded, ``{png: [[0, 255]]}`` as the bytes of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from headrace.domain.steps import boxes, image_sizes, images, labels, quantize, tables, tensors, text, tokens, vectors

STEPS: Final[Mapping[str, Callable[..., Any]]] = {
    "image.decode": images.decode,
    "image.rotate_by_exif": images.rotate_by_exif,
    "image.resize": image_sizes.resize,
    "image.center_crop": image_sizes.center_crop,
    "image.pad": image_sizes.pad,
    "image.letterbox": image_sizes.letterbox,
    "image.to_tensor": images.to_tensor,
    "image.normalize": images.normalize,
    "tensors.cast": tensors.cast,
    "tensors.reshape": tensors.reshape,
    "tensors.rename": tensors.rename,
    "tensors.scale": tensors.scale,
    "vectors.normalize": vectors.normalize,
    "tables.select": tables.select,
    "tables.fill": tables.fill,
    "tables.scale": tables.scale,
    "tables.one_hot": tables.one_hot,
    "tables.bin": tables.bin,
    "text.clean": text.clean,
    "text.template": text.template,
    "text.split": text.split,
    "text.truncate": text.truncate,
    "tokenize": tokens.tokenize,
    "decode_tokens": tokens.decode_tokens,
    "labels.softmax": labels.softmax,
    "labels.argmax": labels.argmax,
    "labels.top_k": labels.top_k,
    "labels.threshold": labels.threshold,
    "labels.names": labels.names,
    "labels.multi_label": labels.multi_label,
    "labels.regression_interval": labels.regression_interval,
    "boxes.nms": boxes.nms,
    "quantize_input": quantize.quantize_input,
    "dequantize_output": quantize.dequantize_output,
    "denormalize": quantize.denormalize,
}
