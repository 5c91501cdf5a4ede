"""Reports: one HTML file that shows what was done, opens from disk, and asks nothing of any host.

`page.py` puts sections of parts together; `parts.py`, `charts.py`, `pictures.py` and
`footprints.py` make the parts, each with its template. Start reading at `page.py`.
"""
