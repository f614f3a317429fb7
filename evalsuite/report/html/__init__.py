"""The report: one self-contained HTML page of tables, plots and mistakes."""
