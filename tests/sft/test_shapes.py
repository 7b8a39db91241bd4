"""Published shapes of conversations to messages."""

import pytest

from tasks.sft.chats import fault
from tasks.sft.shapes import CONVERTERS, from_alpaca, from_messages, from_oasst, from_prompt_completion, from_sharegpt


def said(messages) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages]


def test_messages_keep_role_and_content_and_nothing_else():
    row = {"dataset": "d", "messages": [{"role": "user", "content": "a", "weight": 1}, {"role": "assistant", "content": "b"}]}
    assert from_messages(row) == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def test_alpacas_input_stands_below_its_instruction_and_may_be_empty():
    assert said(from_alpaca({"instruction": "Add. ", "input": "1 and 2", "output": "3"})) == [
        ("user", "Add.\n\n1 and 2"),
        ("assistant", "3"),
    ]
    assert said(from_alpaca({"instruction": "Speak.", "input": "", "output": "I do."})) == [("user", "Speak."), ("assistant", "I do.")]
    assert said(from_alpaca({"instruction": "Speak.", "output": "I do."}))[0] == ("user", "Speak.")


def test_sharegpts_speakers_are_translated_and_what_comes_before_the_first_human_left_out():
    turns = [{"from": "gpt", "value": "Welcome"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    assert said(from_sharegpt({"conversations": turns})) == [("user", "a"), ("assistant", "b")]
    lead = [{"from": "system", "value": "s"}, *turns]
    assert said(from_sharegpt({"conversations": lead})) == [("system", "s"), ("user", "a"), ("assistant", "b")]
    assert fault(from_sharegpt({"conversations": [{"from": "bard", "value": "x"}, *turns[1:]]})) == "unknown_role"


def reply(role: str, text: str, rank: int | None = None, replies: list | None = None, **more) -> dict:
    return {"role": role, "text": text, "rank": rank, "replies": replies or []} | more


def test_of_a_tree_the_replies_that_were_ranked_first_are_taken_and_deleted_ones_never():
    tree = reply("prompter", "q", None, [
        reply("assistant", "second", 1, [reply("prompter", "not this", None)]),
        reply("assistant", "first", 0, [reply("prompter", "more?", None, [
            reply("assistant", "deleted", 0, deleted=True), reply("assistant", "refused", 1, review_result=False), reply("assistant", "kept", 2)])]),
        reply("assistant", "unranked"),
    ])  # fmt: skip
    assert said(from_oasst({"message_tree_id": "t", "prompt": tree})) == [
        ("user", "q"), ("assistant", "first"), ("user", "more?"), ("assistant", "kept"),
    ]  # fmt: skip


def test_a_path_that_ends_with_the_prompter_loses_that_turn_and_an_unanswered_prompt_has_no_assistant():
    tree = reply("prompter", "q", None, [reply("assistant", "a", 0, [reply("prompter", "and?")])])
    assert said(from_oasst({"prompt": tree})) == [("user", "q"), ("assistant", "a")]
    assert fault(from_oasst({"prompt": reply("prompter", "nobody answers")})) == "no_assistant"


def test_prompts_and_completions_are_texts_or_messages():
    assert said(from_prompt_completion({"prompt": "a", "completion": "b"})) == [("user", "a"), ("assistant", "b")]
    row = {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
        "completion": [{"role": "assistant", "content": "b"}],
    }
    assert said(from_prompt_completion(row)) == [("system", "s"), ("user", "a"), ("assistant", "b")]


@pytest.mark.parametrize("shape", CONVERTERS)
@pytest.mark.parametrize(
    "row", [{}, {"text": "x"}, {"messages": "x", "conversations": {}, "prompt": 3, "instruction": None, "completion": None}]
)
def test_a_row_of_another_shape_is_unreadable_and_no_crash(shape: str, row: dict):
    assert fault(CONVERTERS[shape](row)) == "unreadable"
