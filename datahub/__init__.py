"""The DataHub is about market data: plug-ins, schedules, collection, coverage, storage, live streams."""
