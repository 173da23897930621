"""YAML that people write, read strictly: bounded, each key once, plain values, never a Python object."""

from __future__ import annotations

import reprlib
from collections.abc import Hashable
from typing import Any

import yaml

MAX_YAML_BYTES = 256 * 1024
MAX_YAML_NODES = 50_000


def parse_yaml_mapping(data: bytes, *, or_empty: bool = False) -> dict[str, Any]:
    """Parse a YAML mapping of plain values; with `or_empty` a document without any value is an empty mapping.

    Aliases are counted as often as they are used, before any of them is expanded.

    Raises
    ------
    ValueError
        The text is too long, is not YAML in UTF-8 or UTF-16, names a Python object, repeats a key, has a key that is
        no word at the top, expands beyond `MAX_YAML_NODES` values, or is no mapping. The message is one line.
    """
    if len(data) > MAX_YAML_BYTES:
        raise ValueError(f"more than {MAX_YAML_BYTES} bytes")
    try:
        loader = yaml.SafeLoader(data)
        root = loader.get_single_node()
        if root is not None:
            _check_nodes(root, loader)
        document = None if root is None else loader.construct_document(root)
    except RecursionError:
        raise ValueError("nested too deeply (recursion)") from None
    # Constructors of numbers and dates raise what Python's own do.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from None
    if document is None:
        if or_empty:
            return {}
        raise ValueError("an empty document")
    if not isinstance(document, dict):
        raise ValueError(f"a {type(document).__name__} at the top")
    foreign = [key for key in document if not isinstance(key, str)]
    if foreign:
        raise ValueError(f"a key that is no word: {reprlib.repr(foreign[0])}")
    return document


def _check_nodes(root: yaml.Node, loader: yaml.SafeLoader) -> None:
    waiting, count = [root], 0
    while waiting:
        node = waiting.pop()
        count += 1
        if count > MAX_YAML_NODES:
            raise ValueError(f"expands to more than {MAX_YAML_NODES} values")
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, loader)
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _check_keys(mapping: yaml.MappingNode, loader: yaml.SafeLoader) -> None:
    """Refuse a key that appears twice, also when it is written in two ways, such as `5` and `"5"`."""
    seen: set[Hashable] = set()
    for node, _ in mapping.value:
        if not isinstance(node, yaml.ScalarNode):
            continue
        key = str(node.value if node.tag == "tag:yaml.org,2002:merge" else loader.construct_object(node))
        if key in seen:
            raise ValueError(f"key {key[:50]!r} appears twice, line {node.start_mark.line + 1}")
        seen.add(key)
