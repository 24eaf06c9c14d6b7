"""The client side of the contract: what services, the console, the command line and scripts call Quasar through.

`channel.Channel` carries the token, deadlines, retries and TLS, and turns failed calls into the classes of
`quasar.errors`. `typed` gives the same calls with dataclass messages.
"""
