"""From files on disk to training patches: the only place that knows NIfTI, TorchIO and (x, y, z)."""
