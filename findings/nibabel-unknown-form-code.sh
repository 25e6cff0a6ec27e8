#!/usr/bin/env bash
# nibabel 5.4.2: the sform of a file is dropped on reading where its code is unknown.
#
# NIfTI-1 uses an sform where `sform_code` is above 0; some codes have names.  `nib.load` sets a code that
# it does not know (99, say) to 0 and logs one line; the affine is then a guess from the voxel sizes,
# with the origin in the middle of the volume and left and right by convention.  No exception, no
# Python warning, and the header that is handed on no longer shows what stood in the file.
#
# Seen: "in the file: code 99, x offset -30", "loaded: code 0, x offset 3.0"
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet nibabel==5.4.2 numpy==2.4.6
"$place/venv/bin/python" -W error - "$place/scan.nii" <<'PY'
import sys

import nibabel as nib
import numpy as np

path = sys.argv[1]
affine = np.array([[2.0, 0, 0, -30], [0, 2, 0, -20], [0, 0, 2, -10], [0, 0, 0, 1]])
content = bytearray(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), affine).to_bytes())
content[254:256] = (99).to_bytes(2, "little")  # sform_code
with open(path, "wb") as file:
    file.write(content)
image = nib.load(path)
print("in the file: code 99, x offset -30")
print(f"loaded: code {int(image.header['sform_code'])}, x offset {image.affine[0, 3]}")
assert int(image.header["sform_code"]) == 0, "the behaviour has changed"
assert image.affine[0, 3] == 3.0, "the behaviour has changed"
PY
