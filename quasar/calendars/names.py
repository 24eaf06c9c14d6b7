"""Names of markets: which calendar an exchange, a vendor's code or a MIC follows."""

from __future__ import annotations

ALWAYS = "24/7"
"""The calendar of markets that never close, and of markets that nobody knows."""

FOREX = "XFX"
"""The calendar of spot currencies."""

_EXCHANGE_NAMES = """
    24/5 AIXK ASEX BVMF CMES IEPA XAMS XASX XBDA XBEL XBKK XBOG XBOM XBRA XBRU XBSE XBUD XBUE XCBF XCSE XCYS XDUB
    XDUS XEEE XETR XEUR XFRA XHAM XHEL XHKG XICE XIDX XIST XJSE XKAR XKLS XKRX XLIM XLIS XLIT XLJU XLON XLUX XMAD
    XMEX XMIL XMOS XNYS XNZE XOSL XPAR XPHS XPRA XRIS XSAU XSES XSGO XSHG XSTO XSTU XSWX XTAE XTAI XTAL XTKS XTSE
    XWAR XWBO XZAG us_futures
"""

EXCHANGES = frozenset(_EXCHANGE_NAMES.split())
"""The calendars of exchange_calendars. Listed here so that a name can be looked up without loading it."""

_GROUPS = {
    "XNYS": "NYSE NASDAQ XNAS XNGS XNMS XNCM ARCX ARCA NYSEARCA XASE AMEX NYSEMKT NYSEAMERICAN BATS BATY EDGA EDGX "
    "IEXG MEMX EPRL XBOS XPSX XCIS XCHI OOTC OTC OTCM OTCMKTS OTCQX OTCQB XOTC PINX PINK GREY US USA",
    "XTSE": "XTSX TSX TSXV XATS NEOE",
    "XETR": "XETRA XETA XETB",
    "XFRA": "FWB FRANKFURT",
    "XLON": "LSE XLOM AIM",
    "XPAR": "ALXP EURONEXTPARIS",
    "XMIL": "MTAA",
    "XSWX": "SIX XVTX",
    "XTKS": "JPX TYO",
    "XASX": "ASX",
    "XHKG": "HKEX SEHK",
    "XOSL": "OSE",
    "XBOM": "BSE XNSE NSE",
    "XSHG": "SSE XSHE SZSE",
    "XTAE": "TASE",
    "XBSE": "BVB",
    "XLUX": "LUXSE",
    "XIDX": "JKT",
    "XSES": "SGX",
    "XKRX": "KRX XKOS",
    "XTAI": "TWSE",
    "XJSE": "JSE",
    "XMEX": "BMV",
    "BVMF": "BMF B3",
    "CMES": "CME CBOT COMEX NYMEX XCME XCBT XCEC XNYM GLBX",
    "IEPA": "ICE ICEUS NYFE IFUS",
    "XCBF": "CFE",
    FOREX: "FOREX FX IDEALPRO FXCM OANDA",
    ALWAYS: "CRYPTO CC KRAKEN XKRK BINANCE COINBASE BITSTAMP BITFINEX GEMINI OKX BYBIT KUCOIN ALWAYS",
}
_ALIASES = {alias: name for name, aliases in _GROUPS.items() for alias in aliases.split()}
_EXACT = {name.upper(): name for name in EXCHANGES | {FOREX, ALWAYS}}


def calendar_name(exchange: str | None) -> str | None:
    """Return the calendar that a market follows, or None when the market is unknown.

    Case and the spaces, hyphens and underscores between words do not matter: `NYSE ARCA` is `XNYS`.

    Args:
        exchange: A MIC, an exchange's name or a vendor's code; None and blank are unknown.
    """
    text = (exchange or "").strip().upper()
    if text in _EXACT:
        return _EXACT[text]
    return _ALIASES.get(text.replace(" ", "").replace("-", "").replace("_", ""))
