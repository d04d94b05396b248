"""What the other readings of the paper would change, in numbers, for ``docs/reading_the_paper.md``.

    python -m benchmarks.readings

computes every number on balls of voxels, sample CTs and the shipped LR-Net (no training: seconds on a CPU) and
writes them into the column "otherwise" of the page. One module for each of its sections.
"""
