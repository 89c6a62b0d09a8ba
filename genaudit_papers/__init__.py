"""The five papers that genaudit's methods come from: one folder per paper, named by its citation key.

A paper's folder holds its published numbers (`published.json` and one CSV per table in `published/`) and the recipes
that recompute its tables; what several papers share stands here. `genaudit reproduce` and `genaudit list tables` find
this package where it is installed, which it is with genaudit: clone, editable install and wheel have both.
"""
