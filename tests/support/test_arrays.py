"""What users hand over: accepted where it has one meaning, answered in a sentence where it has not."""

from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
import torchio as tio

from lrnet_edu.support.arrays import checked_spacing, plain_array
from lrnet_edu.support.errors import InputError

MASK = np.zeros((4, 5, 6), np.uint8)
MASK[1:3, 2:4, 3:5] = 1
TENSOR = torch.from_numpy(MASK)


class Subclass(torch.Tensor):
    """As MONAI's MetaTensor is one."""


@pytest.mark.parametrize(
    "volume",
    [*(MASK.astype(dtype) for dtype in ("?", ">i2", "<u8", "f2", ">f8", np.longdouble)),
     MASK.tolist(), MASK.view(np.recarray), np.ma.masked_array(MASK), np.asfortranarray(MASK),
     TENSOR, TENSOR.bool(), TENSOR.bfloat16(), TENSOR.to(torch.float8_e4m3fn), TENSOR.to(torch.uint16),
     TENSOR.half().requires_grad_(), torch.nn.Parameter(TENSOR.float()),
     TENSOR.float().as_subclass(Subclass).requires_grad_(), TENSOR.transpose(0, 2).contiguous().transpose(0, 2),
     torch._neg_view(-TENSOR.float())],
)  # fmt: skip
def test_what_has_one_meaning_is_taken(volume: Any) -> None:
    array = plain_array(volume, "mask")
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array.astype(float), MASK)


@pytest.mark.parametrize(("volume", "advice"), [
    (np.ma.masked_array(MASK, MASK == 0), r"mask.filled\(0\)"),
    (SimpleITK.GetImageFromArray(MASK), r"sitk.GetArrayFromImage\(mask\)"),
    (nib.Nifti1Image(MASK, np.eye(4)), r"np.asarray\(mask.dataobj\).transpose\(\)"),
    (tio.LabelMap(tensor=TENSOR[None]), r"mask.numpy\(\)\[0\].transpose\(2, 1, 0\)"),
    (TENSOR.to_sparse(), "is a Tensor"),
    (TENSOR.to(torch.complex64), "real numbers"),
    ([[1, 2], [3]], "is a list"),
    ("mask.nii.gz", "is a str"),
    (None, "NoneType"),
])  # fmt: skip
def test_the_rest_is_answered_with_what_to_pass(volume: Any, advice: str) -> None:
    with pytest.raises(InputError, match=rf"^The mask.*{advice}.*\.$"):
        plain_array(volume, "mask")


def test_spacing() -> None:
    for spacing in ((1, 2.0, 3), np.array([1.0, 2, 3]), torch.tensor([1.0, 2, 3])):
        assert checked_spacing(spacing) == (1.0, 2.0, 3.0)
    assert checked_spacing(None, 2) == (1.0, 1.0)
    for wrong in (1.0, (1, 2), (1, 0, 1), (1, -1, 1), (1, np.nan, 1), (1, np.inf, 1), "abc"):
        with pytest.raises(InputError, match=r"\(z, y, x\)"):
            checked_spacing(wrong)  # type: ignore[arg-type]
