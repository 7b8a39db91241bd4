"""What each token may see, as a dense mask and as blocks for FlexAttention."""

import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask

from tasks.model.attention import attend, attention_mask, block_mask, dense_mask

CPU = torch.device("cpu")
POSITIONS = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in ([130, 1, 169], [300])])  # documents of two rows


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 8, 200])
@pytest.mark.parametrize("positions", [None, POSITIONS], ids=["across documents", "within documents"])
def test_flex_attention_over_blocks_is_attention_over_the_dense_mask(window, positions):
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, heads, 300, 16, generator=generator) for heads in (4, 2, 2))
    blocks, dense = block_mask(300, window, positions, CPU), dense_mask(300, window, positions, CPU)
    assert isinstance(blocks, BlockMask)
    assert torch.allclose(attend(q, k, v, blocks), attend(q, k, v, dense), atol=1e-5)


def test_blocks_that_see_nothing_of_each_other_are_left_out():
    full = block_mask(1024, None, None, CPU)
    near = block_mask(1024, 128, None, CPU)
    documents = block_mask(1024, None, torch.arange(256).repeat(1, 4), CPU)
    # 8 x 8 blocks: 36 on and below the diagonal; a window of one block reaches 2 of each row but the first; 4 documents of 3 blocks
    assert [round(64 * (1 - mask.sparsity() / 100)) for mask in (full, near, documents)] == [36, 15, 12]


def test_there_is_no_mask_where_causality_says_the_same():
    assert attention_mask(64, None, None, CPU) is None and attention_mask(64, 64, None, CPU) is None
    assert attention_mask(64, 63, None, CPU).sum() == 64 * 65 // 2 - 1
