#!/usr/bin/env bash
# jax 0.10.2: JAX_PLATFORMS=cuda without the CUDA plugin raises an AssertionError without a word.
#
# A platform that is known but has no plugin installed is passed over when backends are made, and then
# none is left.  `tpu` and unknown names raise a RuntimeError that says what is wrong.
#
# Seen: "cuda: AssertionError ''", "foo: RuntimeError Unable to initialize backend 'foo' ..."
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2
for platform in cuda foo; do
    JAX_PLATFORMS=$platform "$place/venv/bin/python" - <<'PY'
import os

import jax

platform = os.environ["JAX_PLATFORMS"]
try:
    jax.devices()
except Exception as error:
    print(f"{platform}: {type(error).__name__} {str(error)[:60]!r}")
    found = (type(error).__name__, str(error))
else:
    found = ("", "")
if platform == "cuda":
    assert found == ("AssertionError", ""), "the behaviour has changed"
else:
    assert found[0] == "RuntimeError" and "Unable to initialize" in found[1]
PY
done
