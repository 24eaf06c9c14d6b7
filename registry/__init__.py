"""The Registry is about what exists: code, assets, identities, mappings, indices, subscriptions."""
