"""Principal components of a stack, exact and growing with it, and how many of them are more than noise."""

from callbacks.stxm.components.grouped import GroupedSpectra
from callbacks.stxm.components.in_blocks import PixelComponents, components_in_blocks
from callbacks.stxm.components.pca import StreamingPCA, stream_hdf5
from callbacks.stxm.components.significance import count_significant, noise_cut
from callbacks.stxm.components.solution import Components

__all__ = [
    "Components",
    "GroupedSpectra",
    "PixelComponents",
    "StreamingPCA",
    "components_in_blocks",
    "count_significant",
    "noise_cut",
    "stream_hdf5",
]
