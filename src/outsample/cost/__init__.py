"""What an estimate costs: seconds always, and FLOPs from a meter that prices all of PyTorch.

The price list is one table, :func:`price_list`.  Views, copies, allocation and indexing are free;
an operation that is not in the table is listed as unpriced, never counted as zero.
"""

from outsample.cost.meter import Cost, FlopMeter, count_flops, report_flops
from outsample.cost.prices import PriceRow, price_list

__all__ = ["Cost", "FlopMeter", "PriceRow", "count_flops", "price_list", "report_flops"]
