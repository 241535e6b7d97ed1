from __future__ import annotations

from kvmtop.model.scope import ALL, Scope

from ..support.fake import Host

SCOPES = [ALL, Scope(100), Scope(200), Scope(100, 101), Scope(100, 102), Scope(200, 201)]


def test_scopes(host: Host) -> None:
    snapshot = host.read()
    assert ALL.mask(snapshot) is None
    masks = [scope.mask(snapshot) for scope in SCOPES[1:]]
    assert [mask.tolist() for mask in masks if mask is not None] == [
        [True, True, False],
        [False, False, True],
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]
    for nobody in (Scope(7), Scope(100, 7)):
        mask = nobody.mask(snapshot)
        assert mask is not None
        assert not mask.any()
