"""The operators' console. It talks to the services only, through `quasar.client`, with typed messages."""
