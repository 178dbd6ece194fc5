"""The figure of a list of suspects: how reliable its probabilities are."""

import numpy as np

from herbray.flow.evaluation.known_names import KnownNames
from herbray.report.figures.reliability import Curve, draw_reliability
from herbray.tasks.suspects import SuspectList
from herbray.tasks.wrong_names.reliability import Reliability, measure_reliability

_FEWEST = 50  # known names with which a curve is drawn


def draw_figure(found: SuspectList, known: KnownNames) -> bytes:
    """Draw the curves as PNG.

    On the left, the most probable name of each sheet against its filed name. On the right, if enough names are known to
    be wrong or right, by verdicts or true names, the probability that a name is wrong against whether it is.

    Args:
        found: the list.
        known: names of the whole list.
    """
    at = known.places - 1
    asked = np.isfinite(found.uncalibrated[at])
    panels = [("Most probable name", "share filed under it", _curves(found.before, found.after))]
    if asked.sum() >= _FEWEST:
        doubts = (1.0 - found.uncalibrated[at], found.table["wrong_probability"].to_numpy()[at])
        curves = _curves(*(measure_reliability(each[asked], known.wrong[asked]) for each in doubts))
        panels.append(("Name is wrong", "share known to be wrong", curves))
    return draw_reliability(panels)


def _curves(before: Reliability, after: Reliability) -> tuple[Curve, Curve]:
    return (_curve("as the probe gives it", before), _curve("calibrated", after))


def _curve(label: str, one: Reliability) -> Curve:
    return Curve(f"{label}, error {one.error:.3f}", one.said.tolist(), one.found.tolist())
