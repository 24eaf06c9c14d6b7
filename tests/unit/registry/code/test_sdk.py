from __future__ import annotations

import pytest

from quasar.errors import FailedPrecondition
from registry.code.refs import CodeKind, CodeRef
from registry.code.sdk import require_served

REF = CodeRef(CodeKind.PROVIDER, "alpha")


@pytest.mark.parametrize("sdk", ["", "0.9.9", "1.2", "1.2.99", "unknown"])
def test_code_for_this_or_an_earlier_sdk_is_served(sdk: str) -> None:
    require_served(REF, 1, sdk, "1.2.0")


@pytest.mark.parametrize("sdk", ["1.3.0", "2", "10.0.0"])
def test_code_for_a_later_sdk_is_refused_with_both_versions(sdk: str) -> None:
    with pytest.raises(FailedPrecondition, match=rf"SDK {sdk}.* SDK 1\.2\.0"):
        require_served(REF, 1, sdk, "1.2.0")
