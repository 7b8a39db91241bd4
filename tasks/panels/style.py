"""The report's look: one style sheet for the page and for Flyte Decks, light and dark, on screen and on paper.

Hues follow Okabe and Ito's, so that neighbours in a chart can be told apart with any colour vision.
`c` classes fill, `s` stroke, `t` write, `b` paint a background, `i` write on top of a fill.
"""

LIGHT = {
    "paper": "#ffffff", "ink": "#1c2126", "soft": "#59636e", "hair": "#dfe3e8", "grid": "#eceff2", "tint": "#f5f7f9", "link": "#1f5fae",
    "good": "#14764f", "bad": "#b3261e",
    "c0": "#2b68b1", "c1": "#d67a0a", "c2": "#27a080", "c3": "#93306f", "c4": "#8fbce6", "c5": "#7a6114", "c6": "#f0c9a0",
    "crest": "#9aa4ae",
    "t1": "#a85a00", "t2": "#16795f", "t4": "#3f76a8", "t6": "#96642f",
}  # fmt: skip
DARK = {
    "paper": "#14181c", "ink": "#e6eaee", "soft": "#a3adb7", "hair": "#333b43", "grid": "#262d34", "tint": "#1b2127", "link": "#8ab8f0",
    "good": "#5fcf9f", "bad": "#ff8f84",
    "c0": "#6aa5ea", "c1": "#f2a03d", "c2": "#5fd3b4", "c3": "#cf74ad", "c4": "#2f5478", "c5": "#ece29a", "c6": "#8a5a2a",
    "crest": "#7b8691",
    "t1": "#f2a03d", "t2": "#5fd3b4", "t4": "#7fadd9", "t6": "#cf9a63",
}  # fmt: skip
PALE = ("4", "6")  # as fills, with text on them; lines of their colour have that of what is written beside them
ON_FILL = {
    "0": ("#fff", "#10151a"), "1": ("#1c1206", "#1c1206"), "2": ("#06140f", "#06140f"), "3": ("#fff", "#1a0a14"),
    "4": ("#0e2236", "#fff"), "5": ("#fff", "#191402"), "6": ("#3a2104", "#fff"), "rest": ("#14181c", "#10151a"),
}  # fmt: skip


def variables(theme: dict[str, str], index: int) -> str:
    """Write a theme as CSS variables."""
    pairs = [f"--{name}:{value}" for name, value in theme.items()] + [f"--i{key}:{pair[index]}" for key, pair in ON_FILL.items()]
    return ";".join(pairs)


def colour_rules() -> str:
    """Write the rules of the colour classes."""
    rules = []
    for key in ON_FILL:
        written = f"--t{key}" if f"t{key}" in LIGHT else f"--c{key}"
        drawn = written if key in PALE else f"--c{key}"
        rules.append(
            f".reynard .c{key}{{fill:var(--c{key})}}.reynard .s{key}{{stroke:var({drawn})}}.reynard .t{key}{{fill:var({written})}}"
        )
        rules.append(f".reynard .b{key}{{background:var(--c{key})}}.reynard .i{key}{{fill:var(--i{key})}}")
    heat = (8, 16, 26, 37, 50)
    rules += [
        f".reynard .h{level}{{background:color-mix(in srgb,var(--c1) {percent}%,var(--paper))}}" for level, percent in enumerate(heat)
    ]
    return "\n".join(rules)


RULES = """
.reynard{color:var(--ink);background:var(--paper);color-scheme:light dark;line-height:1.5;font-size:15px;
 font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Liberation Sans","DejaVu Sans",sans-serif}
.reynard *{box-sizing:border-box}.reynard a{color:var(--link)}
.reynard .panel{margin:0 0 56px;min-width:0}
.reynard h2{font-size:22px;line-height:1.25;font-weight:650;margin:0 0 6px;letter-spacing:-.01em}
.reynard .lead{font-size:16px;color:var(--ink);margin:0 0 22px;max-width:72ch}
.reynard figure{margin:0 0 30px;min-width:0}
.reynard figcaption,.reynard h3,.reynard .caption{font-weight:600;font-size:14px;line-height:1.4;margin:0 0 8px}.reynard .caption{margin:0}
.reynard .caption+.note{margin:0 0 8px}.reynard ul{font-size:13px;columns:2 260px;margin:8px 0;padding-left:18px}
.reynard .note{font-size:13px;color:var(--soft);margin:6px 0 0;max-width:85ch}
.reynard .chart{display:block;width:100%;height:auto;max-width:900px;font-size:12px;font-variant-numeric:tabular-nums;overflow:visible}
.reynard text{fill:var(--ink)}
.reynard .chart .tick{fill:var(--soft);font-size:11px}.reynard .chart .muted{fill:var(--soft)}
.reynard .chart .small{font-size:11px}.reynard .chart .inside{font-size:11px}
.reynard .chart .end{font-weight:600}
.reynard .grid{stroke:var(--grid);stroke-width:1}.reynard .hair{stroke:var(--hair);stroke-width:.75}
.reynard .axis{stroke:var(--soft);stroke-width:1}
.reynard .boundary{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}
.reynard .curve{fill:none;stroke-width:1.6;stroke-linejoin:round}.reynard .curve.dot{stroke-width:3}
.reynard .band{opacity:.2}.reynard .faded{fill:var(--c0);opacity:.28}.reynard .edge{stroke:var(--paper);stroke-width:1}
.reynard .strip{fill:transparent}.reynard .strip:hover{fill:var(--ink);fill-opacity:.07}
.reynard .error{stroke-width:2;opacity:.55}.reynard .chance{fill:var(--soft);opacity:.65}
.reynard .reported{fill:var(--paper);stroke-width:1.8}
.reynard .multiples{display:grid;grid-template-columns:repeat(auto-fill,minmax(226px,1fr));gap:6px 22px;margin:0 0 30px}
.reynard .multiples figure{margin:0 0 12px}.reynard .multiples figcaption{font-size:13px;overflow-wrap:anywhere}
.reynard .legend{display:flex;flex-wrap:wrap;gap:3px 16px;font-size:13px;margin:0 0 8px}
.reynard .legend span{display:inline-flex;align-items:center;gap:6px}.reynard .legend i{width:11px;height:11px;border-radius:2px;flex:none}
.reynard .scroll{overflow-x:auto;max-width:100%}
.reynard table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;line-height:1.4}
.reynard th,.reynard td{padding:5px 14px 5px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--hair)}
.reynard th{font-weight:600;color:var(--soft)}.reynard thead th{vertical-align:bottom;border-bottom:1px solid var(--soft)}
.reynard .number{text-align:right;white-space:nowrap}.reynard .right{display:block;text-align:right;white-space:nowrap}
.reynard thead .number{white-space:normal}
.reynard .heat th,.reynard .heat td{padding:5px 10px}.reynard .heat th:first-child{padding-left:0}
@media (max-width:860px){.reynard th,.reynard td{padding-right:9px}.reynard table{font-size:12px}}
.reynard td small{display:block;color:var(--soft);font-size:12px;max-width:34ch}
.reynard code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:12.5px;overflow-wrap:anywhere}
.reynard .good{color:var(--good);font-weight:600;white-space:nowrap}.reynard .bad{color:var(--bad);font-weight:600;white-space:nowrap}
.reynard details{border-top:1px solid var(--hair);padding:7px 0}.reynard details:last-of-type{border-bottom:1px solid var(--hair)}
.reynard.deck{padding:20px 20px 0;max-width:960px;margin:0 auto}.reynard.deck+.deck{padding-top:0}.reynard .place{margin:0;padding:0 0 14px}
.reynard details+figure{margin-top:30px}.reynard figure+details{margin-top:-10px}
.reynard summary{cursor:pointer;font-size:14px}
.reynard blockquote{margin:10px 0 12px;padding:8px 14px;background:var(--tint);border-left:3px solid var(--hair);font-size:13px}
.reynard blockquote p{margin:0;overflow-wrap:anywhere}.reynard blockquote footer{color:var(--soft);margin-top:4px;overflow-wrap:anywhere}
"""

PAGE = """
html{scroll-behavior:smooth}body{margin:0;background:var(--paper)}
.page{max-width:1240px;margin:0 auto;padding:40px 36px 60px}
.page>header{border-bottom:1px solid var(--hair);padding-bottom:22px;margin-bottom:30px}
.page h1{font-size:32px;line-height:1.15;margin:0;letter-spacing:-.02em;font-weight:700;overflow-wrap:anywhere}
.page .subtitle{color:var(--soft);font-size:16px;margin:6px 0 0;max-width:80ch}
.page .facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:16px 26px;margin:22px 0 0}
.page .facts dt{color:var(--soft);font-size:13px}
.page .facts dd{margin:0;font-size:17px;font-weight:600;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.page .facts .long{grid-column:span 2;font-size:inherit}.page .facts .long dd{font-size:13px;font-weight:400;line-height:1.5}
.page .columns{display:grid;grid-template-columns:170px minmax(0,1fr);gap:44px}
.page nav{position:sticky;top:24px;align-self:start;font-size:14px}
.page nav ol{list-style:none;margin:0;padding:0}.page nav a{display:block;padding:3px 0;color:var(--link);text-decoration:none}
.page nav a:hover{text-decoration:underline}.page nav p{margin:0 0 4px;color:var(--soft);font-size:13px}
.page .panel{scroll-margin-top:20px}
@media (max-width:1000px){.page{padding:26px 26px 40px}.page .columns{display:block}.page nav{position:static;margin:0 0 30px}
.page nav p{display:none}.page nav ol{display:flex;flex-wrap:wrap;gap:2px 18px}}
@media print{.page{padding:0;max-width:none}.page .columns{display:block}.page nav{display:none}
.reynard figure,.reynard tr{break-inside:avoid}
.reynard h2,.reynard figcaption{break-after:avoid}.reynard{font-size:12px}}
"""

# What Flyte puts around the tabs of a deck: its page is white whatever a reader prefers, and its row of tabs neither wraps nor takes
# names that are longer than 126 pixels.
FRAME = """
body:has(#flyte-frame-container){margin:0;background:PAPER}#flyte-frame-nav{padding-top:6px}
#flyte-frame-nav #flyte-frame-tabs{flex-wrap:wrap;justify-content:flex-start;max-width:960px;margin-inline:auto;padding-inline:20px;gap:0 20px}
#flyte-frame-tabs#flyte-frame-tabs li{width:auto;margin:0;padding:8px 2px}
#flyte-frame-container#flyte-frame-container>div.active{padding:14px 0}
@media screen and (prefers-color-scheme:dark){:root:has(#flyte-frame-container){color-scheme:dark}
body:has(#flyte-frame-container){background:DARK}#flyte-frame-tabs#flyte-frame-tabs li{color:SOFT}
#flyte-frame-tabs#flyte-frame-tabs li.active{color:INK}}
"""


def fragment_styles() -> str:
    """Return the style of panels; every rule is scoped below `.reynard`, so that a Deck's host page is left alone."""
    light, dark = variables(LIGHT, 0), variables(DARK, 1)
    themes = f".reynard{{{light}}}\n@media screen and (prefers-color-scheme:dark){{.reynard{{{dark}}}}}"
    return f"{themes}\n{RULES.strip()}\n{colour_rules()}"


def frame_styles() -> str:
    """Return the style of what Flyte puts around decks; nothing else on a page is touched."""
    return (
        FRAME.strip()
        .replace("PAPER", LIGHT["paper"])
        .replace("DARK", DARK["paper"])
        .replace("SOFT", DARK["soft"])
        .replace("INK", DARK["ink"])
    )


def page_styles() -> str:
    """Return the style of the whole page: that of panels, and the page's own layout."""
    return f"{fragment_styles()}\n{PAGE.strip()}"
