#!/usr/bin/env bash
# safetensors 0.8.0: `safetensors.numpy.save` writes an array's bytes as they lie in memory.
#
# A transposed view, such as a convolution kernel whose axes were moved for another framework, is saved
# with its own shape but the bytes of its base, and loads without an error as other numbers.  A checksum
# of the file fits.  `np.ascontiguousarray` before saving avoids it.
#
# Seen: "saved [[0, 3], [1, 4], [2, 5]]", "loaded [[0, 1], [2, 3], [4, 5]]"
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
"$place/venv/bin/python" - <<'PY'
import numpy as np
from safetensors.numpy import load, save

view = np.arange(6).reshape(2, 3).T
loaded = load(save({"kernel": view}))["kernel"]
print("saved", view.tolist())
print("loaded", loaded.tolist())
whole = load(save({"kernel": np.ascontiguousarray(view)}))["kernel"]
assert np.array_equal(whole, view)
assert loaded.shape == view.shape and not np.array_equal(loaded, view), "the behaviour has changed"
PY
