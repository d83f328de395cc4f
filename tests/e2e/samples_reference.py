"""Recompute each request of a result with transformers alone, from the logged samples.

    ENGINE_PYTHON tests/e2e/samples_reference.py MODEL_DIR CONTEXT KIND SAMPLES.jsonl …

CONTEXT: the server's max_model_len, in tokens. KIND: choice, answer, chat or rolling; any number of
pairs of KIND and samples file.

The code follows the definitions and uses neither the harness nor vLLM. A choice scores each of its
tokens given all tokens before it. An answer is decoded greedily, token by token. A text scores each
token once, the first given the beginning-of-sequence token. Input that does not fit is cut at its
left end: a prompt leaves room for its answer, a choice for the one token that the server generates.
A text is divided into windows; each begins with the last token of the previous one.

Prints JSON: for each samples file a list of [logged, recomputed, tokens compared].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main(argv: list[str]) -> None:
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    context_length = int(argv[1])
    tokenizer = AutoTokenizer.from_pretrained(argv[0])
    model = AutoModelForCausalLM.from_pretrained(argv[0], dtype=torch.float32).eval()
    # What precedes each text: only a beginning-of-sequence token may.
    begins = tokenizer("word").input_ids[:1] == [tokenizer.bos_token_id]
    start = [tokenizer.bos_token_id] if begins else []

    def plain(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False).input_ids)

    def logits(tokens: list[int]) -> Any:
        with torch.no_grad():
            return model(torch.tensor([tokens])).logits[0].double()

    def scored(tokens: list[int], first: int) -> float:
        """Return the log-probability of tokens[first:], each given all tokens before it."""
        rows = torch.log_softmax(logits(tokens), dim=-1)
        return sum(float(rows[n - 1][tokens[n]]) for n in range(first, len(tokens)))

    def choice(context: str, answer: str) -> float:
        if not context:
            return scored([tokenizer.bos_token_id, *plain(answer)], 1)
        kept = context.rstrip()  # a space before an answer belongs to the answer's first word
        whole = [*start, *plain(context + answer)]
        cut = max(0, len(whole) - (context_length - 1))
        return scored(whole[cut:], len(start) + len(plain(kept)) - cut)

    def whole_text(text: str) -> float:
        tokens, total = plain(text), 0.0
        most = context_length - 2  # room for the preceding token and the generated one
        for begin in range(0, len(tokens), most):
            end = min(begin + most, len(tokens))
            before = tokens[max(0, end - most - 1) : begin] if begin else [tokenizer.bos_token_id]
            total += scored([*before, *tokens[begin:end]], len(before))
        return total

    def continued(tokens: list[int], stops: list[str], most: int) -> str:
        begun = len(tokens)
        while len(tokens) - begun < most:
            tokens = [*tokens, int(logits(tokens)[-1].argmax())]
            if tokens[-1] == tokenizer.eos_token_id:
                break
            text = tokenizer.decode(tokens[begun:], skip_special_tokens=True)
            if any(stop in text for stop in stops):
                break
        text = str(tokenizer.decode(tokens[begun:], skip_special_tokens=True))
        return min((text.partition(stop)[0] for stop in stops), key=len)

    def compared(kind: str, sample: Any) -> Iterator[list[Any]]:
        calls = [list(call.values()) for call in sample["arguments"].values()]
        for (first, *rest), answers in zip(calls, sample["resps"], strict=True):
            got = answers[0]
            if kind == "choice":
                yield [float(got[0]), choice(first, rest[0]), len(plain(rest[0]))]
            elif kind == "rolling":
                value = got[0] if isinstance(got, list) else got
                yield [float(value), whole_text(first), len(plain(first))]
            else:
                kwargs = rest[0]
                if kind == "chat":
                    turns = json.loads(first[0] if isinstance(first, list) else first)
                    text = tokenizer.apply_chat_template(
                        turns, tokenize=False, add_generation_prompt=True
                    )
                    tokens = plain(text)
                else:
                    tokens = [*start, *plain(first)][kwargs["max_gen_toks"] - context_length :]
                answer = continued(tokens, kwargs["until"], kwargs["max_gen_toks"])
                yield [got, answer, len(plain(answer))]

    found = []
    for kind, path in zip(argv[2::2], argv[3::2], strict=True):
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        found.append([pair for line in lines for pair in compared(kind, json.loads(line))])
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
