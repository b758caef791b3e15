"""Commands inside sentences that people read and paste: which stack they go to."""

import re

_OWN = re.compile(r"\blowtide (?!pools (?:init|validate)|local|simulate)[a-z](?:(?! --stack )[^`])*(?=`|$)")
"""A command that asks a deployment, to its end: the text's, or the backtick's that quotes it."""
_DEPLOYS = re.compile(r"\bcdk (?:deploy|destroy)\b")


def with_stack(text: str, stack: str, found_without: str) -> str:
    """The text with the stack's name in each of its commands, unless `stack` is the one that `lowtide` finds without,
    `found_without`. A command that names a stack stays as it is."""
    if stack == found_without:
        return text
    return _DEPLOYS.sub(rf"\g<0> -c stack={stack}", _OWN.sub(rf"\g<0> --stack {stack}", text))
