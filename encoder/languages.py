"""Tags of languages: whatever a file says, the shortest tag of BCP 47 (RFC 5646, 2.2.1) for it."""

from __future__ import annotations

import re

# BCP 47, as far as languages, scripts and regions go.
TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(-[A-Za-z0-9]{5,8})*")
UNKNOWN = "und"
# ISO 639-2, terminological and bibliographic codes, to ISO 639-1.
_CODES = """
afr:af sqi:sq alb:sq amh:am ara:ar hye:hy arm:hy aze:az eus:eu baq:eu bel:be ben:bn bos:bs bul:bg mya:my bur:my
cat:ca zho:zh chi:zh hrv:hr ces:cs cze:cs dan:da nld:nl dut:nl eng:en epo:eo est:et fin:fi fra:fr fre:fr
glg:gl kat:ka geo:ka deu:de ger:de ell:el gre:el guj:gu hau:ha heb:he hin:hi hun:hu isl:is ice:is ind:id
gle:ga ita:it jpn:ja jav:jv kan:kn kaz:kk khm:km kin:rw kor:ko kur:ku kir:ky lao:lo lat:la lav:lv lit:lt
ltz:lb mkd:mk mac:mk msa:ms may:ms mal:ml mlt:mt mri:mi mao:mi mar:mr mon:mn nep:ne nor:no nob:nb nno:nn
pan:pa fas:fa per:fa pol:pl por:pt pus:ps ron:ro rum:ro rus:ru srp:sr slk:sk slo:sk slv:sl som:so spa:es
swa:sw swe:sv tgl:tl tgk:tg tam:ta tel:te tha:th tur:tr tuk:tk ukr:uk urd:ur uzb:uz vie:vi cym:cy wel:cy
xho:xh yor:yo zul:zu
"""
_SHORT = {code[:3]: code[4:] for code in _CODES.split()}


def shortened(tag: str) -> str | None:
    """Return the tag with its shortest language and usual capitals (`FRA-ca` is `fr-CA`); None if it is no tag."""
    if not TAG.fullmatch(tag):
        return None
    language, *rest = tag.split("-")
    language = language.lower()
    return "-".join([_SHORT.get(language, language), *map(_subtag, rest)])


def _subtag(part: str) -> str:
    """Capitals as RFC 5646, 2.1.1 recommends them: scripts `Latn`, regions `CA`."""
    return {4: part.title(), 2: part.upper()}.get(len(part), part.lower())
