#!/usr/bin/env bash
# nibabel 5.4.2: a qform that is marked as not to be used still raises.
#
# NIfTI-1 says that a form whose code is 0 is not there.  Tools leave rubbish in its fields.  nibabel
# takes the affine of such an image from the sform, as it should, but `get_qform()` on it raises
# `ValueError: w2 should be positive`, whereas `get_qform(coded=True)` gives (None, 0).  Who copies
# both forms from a scan to a map (`set_qform(image.get_qform(), code)`) fails after the work.
#
# Seen: "affine is the sform: True", "coded: (None, 0)", "get_qform: ValueError: w2 should be ..."
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet nibabel==5.4.2 numpy==2.4.6
"$place/venv/bin/python" - <<'PY'
import nibabel as nib
import numpy as np

image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.diag([2.0, 2, 2, 1]))
image.header["quatern_c"], image.header["quatern_d"] = 0.8, 0.7  # of no rotation
again = nib.Nifti1Image.from_bytes(image.to_bytes())
print("qform code", int(again.header["qform_code"]), "sform code", int(again.header["sform_code"]))
same = np.array_equal(again.affine, again.get_sform())
print("affine is the sform:", same)
print("coded:", again.get_qform(coded=True))
try:
    again.get_qform()
except ValueError as error:
    print("get_qform: ValueError:", error)
    raised = str(error)
else:
    raised = ""
assert int(again.header["qform_code"]) == 0 and same
assert again.get_qform(coded=True) == (None, 0)
assert raised.startswith("w2 should be positive"), "the behaviour has changed"
PY
