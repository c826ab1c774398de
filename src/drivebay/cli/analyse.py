"""``drivebay analyse``: what a run says of the device, and how well that is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from drivebay.cli.output import emit, heading, json_option, table
from drivebay.cli.runs import check_picture

if TYPE_CHECKING:
    from drivebay import Run

_AREAS: Final = {"m2": 1.0, "cm2": 1e-4, "mm2": 1e-6, "um2": 1e-12}
_DEVICES: Final = ("diode", "resistor", "junction", "mos")
# Columns a fit needs: by them the fits are chosen that can be tried.
_NEEDS: Final[Mapping[str, tuple[str, str]]] = {
    "diode": ("voltage_v", "current_a"),
    "resistor": ("voltage_v", "current_a"),
    "junction": ("voltage_v", "capacitance_f"),
    "mos": ("voltage_v", "capacitance_f"),
}
_NAMES: Final = {
    "diode": "diode",
    "resistor": "resistor",
    "junction": "junction capacitance",
    "mos": "MOS capacitor",
}


@dataclass(frozen=True, slots=True)
class _Given:
    """What the user knows of the device and the run does not."""

    area_m2: float | None
    area_u_m2: float
    temperature_k: float
    leads_ohm: float
    grading: float | None
    substrate: Any


class _Area(click.ParamType):  # type: ignore[type-arg]
    """An area with its unit, as ``0.25mm2``."""

    name = "area"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return square metres."""
        match = re.fullmatch(r"([0-9.eE+-]+) ?(m2|cm2|mm2|um2)", str(value).strip())
        try:
            area_m2 = float(match[1]) * _AREAS[match[2]] if match else 0.0
        except ValueError:
            area_m2 = 0.0
        if not area_m2 > 0:
            units = ", ".join(_AREAS)
            self.fail(f"{value!r} is no area; write a number and one of {units}", param, ctx)
        return area_m2


@click.command()
@click.argument("names", metavar="[RUN]", nargs=-1)
@click.option("--as", "device", type=click.Choice(_DEVICES), help="By default what the data fits.")
@click.option("--area", type=_Area(), help="Of the junction or gate, as 0.25mm2; C-V needs it.")
@click.option("--area-uncertainty", type=_Area(), help="Its standard uncertainty.")
@click.option(
    "--temperature-k",
    type=click.FloatRange(0, min_open=True),
    default=300.0,
    show_default=True,
    help="Of the device.",
)
@click.option("--leads-ohm", type=float, default=0.0, help="Taken off a two-wire resistance.")
@click.option(
    "--grading", type=float, help="Of a junction, 0.5 for an abrupt one; by default it is fitted."
)
@click.option("--substrate", type=click.Choice(["p", "n"]), help="Of a MOS capacitor.")
@click.option("--profile", is_flag=True, help="List the doping over depth of a junction.")
@click.option(
    "--plot", "picture", metavar="FILE", callback=check_picture, help="Draw points and fit."
)
@json_option
def analyse(
    names: tuple[str, ...],
    device: str | None,
    area: float | None,
    area_uncertainty: float | None,
    temperature_k: float,
    leads_ohm: float,
    grading: float | None,
    substrate: str | None,
    profile: bool,
    picture: str | None,
    as_json: bool,
) -> None:
    """Fit a device to a run, and say how well each number is known (needs the extra [analysis]).

    RUN is an id, the beginning of an id, `last`, `last-1` and so on, or the path of a run's file.

    An I-V sweep is tried as a diode, then as a resistor; a C-V measurement as a junction, then as a
    MOS capacitor. What the data is not is refused with the reason. Uncertainties are one sigma.
    """
    from drivebay import PluginManager, RunStore

    run = RunStore(PluginManager(plugin_dirs=[]).home / "runs").open(_one(names))
    given = _Given(area, area_uncertainty or 0.0, temperature_k, leads_ohm, grading, substrate)
    try:
        kind, fit, refused = _fit(run, device, given)
        over_depth = _profile(run, given) if profile else None
    except ModuleNotFoundError as exc:
        raise click.ClickException(
            f"fits need {exc.name}, which is not installed: pip install 'drivebay[analysis]'"
        ) from exc
    if picture is not None:
        _draw(run, fit, picture)
    if as_json:
        found = {"run": run.id, "device": kind, "fit": asdict(fit), "refused": refused}
        if over_depth is not None:
            found["profile"] = _listed(over_depth)
        emit(found | ({"files": [picture]} if picture else {}))
        return
    _show(run, kind, fit, refused)
    if over_depth is not None:
        click.echo("\n" + _profile_table(over_depth))
    if picture is not None:
        click.echo(f"wrote {picture}")


def _one(names: tuple[str, ...]) -> str:
    """The run that was named, the last one by default.

    Raises:
        click.UsageError: there are several, or a device was written where the run goes.
    """
    for at, name in enumerate(names):
        if name in _DEVICES:
            runs = " ".join((*names[:at], *names[at + 1 :])) or "last"
            text = f"{name!r} is a device, not a run; try: drivebay analyse {runs} --as {name}"
            raise click.UsageError(text)
    if len(names) > 1:
        raise click.UsageError(f"name one run, not {len(names)}: {', '.join(names)}")
    return names[0] if names else "last"


def _fit(run: Run, device: str | None, given: _Given) -> tuple[str, Any, dict[str, str]]:
    """Return the device, its fit, and why others were refused.

    Raises:
        click.ClickException: the run has not the columns, or every fit refused it.
    """
    columns = set(run.columns)
    kinds = [device] if device else [kind for kind in _DEVICES if set(_NEEDS[kind]) <= columns]
    if not kinds or not set(_NEEDS[kinds[0]]) <= columns:
        needed = " and ".join(_NEEDS[kinds[0]]) if kinds else "voltage_v, current_a, capacitance_f"
        raise click.ClickException(
            f"run {run.id} ({run.method}) has no {needed} to fit (columns: {', '.join(run)})"
        )
    if _NEEDS[kinds[0]][1] == "capacitance_f" and given.area_m2 is None:
        raise click.UsageError("a doping needs the area of the device: --area 0.25mm2")
    refused: dict[str, str] = {}
    for kind in kinds:
        try:
            return kind, _FITS[kind](run, given), refused
        except ValueError as exc:
            refused[kind] = str(exc)
    reasons = "\n".join(f"  as a {_NAMES[kind]}: {why}" for kind, why in refused.items())
    raise click.ClickException(f"run {run.id} cannot be analysed:\n{reasons}\n{_hint(run, device)}")


def _hint(run: Run, device: str | None) -> str:
    """What to try when the data is not what it was taken for."""
    others = [kind for kind in _DEVICES if set(_NEEDS[kind]) <= set(run) and kind != device]
    if device and others:
        return f"  try: {' or '.join(f'--as {kind}' for kind in others)}"
    return f"  look at it: drivebay runs plot {run.id} --ascii"


def _as_diode(run: Run, given: _Given) -> Any:
    from drivebay.analysis import fit_diode

    columns = run.columns
    limited = columns.get("in_compliance")
    return fit_diode(columns["voltage_v"], columns["current_a"], given.temperature_k, limited)


def _as_resistor(run: Run, given: _Given) -> Any:
    from drivebay.analysis import fit_resistance

    columns = run.columns
    four = run.parameters.get("four_wire") is True
    return fit_resistance(
        columns["voltage_v"],
        columns["current_a"],
        columns.get("in_compliance"),
        sourced="current" if run.method == "vi_sweep" else "voltage",
        wires=4 if four else 2,
        leads_ohm=given.leads_ohm,
    )


def _as_junction(run: Run, given: _Given) -> Any:
    from drivebay.analysis import fit_junction

    return fit_junction(
        run["voltage_v"],
        run["capacitance_f"],
        given.area_m2 or 0.0,
        grading=given.grading,
        temperature_k=given.temperature_k,
        area_u_m2=given.area_u_m2,
    )


def _as_mos(run: Run, given: _Given) -> Any:
    from drivebay.analysis import fit_mos_capacitor

    return fit_mos_capacitor(
        run["voltage_v"],
        run["capacitance_f"],
        given.area_m2 or 0.0,
        substrate=given.substrate,
        quasi_static=run.parameters.get("technique") == "quasi_static",
        temperature_k=given.temperature_k,
        area_u_m2=given.area_u_m2,
    )


_FITS: Final[Mapping[str, Callable[[Run, _Given], Any]]] = {
    "diode": _as_diode,
    "resistor": _as_resistor,
    "junction": _as_junction,
    "mos": _as_mos,
}


def _profile(run: Run, given: _Given) -> Any:
    from drivebay.analysis import doping_profile

    if "capacitance_f" not in run or given.area_m2 is None:
        raise click.UsageError("--profile needs a C-V measurement and --area")
    try:
        return doping_profile(
            run["voltage_v"],
            run["capacitance_f"],
            given.area_m2,
            temperature_k=given.temperature_k,
            area_u_m2=given.area_u_m2,
        )
    except ValueError as exc:
        raise click.ClickException(f"run {run.id} has no profile: {exc}") from exc


def _listed(profile: Any) -> dict[str, Any]:
    return {
        name: value.tolist() if hasattr(value, "tolist") else value
        for name, value in asdict(profile).items()
    }


def _draw(run: Run, fit: Any, picture: str) -> None:
    curve = getattr(fit, "current_a", None) or fit.capacitance_f
    # A voltage drawn against the current that was sourced is the other way round than the fit.
    options = {} if run.method == "vi_sweep" else {"fit": curve}
    run.plot(picture, **options)


def _show(run: Run, kind: str, fit: Any, refused: Mapping[str, str]) -> None:
    from drivebay.analysis import parameters_of
    from drivebay.plotting import engineering, with_uncertainty

    click.echo(heading(f"{run.id}  {run.method}  {_NAMES[kind]}"))
    for parameter in parameters_of(fit):
        if parameter.name in _MEANT:
            continue
        label = parameter.name.replace("_", " ")
        if parameter.uncertainty is None:
            said = engineering(parameter.value, parameter.unit)
        elif parameter.unit == "1/m3":  # everybody says dopings per cubic centimetre
            said = with_uncertainty(parameter.value / 1e6, parameter.uncertainty / 1e6, "1/cm3")
        else:
            said = with_uncertainty(parameter.value, parameter.uncertainty, parameter.unit)
        click.echo(f"  {label:<22}{said}")
    click.echo(f"  {_quality(fit)}")
    for other, why in refused.items():
        click.echo(f"  (as a {_NAMES[other]}: {why})")


# Said in the last line, or given by whoever reads it.
_MEANT: Final = frozenset(
    {"residual", "temperature", "area", "stray", "leads", "nonlinearity", "nonlinearity_p",
     "relative_permittivity", "oxide_permittivity"}
)  # fmt: skip


def _quality(fit: Any) -> str:
    facts = [f"{fit.points_used} points", f"residual {100 * fit.residual:.2g} %"]
    if hasattr(fit, "temperature_k"):
        facts.append(f"at {fit.temperature_k:g} K")
    if hasattr(fit, "linear"):
        facts.append(f"{fit.wires} wires")
        bend = f"{100 * fit.nonlinearity:.2g} % of its height, p = {fit.nonlinearity_p:.2g}"
        facts.append(f"straight ({bend})" if fit.linear else f"NOT STRAIGHT: bent by {bend}")
    if hasattr(fit, "substrate"):
        facts.append(f"{fit.substrate}-type substrate")
    return ", ".join(facts)


def _profile_table(profile: Any) -> str:
    rows = [
        (f"{depth * 1e9:.1f}", f"{doping / 1e6:.4g}", f"{doping_u / 1e6:.2g}")
        for depth, doping, doping_u in zip(
            profile.depth_m, profile.doping_per_m3, profile.doping_u_per_m3, strict=True
        )
    ]
    heads = ["depth (nm)", "doping (1/cm3)", "uncertainty"]
    return table(heads, rows, right="rrr")
