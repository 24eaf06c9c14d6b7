"""What may be traded: limits, trading states, and the judgement of an order. Pure: no clock, no database."""
