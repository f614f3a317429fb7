"""Sections of the page that are there only where there are numbers for them: one module and one template each."""

from __future__ import annotations

from evalsuite.report.html.sections import bias, calibration, few_shot, shift
from evalsuite.report.html.sections.base import Section

SECTIONS: tuple[Section, ...] = (few_shot.SECTION, calibration.SECTION, shift.SECTION, bias.SECTION)
"""In the order of the page."""
