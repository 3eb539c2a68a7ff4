"""QR codes for device labels (ISO/IEC 18004), as SVG that stands in a page by itself. Pure."""

from urllib.parse import urlencode

import segno

_QUIET_ZONE_MODULES = 4


def claim_url(*, base_url: str, tenant: str, device_key: str, code: str) -> str:
    """Return where a scanned label leads. The code is worth nothing to who is no member with the right to change devices."""
    return f"{base_url}/t/{tenant}/claim?{urlencode({'device': device_key, 'code': code})}"


def qr_svg(text: str) -> str:
    """Return an SVG element, dark on white whatever is around it; it scales with its box."""
    return segno.make(text, error="m", micro=False).svg_inline(
        border=_QUIET_ZONE_MODULES, dark="#000", light="#fff", omitsize=True, svgclass="qr", lineclass=None
    )
