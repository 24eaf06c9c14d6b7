-- Which kinds of ticks subscriptions want of a live feed: trades, quotes as the venue publishes them, the top of the order book.

alter table registry.provider_subscription
    add column tick_kinds text[] not null default '{}' check (tick_kinds <@ array['TRADE', 'QUOTE', 'BOOK_TOP']);
comment on column registry.provider_subscription.tick_kinds is 'Kinds of ticks wanted of the live feed; empty: trades';

alter table datahub.subscribed_series
    add column tick_kinds text[] not null default '{}';
comment on column datahub.subscribed_series.tick_kinds is 'Kinds of ticks that the active live subscriptions want, together; empty: none is live';
