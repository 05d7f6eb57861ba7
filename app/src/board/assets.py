"""Names of the files in static/, written by hash_static.py."""

NAMES = {
    "board_js": "board-6a82b29b1fe8.js",
    "icon_svg": "icon-07f94788fb44.svg",
    "style_css": "style-0c37e59b6ced.css",
}
