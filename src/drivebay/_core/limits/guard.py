"""The guard: judges every message before it is sent, and believes only what was sent.

Promises: a message that passes sets no level beyond its limit in any spelling; a limited output is
switched on only after what protects it was set; a message that is refused is refused whole. Never
does input or output, and never raises anything but :class:`LimitError` on what a message holds. One
guard belongs to one link: check, write and :meth:`Guard.committed` are one step of its owner's.

Software keeps to what it understands. What a front panel, a trigger line or another computer does
is not seen here; interlocks protect people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from drivebay._core.errors import LimitError, nearest
from drivebay._core.limits.assignments import Assignments, Refusal
from drivebay._core.limits.dialect import Rule, language_of, rules_of
from drivebay._core.limits.effect import ALL_CHANNELS, Effect, Level, Limit, Mark, Walk
from drivebay._core.limits.message import MessageError, Unit, absolute, parse_message
from drivebay._core.limits.proof import Asked, Proofs, loses_errors
from drivebay._core.limits.values import channels_of, read_number

_NUMBER = rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?"
_SIMPLE = re.compile(rb"(:?[A-Za-z_0-9:]+) (%b(?:,%b)*)\r?\n?" % (_NUMBER, _NUMBER))
_OF_NUMBERS = b"0123456789+-.eE,"
_PLAIN_LIST = re.compile(r"[0-9eE+\-.,]*")
_NONE: frozenset[str] = frozenset()
_ANY: Limit = (float("-inf"), float("inf"))
_GUARDED = frozenset({"level", "clamp", "energise", "recall"})
_LONGEST_REMEMBERED = 128
_MOST_REMEMBERED = 1_024
_LONGEST_SHOWN = 60
_ROUNDED = 1e-5

Hits = tuple[tuple[Rule, str], ...]


class _Plan(NamedTuple):
    """A header that does nothing but set one quantity of one channel."""

    header: str
    quantity: str
    channel: str
    low: float
    high: float
    is_magnitude: bool
    marks: tuple[Mark, ...]
    asks: tuple[tuple[Mark, str], ...]

    def furthest_inside(self, text: bytes) -> float | None:
        """The value of the largest magnitude; None if any is outside or none.

        Args:
            text: numbers such as ``1.5`` or ``1,2.5,3``, of the characters of numbers only.
        """
        try:
            values = list(map(float, text.split(b",")))
        except ValueError:
            return None
        low, high = min(values), max(values)
        furthest = low if -low > high else high
        if self.is_magnitude:
            low, high = min(map(abs, values)), abs(furthest)
        return furthest if self.low <= low and high <= self.high else None


class Guard:
    """What stands between the messages for one instrument and its link."""

    def __init__(
        self,
        dialect: Mapping[str, Any] | None,
        limits: Mapping[str, Limit],
        *,
        channels: Mapping[str, Mapping[str, Limit]] = MappingProxyType({}),
        strict: bool,
        subject: str,
        source: str,
    ) -> None:
        """A guard that knows nothing yet of the instrument's state.

        Args:
            dialect: the manifest's, as it was checked; None if there is none.
            limits: quantity to (lowest, highest), in SI units, for every channel.
            channels: further limits by channel, ``{"2": {"voltage_v": (0, 5)}}``; both must hold.
            strict: whether what the dialect does not name is refused and protections come first:
                true where somebody set the limits, false where they are the model's own ranges.
            subject: the instrument, for messages.
            source: where the limits stand, for messages; empty for the model's own ranges.

        Raises:
            ValueError: the dialect has faults.
        """
        self._subject, self._source = subject, source
        self._limits = dict(limits)
        self._channels = {name: dict(each) for name, each in channels.items()}
        self._limited = bool(self._limits) or any(self._channels.values())
        self._strict = strict and self._limited
        self._assignments: Assignments | None = None
        self._rules: tuple[Rule, ...] = ()
        if language_of(dialect or {}) == "scpi":
            self._rules = rules_of(dialect or {})
        else:
            self._assignments = Assignments(dialect or {}, strict=self._strict)
        # An instrument where one command selects the channel of those that name none.
        self._selects = any(rule.kind == "select" for rule in self._rules)
        self._selected = ""
        self._firsts = [r for r in self._rules if r.setting is not None and r.setting.first]
        # By the first part of a mark: name, quantity and unit of what counts only when confirmed.
        self._protections = {
            _key(r): (r.header.plain, r.setting.quantity, r.setting.unit)
            for r in self._firsts
            if r.setting is not None
        }
        if self._assignments is not None:
            firsts = self._assignments.firsts
            self._protections = {
                each.name: (each.name, each.quantity, each.unit) for each in firsts
            }
        self._modes = {r.text: r for r in self._rules if r.kind == "mode"}
        self._energised: set[str] = set()
        self._known: set[Mark] = set()
        self.proofs = Proofs()
        self._levels: dict[tuple[str, str], float] = {}
        self._mode_values: dict[tuple[str, str], str] = {}
        self._seen: dict[bytes, Effect] = {}
        # Verdicts that hold only while nothing that is believed changes.
        self._seen_now: dict[bytes, Effect] = {}
        self._found: dict[tuple[str, bool], Hits] = {}
        self._plans: dict[bytes, _Plan] = {}

    # -- what the owner of the link uses ----------------------------------------------------------

    def check(self, message: bytes) -> Effect:
        """What a message will do, if it may be sent.

        Args:
            message: one whole program message, with or without its terminator.

        Returns:
            The effect, to be given to :meth:`committed` once the message was sent.

        Raises:
            LimitError: nothing of it may be sent.
        """
        effect = self._seen.get(message) or self._seen_now.get(message)
        if effect is not None:
            return effect
        header, _, numbers = message.partition(b" ")
        plan = self._plans.get(header)
        if plan is not None:
            numbers = numbers.removesuffix(b"\n").removesuffix(b"\r")
            if not numbers.translate(None, _OF_NUMBERS):
                value = plan.furthest_inside(numbers)
                if value is not None:
                    level = Level(plan.header, plan.quantity, plan.channel, value)
                    return Effect(_NONE, _NONE, (level,), False, plan.marks, asks=plan.asks)
        return self._judged(message)

    def committed(self, effect: Effect) -> None:
        """Take note that a message was sent; of every one, since any may change what counts."""
        if effect.forgets:
            self.forget()
        if effect.selected is not None:
            self._selected = effect.selected
        if effect.clears:
            self.proofs.error_list_is_lost()
        if effect.asks and self._strict:
            self.proofs.wanted(effect.asks)
            self._seen_now.clear()
        for level in effect.levels:
            self._levels[level.header, level.channel] = level.value
        if effect.marks and not self._known.issuperset(effect.marks):
            self._known.update(effect.marks)
            self._seen_now.clear()
        if effect.modes:
            self._mode_values.update(effect.modes)
            self._seen_now.clear()
        if effect.energises:
            self._energised |= effect.energises
        if effect.de_energises:
            self._switched_off(effect.de_energises)

    def maybe_sent(self, effect: Effect) -> None:
        """Take note that the link failed while a message was on its way.

        What it switches on counts as on; what it sets or chooses is not known any more. A
        protection that was set before still counts: the old and the new one are within the limit.
        """
        if effect.forgets:
            self.forget()
        if effect.selected is not None:
            self._selected = ""
        self._energised |= effect.energises
        for level in effect.levels:
            self._levels.pop((level.header, level.channel), None)
        for choice, _ in effect.modes:
            self._mode_values.pop(choice, None)
        self._seen_now.clear()

    def level(self, header: str) -> float | None:
        """The level that was sent last, as the bare number its header takes.

        Args:
            header: any spelling, with the suffix of its channel: ``:SOUR:VOLT``.

        Returns:
            None where no level was sent since connecting or a reset, or where the instrument takes
            bare numbers in another unit than SI.
        """
        if self._assignments is not None:
            return self._levels.get((header, self._assignments.channel_of(header)))
        full = f":{header.strip().upper().removeprefix(':')}"
        for rule, channel in self._look_up(full, False):
            if rule.setting is not None and not rule.setting.unit.exponent:
                value = self._levels.get((rule.text, channel or self._selected))
                if value is not None:
                    return value
        return None

    def command(self, header: str, level: float) -> str:
        """What sets a level, in the language of the instrument."""
        if self._assignments is not None:
            return f"{header} = {level:.7g}"
        return f"{header} {level:.7g}"

    @property
    def energised(self) -> bool:
        """Whether any channel is believed to be on, from the messages that were sent."""
        return bool(self._energised)

    @property
    def energised_channels(self) -> frozenset[str]:
        """The channels that are believed to be on."""
        return frozenset(self._energised)

    def forget(self) -> None:
        """Believe nothing of the settings any more: after a reconnect, a device clear, a reset.

        Protections count as not set. An output that was believed to be on still is, until
        :meth:`found_off` says otherwise.
        """
        self._known.clear()
        self._selected = ""
        self.proofs.forget()
        self._levels.clear()
        self._mode_values.clear()
        self._seen_now.clear()

    def found_off(self, channels: Iterable[str] = (ALL_CHANNELS,)) -> None:
        """Take note that the instrument itself says that these outputs are off."""
        self._switched_off(channels)

    def doubt(self) -> None:
        """Have every protection confirmed once more before anything is switched on."""
        self.proofs.again()
        self._seen_now.clear()

    # -- inside -----------------------------------------------------------------------------------

    def _switched_off(self, channels: Iterable[str]) -> None:
        gone = set(channels)
        self._energised = set() if ALL_CHANNELS in gone else self._energised - gone

    def _judged(self, message: bytes) -> Effect:
        if self._assignments is not None:
            return self._judge_assignment(self._assignments, message)
        try:
            units = parse_message(message, lenient=not self._limited)
        except MessageError as odd:
            raise self._refused("L006", _shown(message), f"is not sent: it holds {odd}") from None
        walk = Walk(self._known, self._mode_values, self._energised, self._selected)
        paths = [""]
        for unit in units:
            full, path = absolute(unit.header, paths[-1])
            walk.header = full
            self._judge(unit, self._hits(full, unit, paths), walk)
            paths.append(path)
        effect = walk.effect()
        self._remember(message, units, effect)
        return effect

    def _judge_assignment(self, language: Assignments, message: bytes) -> Effect:
        found = language.read(message, lambda each: self._is_limited(each.quantity, each.channel))
        if isinstance(found, Refusal):
            raise self._refused(found.code, _shown(message), found.text)
        for level in found.levels:
            limit = self._limit(level.quantity, level.channel)
            clamp = language.is_clamp(level)
            held = abs(level.value) if clamp else level.value
            low, high = _magnitudes(limit) if limit is not None and clamp else limit or _ANY
            if limit is not None and not low <= held <= high:
                raise self._beyond(_shown(message), level.quantity, level.value, limit)
        if self._strict and found.energises:
            return replace(found, unproven=self._relied_on(language, message, found))
        return found

    def _relied_on(self, language: Assignments, message: bytes, found: Effect) -> tuple[Mark, ...]:
        """Refuse to energise before what protects was set; gives what was not confirmed of it."""
        unproven: list[Mark] = []
        for setting in language.firsts:
            limit = self._limit(setting.quantity, setting.channel)
            if limit is None or setting.channel not in found.energises:
                continue
            mark = (setting.name, setting.channel)
            if mark not in self._known:
                text = f"would energise before {setting.name!r} was set (limited is "
                raise self._refused(
                    "L004", _shown(message), text + _span(setting.quantity, limit) + ")",
                    quantity=setting.quantity, limit=limit,
                )  # fmt: skip
            if mark in self.proofs:
                unproven.append(mark)
        return tuple(unproven)

    def _remember(self, message: bytes, units: list[Unit], effect: Effect) -> None:
        """Keep what depends on nothing but the message, for the next time it comes."""
        if effect.modes or self._selects:
            return
        match = _SIMPLE.fullmatch(message) if effect.levels and not effect.energises else None
        if match is not None and len(units) == 1:
            self._plan(match[1], units[0], effect)
        elif len(message) > _LONGEST_REMEMBERED:
            return
        elif effect.energises or effect.unproven:
            if len(self._seen_now) < _MOST_REMEMBERED:
                self._seen_now[bytes(message)] = effect
        else:
            if len(self._seen) >= _MOST_REMEMBERED:
                self._seen.clear()
            self._seen[bytes(message)] = effect

    def _plan(self, header: bytes, unit: Unit, effect: Effect) -> None:
        """Keep what a header sets, for any number that comes with it."""
        hits = self._hits(absolute(unit.header, "")[0], unit, ())
        if len(hits) == 1 and hits[0][0].setting is not None and len(self._plans) < 1_024:
            rule, channel = hits[0]
            if rule.setting is not None and not rule.setting.unit.exponent:
                low, high = self._bounds(rule, channel)
                self._plans[bytes(header)] = _Plan(
                    rule.text, rule.setting.quantity, channel, low, high,
                    rule.kind == "clamp", effect.marks, effect.asks,
                )  # fmt: skip

    def _hits(self, full: str, unit: Unit, paths: Iterable[str]) -> Hits:
        """The rules of a header, and which channel each says it is for."""
        hits = self._look_up(full, unit.question)
        if hits or self._strict or unit.header.startswith((":", "*")):
            return hits
        # It leads nowhere. Some instruments then go back to the root, and a path does not move in
        # all of them where a command was refused: each way it may be taken is judged.
        ways = {f"{path}:{unit.header}" for path in paths}
        return tuple(hit for way in sorted(ways) for hit in self._look_up(way, unit.question))

    def _look_up(self, full: str, question: bool) -> Hits:
        key = (full, question)
        hits = self._found.get(key)
        if hits is None:
            unwanted = "command" if question else "question"
            unnamed = "" if self._selects else "1"
            matched = [
                (rule, rule.header.channel_of(full, unnamed))
                for rule in self._rules
                if rule.form != unwanted and not (question and rule.kind == "harmless")
            ]
            hits = tuple((rule, channel) for rule, channel in matched if channel is not None)
            if len(self._found) >= _MOST_REMEMBERED:
                self._found.clear()
            self._found[key] = hits
        return hits

    def _judge(self, unit: Unit, hits: Hits, walk: Walk) -> None:
        """One unit: refuse it, or take up into the walk what it does."""
        walk.question = walk.question or unit.question
        self._judge_form(unit, hits)
        given, listed = _split_channels(unit.parameters)
        known = unit.question
        for rule, suffix in hits:
            if rule.kind != "harmless":
                channels = listed or (suffix or self._selected_in(walk),)
                known = self._apply(unit, rule, channels, given, walk) or known
        odd = "" if known else _unlisted(hits, given)
        if unit.header == "*RST" and not unit.question:
            walk.forget()
        walk.clears = walk.clears or loses_errors(walk.header, unit.question)
        if self._strict and odd is not None and not known:
            raise self._unknown(unit, odd)

    def _judge_form(self, unit: Unit, hits: Hits) -> None:
        """Refuse what cannot be read for certain, where it matters."""
        fault = unit.fault
        if not fault and self._strict and unit.has_block:
            exact = any(r.kind == "harmless" and not r.header.everything_below for r, _ in hits)
            fault = "" if exact else "a block of data cannot be looked into"
        elif not fault and self._strict and not unit.text.isascii():
            fault = "it has characters that are not ASCII"
        elif not fault and any(text.startswith("(@") for text in unit.parameters):
            readable = all(channels_of(t) for t in unit.parameters if t.startswith("(@"))
            fault = "" if readable else "its channel list cannot be read"
        guarded = any(rule.kind in _GUARDED for rule, _ in hits)
        if fault and (self._strict or (self._limited and guarded)):
            raise self._refused("L006", _shown(unit.text), f"is not sent: {fault}")

    def _apply(
        self, unit: Unit, rule: Rule, channels: tuple[str, ...], given: list[str], walk: Walk
    ) -> bool:
        """What one rule makes of a unit; whether the dialect knows the unit by it."""
        if rule.kind in {"level", "clamp"}:
            self._set(unit, rule, channels, given, walk)
            return True
        if rule.kind == "select" and rule.parameter is None:
            walk.selected = _channel_in(given)
            return True
        if rule.kind == "energise":
            return self._energise(unit, rule, channels, given, walk)
        # A selection that the dialect lists with what follows it, such as a named output, leads to
        # a channel without a number: nothing is known of it.
        matches = [rule.parameter is None or rule.parameter.match(text) for text in given or [""]]
        if rule.kind == "mode":
            self._choose(unit, rule, channels, given[0] if given else "", walk)
        if not any(matches) or (rule.kind in {"mode", "off"} and not all(matches)):
            return False
        if rule.kind == "recall":
            if self._strict:
                text = "leads to levels that are not in the command, so they cannot be checked"
                raise self._refused("L005", _shown(unit.text), text)
            walk.forget()
        elif rule.kind == "select":
            walk.selected = ""
        elif rule.kind == "off":
            walk.off((ALL_CHANNELS,) if rule.text.startswith("*") else channels)
        return True

    def _selected_in(self, walk: Walk) -> str:
        """The channel of a header that names none; empty if that matters and is not known."""
        return walk.selected if walk.selected or self._strict else "1"

    def _require_channel(self, unit: Unit, channels: tuple[str, ...]) -> None:
        """Refuse what is for the selected channel when nothing was selected for certain."""
        if "" in channels and self._strict:
            selects = " or ".join(
                repr(rule.header.plain) for rule in self._rules if rule.kind == "select"
            )
            text = f"is not sent: it is not known which channel is selected; send {selects} first"
            raise self._refused("L009", _shown(unit.text), text)

    def _choose(
        self, unit: Unit, rule: Rule, channels: tuple[str, ...], value: str, walk: Walk
    ) -> None:
        self._require_channel(unit, channels)
        for channel in channels:
            walk.modes[rule.header.plain, channel] = value
            if channel in walk.on:
                self._require(unit, None, channel, walk)

    def _energise(
        self, unit: Unit, rule: Rule, channels: tuple[str, ...], given: list[str], walk: Walk
    ) -> bool:
        """An energising command: whatever is not certainly something else energises."""
        if rule.parameter is not None and given:
            if rule.parameter.excludes(given[0]):
                return rule.parameter.switch is not None
            if rule.parameter.switch is None and not rule.parameter.match(given[0]):
                return False
        self._require_channel(unit, channels)
        for channel in channels:
            self._require(unit, rule, channel, walk)
        walk.energise(channels)
        return True

    def _require(self, unit: Unit, energising: Rule | None, channel: str, walk: Walk) -> None:
        """Refuse to energise before what protects was set, since connecting or a reset."""
        if not self._strict:
            return
        for rule in self._firsts:
            setting, mark = rule.setting, (_key(rule), channel)
            if setting is None or (mark in walk.known and mark not in self.proofs):
                continue
            limit = self._limit(setting.quantity, channel)
            wanted = setting.first is True or (
                energising is not None and setting.first and energising.text in setting.first
            )
            if limit is None or not wanted or self._is_elsewhere(setting.when, channel, walk):
                continue
            if mark in walk.known:
                if mark not in walk.asks:  # what this very message sets cannot be asked before
                    walk.unproven[mark] = None
                continue
            what = f"would energise before {rule.header.plain!r} was set"
            if setting.when:
                chosen = " and ".join(map(repr, setting.when))
                what += f", which {chosen} needs while nothing else was chosen"
            raise self._refused(
                "L004", _shown(unit.text), f"{what} (limited is {_span(setting.quantity, limit)})",
                quantity=setting.quantity, limit=limit,
            )  # fmt: skip

    def _is_elsewhere(self, when: tuple[str, ...], channel: str, walk: Walk) -> bool:
        """Whether another choice than one of these was certainly made."""
        for text in when:
            mode = self._modes[text]
            value = walk.mode(mode.header.plain, channel)
            if value is not None and mode.parameter is not None and mode.parameter.excludes(value):
                return True
        return False

    def _set(
        self, unit: Unit, rule: Rule, channels: tuple[str, ...], given: list[str], walk: Walk
    ) -> None:
        setting = rule.setting
        if setting is None:
            return
        self._require_channel(unit, channels)
        values, odd = _numbers(given, rule)
        for channel in channels:
            limit = self._limit(setting.quantity, channel)
            if limit is not None and (odd or not values):
                what = f"{odd!r} is no certain value" if odd else "it has no value"
                raise self._refused(
                    "L002", _shown(unit.text), f"is not sent: {what} of {setting.quantity}",
                    quantity=setting.quantity, limit=limit,
                )  # fmt: skip
            low, high = self._bounds(rule, channel)
            held = list(map(abs, values)) if rule.kind == "clamp" else values
            if held and not (low <= min(held) and max(held) <= high):
                value = next(v for v, h in zip(values, held, strict=True) if not low <= h <= high)
                limit = limit or (low, high)
                raise self._beyond(_shown(unit.text), setting.quantity, value, limit)
            if values:
                walk.levels.append(
                    Level(rule.text, setting.quantity, channel, max(values, key=abs))
                )
                walk.mark(_key(rule), channel)
                if rule.kind == "clamp":
                    at = f" (@{channel})" if _has_list(unit) else ""
                    walk.asks[_key(rule), channel] = f"{walk.header}?{at}"

    def prove(self, mark: Mark, answer: str) -> None:
        """Take what the instrument said of a protection, asked by its question in ``proofs``.

        Raises:
            LimitError: it does not say that the protection is within its limit.
        """
        if self._holds(mark, answer):
            self.proofs.proved(mark)
            self._seen_now.clear()
            return
        name, quantity, _ = self._protections[mark[0]]
        question = self.proofs.question(mark)
        said = f"says {answer[:20]!r}" if answer else "does not say what became of it"
        raise self._refused(
            "L008", name, f"was not taken: the instrument, asked {question!r}, {said}",
            quantity=quantity, limit=self._limit(quantity, mark[1]),
        )  # fmt: skip

    def heard(self, question: str, answer: str, asked: Asked) -> None:
        """Take note of an answer that a driver got, which may confirm what it has set.

        Args:
            question: what was asked, and nothing else with it.
            answer: what came.
            asked: of ``proofs.pending`` when the question was sent.
        """
        for mark in self.proofs.told(question, answer, asked):
            if mark[0] in self._protections and self._holds(mark, answer):
                self.proofs.proved(mark)
        self._seen_now.clear()

    def _holds(self, mark: Mark, answer: str) -> bool:
        _, quantity, unit = self._protections[mark[0]]
        value = read_number(answer.strip(), unit)
        if value is None:
            return False
        limit = self._limit(quantity, mark[1])
        low, high = _ANY if limit is None else _magnitudes(limit)
        # Instruments round to their own resolution.
        return low * (1 - _ROUNDED) <= abs(value) <= high * (1 + _ROUNDED)

    # -- limits -----------------------------------------------------------------------------------

    def _limit(self, quantity: str, channel: str) -> Limit | None:
        """The limit of a channel: the tighter of its own and that of all."""
        every, own = self._limits.get(quantity), self._channels.get(channel, {}).get(quantity)
        if every is None or own is None:
            return every or own
        return max(every[0], own[0]), min(every[1], own[1])

    def _is_limited(self, quantity: str, channel: str) -> bool:
        return self._limit(quantity, channel) is not None

    def _bounds(self, rule: Rule, channel: str) -> Limit:
        """What a value of a rule must lie within; of a protection, its magnitude.

        A protection holds both ways: within -1..10 it must not let -10 pass.
        """
        limit = self._limit(rule.setting.quantity, channel) if rule.setting is not None else None
        if limit is None:
            return float("-inf"), float("inf")
        if rule.kind != "clamp":
            return limit
        return _magnitudes(limit)

    # -- refusals ---------------------------------------------------------------------------------

    def _refused(
        self,
        code: str,
        command: str,
        text: str,
        *,
        quantity: str = "",
        value: float | None = None,
        limit: Limit | None = None,
    ) -> LimitError:
        shown = command if len(command) <= _LONGEST_SHOWN else command[: _LONGEST_SHOWN - 3] + "..."
        return LimitError(
            f"{self._subject}: {shown!r} {text}; limits from {self._source or 'the model'}",
            resource=self._subject,
            command=command,
            quantity=quantity,
            value=value,
            limit=limit,
            source=self._source,
            code=code,
        )

    def _beyond(self, command: str, quantity: str, value: float, limit: Limit) -> LimitError:
        text = f"would set {value:g}, limited is {_span(quantity, limit)}"
        return self._refused("L001", command, text, quantity=quantity, value=value, limit=limit)

    def _unknown(self, unit: Unit, parameter: str) -> LimitError:
        if parameter:
            text = f"is not sent: the dialect does not list {parameter[:20]!r} for this command"
        else:
            plain = [rule.header.plain for rule in self._rules if not rule.built_in]
            close = nearest(unit.header[:64], plain)
            text = f"is not sent: the manifest's dialect does not list it{close}"
        return self._refused("L003", _shown(unit.text), text)


def _key(rule: Rule) -> str:
    return f"{rule.kind} {rule.text}"


def _magnitudes(limit: Limit) -> Limit:
    """What a protection may let pass, which it does both ways."""
    low, high = limit
    if low < 0 < high:
        return 0.0, min(-low, high)
    return (0.0, -low) if high <= 0 else (0.0, high)


def _shown(command: bytes | str) -> str:
    text = command.decode("latin-1") if isinstance(command, bytes) else command
    return text.strip()[:256]


def _span(quantity: str, limit: Limit) -> str:
    return f"{quantity} {limit[0]:g}..{limit[1]:g}"


def _split_channels(parameters: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """The parameters that are no channel list, and the channels of those that are."""
    given: list[str] = []
    channels: list[str] = []
    for text in parameters:
        listed = channels_of(text) if text.startswith("(@") else None
        if listed is None:
            given.append(text)
        else:
            channels += listed
    return given, tuple(channels)


_NUMBERED = re.compile(r"""["']?[A-Za-z_]*0*([1-9]\d{0,3})["']?""")


def _channel_in(given: list[str]) -> str:
    """The channel that a selection is for: the number it is, or that its name ends in."""
    match = _NUMBERED.fullmatch(given[0].strip()) if len(given) == 1 else None
    return match[1] if match is not None else ""


def _has_list(unit: Unit) -> bool:
    return any(text.startswith("(@") for text in unit.parameters)


def _unlisted(hits: Hits, given: list[str]) -> str | None:
    """The first parameter that no harmless rule lists, empty for the command; None if all are."""
    harmless = [rule.parameter for rule, _ in hits if rule.kind == "harmless"]
    if None in harmless:
        return None
    listed = [parameter for parameter in harmless if parameter is not None]
    for text in given:
        if not any(parameter.match(text) for parameter in listed):
            return text if hits else ""
    return None if listed and given else ""


def _numbers(given: list[str], rule: Rule) -> tuple[list[float], str]:
    """The values of a level, and the first parameter that is not certainly one."""
    setting = rule.setting
    if setting is None:
        return [], ""
    if len(given) > 1 and not setting.unit.exponent and _PLAIN_LIST.fullmatch(",".join(given)):
        try:
            return [float(text) for text in given], ""
        except ValueError:
            pass  # the slow path names the one that is odd
    values = []
    for text in given:
        value = setting.named.get(text.upper()[:3]) if _is_named(text) else None
        if value is None:
            value = read_number(text, setting.unit)
        if value is None:
            return [], text[:32] or "nothing"
        values.append(value)
    return values, ""


def _is_named(text: str) -> bool:
    return text.upper() in {"MIN", "MINIMUM", "MAX", "MAXIMUM", "DEF", "DEFAULT"}
