"""What does a process cost that does nothing but hold the model? Run by `bench.footprint`: `bare.py FILE`.

Opens the session, answers one row, says so on a line, and waits until its input is closed.
"""

import sys

import numpy as np
import onnxruntime

options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
session.run(None, {"x": np.zeros((1, 4), np.float32)})
print("ready", flush=True)
sys.stdin.read()
