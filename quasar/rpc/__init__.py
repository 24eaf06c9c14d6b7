"""The service kit: one way to build a gRPC server, with every cross-cutting rule in one place.

`server.RpcServer` serves generated servicers; `calls.Calls` is what each call passes through; `errors` is the only
table from exceptions to statuses. A servicer translates messages and raises classes of `quasar.errors`; it knows
nothing of statuses.
"""
