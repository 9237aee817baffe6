"""Tokens: counted, bounded, cut, packed."""

import socket

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from lrd_jax.text.openai.packing import BYTES, Tokenizer, load_tokenizer, pack


def small_bpe():
    """A byte-level BPE with a few merges, some across the bytes of one character."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    for merged in (b"ab", b"aba", b"\xe6\x97", b" a", b"\xf0\x9f", b"\xf0\x9f\x98", b"\n\n", b"  "):
        ranks[merged] = len(ranks)
    pattern = r"\s+(?!\S)|\s?\S+|\s+"
    return Tokenizer(
        "small", tiktoken.Encoding("small", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|end|>": 300})
    )


TOKENIZERS = [BYTES, small_bpe()]
TEXTS = st.text(st.sampled_from("ab 日😀é\n<|end|>"), max_size=40)


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["bytes", "bpe"])
@settings(max_examples=150, deadline=None)
@given(text=TEXTS, limit=st.integers(1, 12))
def test_cut_is_a_whole_beginning_within_the_limit(tokenizer, text, limit):
    cut = tokenizer.cut(text, limit)
    assert text.startswith(cut)
    assert tokenizer.count([cut])[0] <= limit
    if tokenizer.count([text])[0] <= limit:
        assert cut == text
    else:  # nothing is given away: a character is at most four bytes, so four tokens
        assert tokenizer.count([text[: len(cut) + 1]])[0] > limit - 4


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_bytes_bound_the_tokens(text):
    assert BYTES.count([text])[0] >= small_bpe().count([text])[0]


def test_text_like_a_special_token_is_text():
    assert small_bpe().count(["<|end|>"]) == [7]


@settings(max_examples=300, deadline=None)
@given(sizes=st.lists(st.integers(0, 30), max_size=40), max_count=st.integers(1, 8), max_size=st.integers(1, 40))
def test_pack(sizes, max_count, max_size):
    runs = list(pack(sizes, max_count, max_size))
    assert [index for run in runs for index in run] == list(range(len(sizes)))
    for run, following in zip(runs, [*runs[1:], None], strict=False):
        total = sum(sizes[index] for index in run)
        assert 1 <= len(run) <= max_count and (total <= max_size or len(run) == 1)
        if following is not None:  # one more would have been too many
            assert len(run) == max_count or total + sizes[following[0]] > max_size


def test_pack_nothing():
    assert list(pack([], 3, 3)) == []


def test_without_network_bytes_are_counted(offline):
    tokenizer = load_tokenizer("text-embedding-ada-002")
    assert not tokenizer.exact and tokenizer.unit == "UTF-8 bytes"
    assert "cl100k_base" in tokenizer.problem
    assert tokenizer.count(["日本", ""]) == [6, 0]


def test_unknown_model_counts_bytes():
    assert "no vocabulary for bge-small" in load_tokenizer("bge-small").problem


def test_a_fetch_that_hangs_is_not_waited_for(offline, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        # Another vocabulary than the other tests', since tiktoken holds a lock as long as the thread hangs.
        tokenizer = load_tokenizer("gpt2", 0.3)
        silent.settimeout(60)
        silent.accept()[0].close()  # it was asked, and would have been waited for until now
    assert not tokenizer.exact and "within 0.3 s" in tokenizer.problem
