"""How does a program ask, with nothing but Python and the V2 protocol?

``python ask.py URL``: sends two irises to the pipeline `iris` of the server at URL, and prints their kinds.
"""

import json
import sys
import urllib.request

FLOWERS = {
    "sepal_length": [5.1, 6.7],
    "sepal_width": [3.5, 3.0],
    "petal_length": [1.4, 5.2],
    "petal_width": [0.2, 2.3],
}


def tensor(name: str, values: list[float]) -> dict[str, object]:
    """One input as the protocol writes it: name, type, shape, and the numbers in a row."""
    return {"name": name, "datatype": "FP64", "shape": [len(values)], "data": values}


def ask(server: str, columns: dict[str, list[float]]) -> dict[str, list[object]]:
    """The answer of the server: each output's values by its name."""
    body = {"inputs": [tensor(name, values) for name, values in columns.items()]}
    request = urllib.request.Request(
        f"{server}/v2/models/iris/infer",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return {output["name"]: output["data"] for output in json.load(response)["outputs"]}


if __name__ == "__main__":
    for kind in ask(sys.argv[1], FLOWERS)["class_name"]:
        print(kind)
