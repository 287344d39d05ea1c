"""Does a YAML value fit a type hint, and which Python value is it then?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, get_args, get_origin

from headrace.core.hints import (
    Key,
    alternatives,
    collection,
    holds_secret,
    is_record,
    is_union,
    keys_of,
    spellings,
    unwrap,
    wording,
)
from headrace.core.mistakes import Mistake, Place, did_you_mean, nearest
from headrace.core.scalars import MISMATCH, convert, exactness, natural
from headrace.core.yaml_nodes import Entry, ListNode, MapNode, Node, ScalarNode

_LONGEST_SHOWN = 60  # characters of a value in a message


class Failed:
    """The value had mistakes, which have been noted."""


FAILED: Final = Failed()

Remember = Callable[[Any, Place, Mapping[Any, Place]], None]


class Decoder:
    """Walks nodes against hints and goes on after each mistake.

    *defaults* holds what to take for dotted keys that are absent. *remember* learns where each object and its keys
    stood; *hide* takes out of a foreign message what must not be shown.
    """

    def __init__(self, defaults: Mapping[str, Any], *, remember: Remember, hide: Callable[[str], str]) -> None:
        self.mistakes: list[Mistake] = []
        self._defaults = defaults
        self._remember = remember
        self._hide = hide

    def value(self, node: Node, hint: Any, key: str) -> Any:
        """*node* as *hint* wants it, or FAILED with the reasons in `mistakes`."""
        bare, constraints = unwrap(hint)
        value = self._unconstrained(node, hint, bare, key)
        if value is FAILED or all(constraint.accepts(value) for constraint in constraints):
            return value
        return self._wrong(node, hint, key)

    def _unconstrained(self, node: Node, hint: Any, bare: Any, key: str) -> Any:
        if isinstance(node, ScalarNode) and node.broken:
            return FAILED
        if bare is Any or bare is object:
            return self._anything(node, key)
        if is_union(bare):
            return self._union(node, hint, key)
        if is_record(bare):
            return self._record(node, bare, key) if isinstance(node, MapNode) else self._wrong(node, hint, key)
        if kind := collection(bare):
            return self._collection(node, hint, kind, key)
        if not isinstance(node, ScalarNode):
            return self._wrong(node, hint, key)
        value = convert(node, bare)
        return self._wrong(node, hint, key) if value is MISMATCH else value

    def _anything(self, node: Node, key: str) -> Any:
        if isinstance(node, ScalarNode):
            return natural(node)
        return self._list(node, Any, list, key) if isinstance(node, ListNode) else self._dict(node, str, Any, key)

    def _union(self, node: Node, hint: Any, key: str) -> Any:
        arms = [arm for arm in alternatives(hint) if _same_kind(node, unwrap(arm)[0])]
        if isinstance(node, ScalarNode):
            arms.sort(key=lambda arm: exactness(node, unwrap(arm)[0]))
        outside = self.mistakes
        attempts: list[list[Mistake]] = []
        try:
            for arm in arms:
                self.mistakes = []
                if (value := self.value(node, arm, key)) is not FAILED:
                    return value
                attempts.append(self.mistakes)
        finally:
            self.mistakes = outside
        if isinstance(node, ScalarNode) or not attempts:
            return self._wrong(node, hint, key)
        # The type that was meant is the one with the fewest mistakes.
        self.mistakes += sorted(attempts, key=len)[0]
        return FAILED

    def _record(self, node: MapNode, cls: type, key: str) -> Any:
        keys = keys_of(cls)
        known = {name: entry for name, entry in node.entries.items() if name in keys}
        fields = {
            keys[name].field: self.value(entry.value, keys[name].hint, _join(key, name))
            for name, entry in known.items()
        }
        misspelt = self._unknown(node, keys, key)
        absent = [wanted for name, wanted in keys.items() if name not in known]
        complete = self._fill_in(fields, absent, node, key, misspelt)
        if not complete or len(known) < len(node.entries) or any(value is FAILED for value in fields.values()):
            return FAILED
        try:
            record = cls(**fields)
        except (TypeError, ValueError) as error:  # what __post_init__ has to say
            return self._note(node.place, self._hide(str(error)), key)
        places = _key_places(node.entries.items())
        self._remember(record, node.place, places | {keys[name].field: place for name, place in places.items()})
        return record

    def _unknown(self, node: MapNode, keys: Mapping[str, Key], key: str) -> set[str]:
        """Note the keys that do not exist; the names that they were probably meant to be."""
        meant: set[str] = set()
        for name, entry in node.entries.items():
            if name in keys:
                continue
            meant.add(nearest(name, keys) or "")
            advice = f"{did_you_mean(name, keys)}, wanted one of: {', '.join(keys) or 'none'}"
            self._note(entry.place, f"found an unknown key{advice}", _join(key, _shortened(name)))
        return meant

    def _fill_in(
        self, fields: dict[str, Any], absent: Iterable[Key], node: MapNode, key: str, misspelt: set[str]
    ) -> bool:
        complete = True
        for wanted in absent:
            dotted = _join(key, wanted.name)
            if dotted in self._defaults:
                fields[wanted.field] = self._defaults[dotted]
            elif wanted.required:
                complete = False
                if wanted.name not in misspelt:  # one slip is one mistake
                    self._note(node.place, f"found nothing, wanted {wording(wanted.hint)}: the key is required", dotted)
        return complete

    def _collection(self, node: Node, hint: Any, kind: type, key: str) -> Any:
        bare, _ = unwrap(hint)
        arguments = get_args(bare)
        if kind is dict:
            if not isinstance(node, MapNode):
                return self._wrong(node, hint, key)
            of_key, of_value = arguments or (str, Any)
            return self._dict(node, of_key, of_value, key)
        if not isinstance(node, ListNode):
            return self._wrong(node, hint, key)
        if get_origin(bare) is not tuple or not arguments or arguments[-1] is Ellipsis:
            return self._list(node, arguments[0] if arguments else Any, kind, key)
        if len(node.items) != len(arguments):
            return self._wrong(node, hint, key)
        pairs = enumerate(zip(node.items, arguments, strict=True))
        return self._gathered(node, [self.value(item, of, f"{key}[{i}]") for i, (item, of) in pairs], tuple)

    def _list(self, node: ListNode, of: Any, kind: type, key: str) -> Any:
        return self._gathered(node, [self.value(item, of, f"{key}[{i}]") for i, item in enumerate(node.items)], kind)

    def _gathered(self, node: ListNode, values: list[Any], kind: type) -> Any:
        if any(value is FAILED for value in values):
            return FAILED
        gathered = kind(values)
        self._remember(gathered, node.place, {i: item.place for i, item in enumerate(node.items)})
        return gathered

    def _dict(self, node: MapNode, of_key: Any, of_value: Any, key: str) -> Any:
        decoded: dict[Any, Any] = {}
        failed = False
        for name, entry in node.entries.items():
            wanted = name if of_key in (str, Any) else self.value(entry.key, of_key, key)
            value = self.value(entry.value, of_value, _join(key, name))
            failed = failed or wanted is FAILED or value is FAILED
            decoded[wanted] = value
        if failed:
            return FAILED
        self._remember(decoded, node.place, _key_places(zip(decoded, node.entries.values(), strict=True)))
        return decoded

    def _wrong(self, node: Node, hint: Any, key: str) -> Failed:
        return self._note(node.place, f"found {_found(node, hint)}, wanted {wording(hint)}{_advice(node, hint)}", key)

    def _note(self, place: Place, message: str, key: str) -> Failed:
        self.mistakes.append(Mistake(place.file, place.line, message, key))
        return FAILED


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _key_places(entries: Iterable[tuple[Any, Entry]]) -> dict[Any, Place]:
    return {name: entry.place for name, entry in entries}


def _same_kind(node: Node, hint: Any) -> bool:
    if hint is Any or hint is object:
        return True
    if isinstance(node, MapNode):
        return is_record(hint) or collection(hint) is dict
    is_sequence = collection(hint) in (list, tuple)
    return is_sequence if isinstance(node, ListNode) else not (is_sequence or is_record(hint) or collection(hint))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def _found(node: Node, hint: Any) -> str:
    """What stands there; a value from the environment as it was written, a secret not at all."""
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return f"a list of {len(node.items)}"
    if holds_secret(hint):
        return "nothing" if node.plain and not node.text else "a value that is no text"
    if node.expanded:
        return f"the value of {_shortened(node.written)}"
    if natural(node) is None and not node.text:
        return "nothing"
    shown = _shortened(node.text)
    return repr(shown) if isinstance(natural(node), str) else shown


def _advice(node: Node, hint: Any) -> str:
    kinds = [unwrap(arm)[0] for arm in alternatives(hint)]
    if not isinstance(node, ScalarNode):
        return ""
    if node.expanded or holds_secret(hint):
        return ""
    if isinstance(natural(node), bool) and str in kinds:
        return ": put it in quotes"
    if natural(node) is not None and any(map(_lists_single_values, kinds)):
        return ": put it in [ ]"
    if not node.plain and any(_fits_without_quotes(node, kind) for kind in kinds):
        return ": leave the quotes away"
    if natural(node) == node.text and node.text.isdigit() and (int in kinds or float in kinds):
        return ": leave the leading zero away"
    return did_you_mean(node.text, spellings(hint))


def _lists_single_values(kind: Any) -> bool:
    of = get_args(kind)[:1]
    return collection(kind) in (list, tuple) and not (of and is_record(unwrap(of[0])[0]))


def _fits_without_quotes(node: ScalarNode, kind: Any) -> bool:
    """Whether *node* would be a number or a boolean of *kind* without its quotes."""
    if kind not in (int, float, bool):
        return False
    return convert(ScalarNode(node.place, node.text, node.written), kind) is not MISMATCH
