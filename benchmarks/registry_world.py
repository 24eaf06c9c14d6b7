"""What fills the registry's tables for measurements of its lists; $1, $2: a source and how many, or how many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FILLS: Final[Mapping[str, str]] = {
    "assets": """
        insert into registry.assets (code_id, symbol, name, name_key, exchange,
            asset_class, quote_currency, country, matcher_symbol,
            root_symbol, full_symbol, match_key, identity_group)
        select $1, 'S' || lpad(i::text, 7, '0'), 'Company ' || md5(i::text), 'company ' || md5(i::text),
            (array['XNAS', 'XLON'])[1 + i % 2],
            (array['equity', 'etf', 'crypto', 'bond'])[1 + i % 4],
            'USD', 'US', 'S' || i, 's' || i, 's' || i, 'S' || i, 'securities'
        from generate_series(1, $2::integer) i
    """,
    "mappings": """
        with named as (
            insert into registry.common_symbols (symbol)
            select 'C' || lpad(i::text, 7, '0') from generate_series(1, $2::integer) i
            returning common_symbol_id, symbol
        )
        insert into registry.asset_mapping (asset_id, code_id, common_symbol_id, origin)
        select a.asset_id, a.code_id, n.common_symbol_id, 'AUTOMATIC'
        from registry.assets a
        join named n on n.symbol = 'C' || substr(a.symbol, 2)
        where a.code_id = $1
    """,
    "identities": """
        insert into registry.identities (
            identity_id, exchange, symbol, name, name_key, asset_class, identity_group, currency, country, match_key,
            aliases, manifest, manifest_version, valid_from, valid_to)
        select 'ID' || lpad(i::text, 10, '0'), (array['XNAS', 'XLON'])[1 + i % 2], 'S' || lpad(i::text, 7, '0'),
            'Company ' || md5(i::text), 'company ' || md5(i::text), 'equity', 'securities', 'USD', 'US',
            'S' || lpad(i::text, 7, '0'), case when i % 50 = 0 then array['OLD' || i] else '{}' end, 'bench', 1,
            '-infinity', 'infinity'
        from generate_series(1, $1::integer) i
    """,
    "proposals": """
        insert into registry.match_proposals (
            asset_id, state, cause, identity_id, method, confidence, best, operation_id)
        select a.asset_id, (array['OPEN', 'REJECTED'])[1 + (a.asset_id % 2)::integer], 'AMBIGUOUS', 'ID0000000001',
            'FUZZY_SYMBOL', (a.asset_id % 997) / 10.0,
            '{"identity_row": 1, "identity_id": "ID0000000001", "method": "FUZZY_SYMBOL", "confidence": 70,
               "reason": "", "score": null}',
            gen_random_uuid()
        from registry.assets a where a.code_id = $1 order by a.symbol limit $2
    """,
    "indices": """
        with made as (
            insert into registry.indices (name, type)
            select case when i = 0 then 'big' else 'index ' || i end, 'USER' from generate_series(0, 499) i
            returning index_id, name
        )
        insert into registry.index_memberships (index_id, common_symbol_id, weight, valid_from)
        select m.index_id, s.common_symbol_id, random(), '2020-01-01'
        from made m cross join lateral (
            select common_symbol_id from registry.common_symbols
            where m.name = 'big' or symbol > 'C' || lpad((m.index_id * 50)::text, 7, '0')
            order by symbol limit case when m.name = 'big' then $1::integer else 50 end
        ) s
    """,
    "subscriptions": """
        with made as (
            insert into registry.provider_subscription (code_id, provider, interval, selection_kind, selection_name,
                selection_names, selection_key, selector)
            select a.code_id, c.name, '1d', 'symbol', a.symbol, array[a.symbol], sha256(a.symbol::bytea),
                jsonb_build_object('symbol', a.symbol)
            from registry.assets a join registry.code_registry c using (code_id)
            where a.code_id = $1 order by a.symbol limit $2
            returning subscription_id, code_id, selection_name
        )
        insert into registry.subscription_symbols (subscription_id, symbol, asset_id)
        select m.subscription_id, m.selection_name, a.asset_id
        from made m join registry.assets a on a.code_id = m.code_id and a.symbol = m.selection_name
    """,
    "selection": """
        with made as (
            insert into registry.provider_subscription (code_id, provider, interval, selection_kind, selection_name,
                selection_names, selection_key, selector)
            select code_id, name, '1d', 'assets', 'assets', '{}', sha256('assets'), '{"assets": {}}'
            from registry.code_registry where code_id = $1
            returning subscription_id
        )
        insert into registry.subscription_symbols (subscription_id, symbol, asset_id)
        select m.subscription_id, a.symbol, a.asset_id
        from made m, registry.assets a where a.code_id = $1 order by a.symbol limit $2
    """,
    "code": """
        with made as (
            insert into registry.code_registry (kind, name, latest_version)
            select 'strategy', 'strategy' || i, 1 from generate_series(1, $1::integer) i returning code_id, name
        )
        insert into registry.code_versions (code_id, version, sha256, file_name, manifest)
        select code_id, 1, sha256(name::bytea), name || '.py', '{"intervals": ["1d"]}' from made
    """,
}
