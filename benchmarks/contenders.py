"""Who is measured: name, what it does, where its code is, which packages it needs, and with whom it is compared."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """One row of the benchmark. `peer_of` names the row of this project that does the same work; this project's rows have none."""

    name: str
    group: str
    target: str  # module:function
    peer_of: str = ""
    needs: tuple[str, ...] = ()  # modules to import; a peer runs in the first Python that has them all
    install: str = ""
    slow: bool = False  # runs on the first documents alone
    input: str = "text"  # text: the JSON-lines file; pages: the WARC file
    aim: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is this project's code."""
        return self.target.startswith("benchmarks.ours")


NEAR, VERIFIED = "reynard: MinHash + LSH", "reynard: MinHash + LSH, verified"
EXACT, PARSING = "reynard: exact duplicates", "orjson: read and parse"
FILTERS, CLEANING = "reynard: all heuristics", "reynard: C4 lines"
PAGES = "reynard: WARC to clean text"
WHOLE, ONE, TWO = "reynard: whole chain", "reynard: whole chain, 1 worker", "reynard: whole chain, 2 workers"
WHOLE_PAGES = "reynard: whole chain, WARC alone"
GROUPS = ("near", "exact", "filters", "models", "pages", "chain")

_NEAR, _EXACT, _FILTERS, _PAGES = (f"benchmarks.peers.{name}:" for name in ("near", "exact", "filters", "pages"))
_PEERS, _DOLMA, _TEXT_DEDUP = (f"pip install -r benchmarks/requirements{name}.txt" for name in ("", "-dolma", "-text-dedup"))
_DATATROVE = ("datatrove", "spacy", "nltk", "tokenizers", "orjson")
_RESILIPARSE = ("fastwarc", "resiliparse", "orjson")

CONTENDERS = (
    Contender(NEAR, "near", "benchmarks.ours.near:near_unverified", aim="same signatures as datasketch, candidates not verified"),
    Contender(VERIFIED, "near", "benchmarks.ours.near:near_verified", aim="every candidate verified by exact Jaccard similarity"),
    Contender("datasketch", "near", _NEAR + "datasketch", NEAR, ("datasketch", "xxhash", "orjson"), _PEERS, True),
    Contender("datasketch, our hashes", "near", _NEAR + "datasketch_same_hash", NEAR, ("datasketch", "orjson"), _PEERS, True),
    Contender("rensa", "near", _NEAR + "rensa", NEAR, ("rensa", "orjson"), _PEERS),
    Contender("rensa, our hashes", "near", _NEAR + "rensa_prehashed", NEAR, ("rensa", "numpy", "orjson"), _PEERS),
    Contender("datatrove: MinHash", "near", _NEAR + "datatrove", NEAR, _DATATROVE, _PEERS, True),
    Contender("text-dedup: MinHash", "near", _NEAR + "text_dedup", NEAR, ("text_dedup", "orjson"), _TEXT_DEDUP, True),
    Contender(PARSING, "exact", _EXACT + "orjson_alone", EXACT, ("orjson",), _PEERS),
    Contender(EXACT, "exact", "benchmarks.ours.exact:exact", aim="Bloom filter, suspicions looked up"),
    Contender("rbloom", "exact", _EXACT + "rbloom", EXACT, ("rbloom", "xxhash", "orjson"), _PEERS),
    Contender("dolma: exact", "exact", _EXACT + "dolma", EXACT, ("dolma", "orjson"), _DOLMA),
    Contender("datatrove: exact", "exact", _EXACT + "datatrove", EXACT, _DATATROVE, _PEERS, True),
    Contender(FILTERS, "filters", "benchmarks.ours.filters:heuristics", aim="200-character floor, Gopher quality, Gopher repetition, FineWeb"),
    Contender("datatrove: Gopher and FineWeb", "filters", _FILTERS + "datatrove_together", FILTERS, _DATATROVE, _PEERS, True),
    Contender("datatrove: Gopher quality", "filters", _FILTERS + "datatrove_gopher_quality", FILTERS, _DATATROVE, _PEERS, True),
    Contender("datatrove: Gopher repetition", "filters", _FILTERS + "datatrove_gopher_repetition", FILTERS, _DATATROVE, _PEERS, True),
    Contender("datatrove: FineWeb", "filters", _FILTERS + "datatrove_fineweb", FILTERS, _DATATROVE, _PEERS, True),
    Contender("dolma: Gopher", "filters", _FILTERS + "dolma_gopher", FILTERS, ("dolma", "orjson"), _DOLMA, True),
    Contender(CLEANING, "filters", "benchmarks.ours.filters:cleaning", aim="Unicode, control characters, C4's lines"),
    Contender("datatrove: C4", "filters", _FILTERS + "datatrove_c4", CLEANING, _DATATROVE, _PEERS, True),
    Contender("reynard: masking", "filters", "benchmarks.ours.filters:masking", aim="e-mail, IP, phone, keys"),
    Contender("reynard: language", "models", "benchmarks.ours.filters:language", slow=True, aim="fastText lid.176 on 1,000 characters"),
    Contender("reynard: quality", "models", "benchmarks.ours.filters:quality", slow=True, aim="fastText, 64 dimensions, bigrams"),
    Contender("FastWARC: read", "pages", _PAGES + "fastwarc", PAGES, ("fastwarc", "orjson"), _PEERS, input="pages"),
    Contender("resiliparse: parse", "pages", _PAGES + "resiliparse_parse", PAGES, _RESILIPARSE, _PEERS, input="pages"),
    Contender("resiliparse: all text", "pages", _PAGES + "resiliparse_all_text", PAGES, _RESILIPARSE, _PEERS, input="pages"),
    Contender("resiliparse: main content", "pages", _PAGES + "resiliparse_main_content", PAGES, _RESILIPARSE, _PEERS, input="pages"),
    Contender(PAGES, "pages", "benchmarks.ours.pages:warc_to_text", input="pages", aim="main content, guarded against hostile pages, cleaned"),
    Contender("trafilatura", "pages", _PAGES + "trafilatura", PAGES, ("fastwarc", "trafilatura", "orjson"), _PEERS, True, "pages"),
    Contender(WHOLE, "chain", "benchmarks.ours.chain:whole", aim="one process; shares of all steps"),
    Contender(WHOLE_PAGES, "chain", "benchmarks.ours.chain:whole_pages", input="pages", aim="WARC alone; one process; shares of all steps"),
    Contender(ONE, "chain", "benchmarks.ours.chain:one_worker", aim="on Ray"),
    Contender(TWO, "chain", "benchmarks.ours.chain:two_workers", aim="on Ray"),
)  # fmt: skip
