"""Formulas as MathML, which browsers draw themselves: no script, no fonts, no LaTeX; docutils brings the converter."""

from __future__ import annotations

import html
import re
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

MATHML = "http://www.w3.org/1998/Math/MathML"
NUMERATOR_AND_DENOMINATOR = 2
ENTITY = re.compile(r"&\w+;")
FRACTION_OF_DIGITS = re.compile(r"\\[td]?frac\s*\d")


def _convert(node: nodes.Element, *, block: bool) -> str:
    formula = node.astext()
    try:
        converted = str(tex2mathml(formula, as_block=block))
    except MathError as error:
        logger.warning("formula %r: %s", formula, error, location=node)
        return f"<code>{html.escape(formula)}</code>"
    # The converter reads some formulas otherwise than LaTeX does, and says nothing.
    fractions = ElementTree.fromstring(ENTITY.sub("", converted)).iter(f"{{{MATHML}}}mfrac")
    if FRACTION_OF_DIGITS.search(formula) or any(len(each) != NUMERATOR_AND_DENOMINATOR for each in fractions):
        logger.warning("formula %r: a fraction is read wrongly; write it otherwise", formula, location=node)
    return converted


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_convert(node, block=False))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{_convert(node, block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
