"""Comparisons that can be believed: every row trained on equal terms, and tables, intervals and figures of them.

=============  ================================================================================
``rows``       what is compared: a method, and what it is given
``settings``   the terms on which it is compared, the same for all
``grid``       the training runs of a comparison: which there are, run once, gone on with
``bootstrap``  what scores over images and seeds say: means, spreads, intervals
``cost``       what a row costs: trained parameters, time and memory of a step, time of a prediction
``tables``     the table as JSON, CSV, Markdown and text, and its figures
=============  ================================================================================
"""

from mtlora_lite.study.grid import compare
from mtlora_lite.study.settings import CompareConfig
from mtlora_lite.study.tables import format_table

__all__ = ["CompareConfig", "compare", "format_table"]
