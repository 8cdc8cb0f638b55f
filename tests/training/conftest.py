"""What the tests of training share."""

import pytest
import torch

from pandagpt.model.tokenizer import SentencePieceTokenizer, Tokenizer
from pandagpt.training.corpus.vocabulary import train_vocabulary


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    return SentencePieceTokenizer(train_vocabulary(0))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny matrices are slower on two threads, and forty times slower on a busy machine."""
    torch.set_num_threads(1)
