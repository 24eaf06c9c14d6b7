"""The main job, from an empty home to a denied order, on recorded data and through public surfaces only.

    make main-job            (QUASAR_TEST_DATA names the recordings)

Vendors are played by local servers: Kraken's protocol over the simulated market, EODHD over its recorded answers, files
from recorded candles. Everything is asserted on what comes out of the services' calls and the gateway.
"""
