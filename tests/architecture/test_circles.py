"""No module needs, by way of others, itself."""

from __future__ import annotations

import grimp


def test_no_imports_go_in_a_circle() -> None:
    graph = grimp.build_graph("etude", exclude_type_checking_imports=True, cache_dir=None)
    needs = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while free := [module for module, needed in needs.items() if not needed & needs.keys()]:
        for module in free:
            del needs[module]
    while ends := needs.keys() - {each for needed in needs.values() for each in needed}:
        for module in ends:
            del needs[module]
    assert not needs, {module: sorted(needed & needs.keys()) for module, needed in needs.items()}
