"""Reports: what a run found, as report.json, metrics.csv, images.csv, report.html and a console table.

`report` holds the containers that a task fills, `values` reads any metric's result by its metadata, `files` writes
the four files, `html`, `plots`, `gallery` and `console` draw, `comparison` sets finished runs side by side. Nothing
here imports torch; matplotlib, jinja2, rich, yaml and jsonschema are imported where they are used.
"""
