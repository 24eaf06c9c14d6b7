"""What a provider raises when the vendor does not deliver; the platform acts on which it was."""

from __future__ import annotations

from quasar import errors


class Throttled(errors.VendorFailed):
    """The vendor asked to wait; `retry_after_s` says how long."""


class Unauthorised(errors.VendorFailed):
    """The vendor refused the credentials; check the stored secrets."""


class UnknownSymbol(errors.NotFound):
    """The vendor does not know the symbol; it is not asked for again until symbols are discovered anew."""


class Unsupported(errors.InvalidArgument):
    """The vendor does not serve the interval or the range; it is not asked for again."""
