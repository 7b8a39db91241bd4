"""A source file's name to its programming language, and its first lines to whether a program wrote it.

The names are those of GitHub's linguist, as in The Stack (Kocetkov et al. 2022); the extensions are the common ones. An extension
that several languages share goes to the one with more code in The Stack.
"""

import re

_EXTENSIONS = {
    "Ada": "adb ads", "Assembly": "asm s", "Awk": "awk", "Batchfile": "bat cmd", "C": "c h", "C#": "cs csx",
    "C++": "cc cpp cxx c++ hh hpp hxx h++ ipp tpp", "CMake": "cmake", "CSS": "css", "CSV": "csv", "Clojure": "clj cljs cljc edn",
    "CoffeeScript": "coffee", "Common Lisp": "lisp lsp cl", "Cuda": "cu cuh", "Cython": "pyx pxd pxi", "D": "d di", "Dart": "dart",
    "Dockerfile": "dockerfile", "Elixir": "ex exs", "Elm": "elm", "Emacs Lisp": "el", "Erlang": "erl hrl", "F#": "fs fsi fsx",
    "Fortran": "f f77 f90 f95 f03 f08 for", "GLSL": "glsl frag vert comp", "Go": "go", "Gradle": "gradle", "GraphQL": "graphql gql",
    "Groovy": "groovy gvy", "HCL": "hcl tf tfvars", "HTML": "html htm xhtml", "Haskell": "hs lhs", "INI": "ini cfg", "JSON": "json jsonl",
    "Java": "java", "JavaScript": "js mjs cjs jsx", "Julia": "jl", "Jupyter Notebook": "ipynb", "Kotlin": "kt kts", "Less": "less",
    "Lua": "lua", "MATLAB": "m", "Makefile": "mk mak", "Markdown": "md markdown mkd", "Mathematica": "nb wl wls", "Nim": "nim",
    "Nix": "nix", "OCaml": "ml mli", "Objective-C": "mm", "PHP": "php phtml", "Pascal": "pas dpr", "Perl": "pl pm t",
    "PowerShell": "ps1 psm1 psd1", "Prolog": "pro prolog", "Protocol Buffer": "proto", "Python": "py pyi pyw", "R": "r",
    "Racket": "rkt", "Ruby": "rb rake gemspec", "Rust": "rs", "SCSS": "scss", "SQL": "sql", "Sass": "sass", "Scala": "scala sc sbt",
    "Scheme": "scm ss", "Shell": "sh bash zsh ksh", "Solidity": "sol", "Starlark": "bzl", "Svelte": "svelte", "Swift": "swift",
    "SystemVerilog": "sv svh", "TOML": "toml", "Tcl": "tcl", "TeX": "tex sty cls", "Text": "txt", "TypeScript": "ts tsx mts cts",
    "VHDL": "vhd vhdl", "Verilog": "v vh", "Vim Script": "vim", "Visual Basic .NET": "vb", "Vue": "vue", "WebAssembly": "wat wast",
    "XML": "xml xsd xsl xslt svg", "YAML": "yaml yml", "Zig": "zig", "reStructuredText": "rst",
}  # fmt: skip
_NAMES = {
    "makefile": "Makefile", "gnumakefile": "Makefile", "dockerfile": "Dockerfile", "containerfile": "Dockerfile", "rakefile": "Ruby",
    "gemfile": "Ruby", "cmakelists.txt": "CMake", "build.bazel": "Starlark", "build": "Starlark", "workspace": "Starlark",
    "jenkinsfile": "Groovy", ".bashrc": "Shell", ".zshrc": "Shell", ".profile": "Shell", ".vimrc": "Vim Script",
}  # fmt: skip
_BY_EXTENSION = {extension: language for language, extensions in _EXTENSIONS.items() for extension in extensions.split()}
LANGUAGES = frozenset(_EXTENSIONS)

_MARKED_LINES = 5
_MARKED_CHARACTERS = 2_000  # a file of one endless line says so at its beginning, or not at all
_GENERATED = re.compile(
    r"auto[- ]?generated|automatically generated|@generated|generated (?:by|from|code|file)|code generator|machine[- ]generated"
    r"|do not (?:edit|modify|hand[- ]edit)|don't edit|autogen(?:erated)?\b",
    re.IGNORECASE,
)


def programming_language(path: str | None) -> str:
    """Return the language of a file by its name, or by a bare extension (`py`, `.py`); "" for one that the table does not have."""
    if not path:
        return ""
    name = path.replace("\\", "/").rpartition("/")[2].lower()
    if name in _NAMES:
        return _NAMES[name]
    return _BY_EXTENSION.get(name.rpartition(".")[2], "")


def is_generated(text: str) -> bool:
    """Tell whether a file says in its first five lines that a program wrote it (StarCoder, Li et al. 2023, section 3.2)."""
    head = text[:_MARKED_CHARACTERS].split("\n", _MARKED_LINES)[:_MARKED_LINES]
    return _GENERATED.search("\n".join(head)) is not None
