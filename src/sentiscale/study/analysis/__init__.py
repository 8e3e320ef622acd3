"""What the runs of a study mean: speedups, fitted laws, a recommendation, findings, caveats.

No torch and no pages here: `report` lays a study out, `study.bench` measures one.
"""
