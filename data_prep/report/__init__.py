"""The preparation report: what came in, what was dropped, what the rest is like, as parquet, json, text and a page."""

from data_prep.report.write import Throughput, write_report

__all__ = ["Throughput", "write_report"]
