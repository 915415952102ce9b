"""Compile and run the page's program of each language."""

from __future__ import annotations

from dataclasses import dataclass

_GRPC = ("api", "context", "core", "netty", "protobuf", "protobuf-lite", "stub")
_NETTY = (
    *("buffer", "codec", "codec-http", "codec-http2", "codec-socks", "common", "handler"),
    *("handler-proxy", "resolver", "transport"),
)
_JARS = (
    *("protobuf", "proto-google-common-protos", "guava", "failureaccess", "gson", "perfmark-api"),
    "geronimo-annotation-1.3-spec",
    *(f"grpc-{part}" for part in _GRPC),
    *(f"netty-{part}" for part in _NETTY),
)
CLASSES = ":".join(f"/usr/share/java/{jar}.jar" for jar in _JARS)


@dataclass(frozen=True)
class Language:
    """A section of the page. `compile` and `run` are bash commands in the folder of its stubs.

    `block` is the language of the program's block, `file` the path of the program. Without a
    compiler the stubs are generated only.
    """

    name: str
    folder: str
    block: str = ""
    file: str = ""
    compiler: str = ""
    compile: str = ""
    run: str = ""


LANGUAGES = (
    Language(
        "Go",
        "go",
        "go",
        "example/main.go",
        "go",
        # Debian's libraries are not modules.
        "mkdir -p path/src/autos.example && ln -sfn ../../.. path/src/autos.example/gen\n"
        "export GO111MODULE=off GOPATH=$PWD/path:/usr/share/gocode\n"
        "cd path/src/autos.example/gen && go build -o program ./example",
        "./program",
    ),
    Language(
        "Java",
        "java",
        "java",
        "Main.java",
        "javac",
        f"find . -name '*.java' | xargs javac -nowarn -cp {CLASSES} -d classes",
        f"java -cp classes:{CLASSES} Main",
    ),
    Language(
        "TypeScript",
        "ts",
        "ts",
        "main.ts",
        "node",
        "npm pkg set type=module && npx tsc --strict --target es2022 --module nodenext"
        " --types node --skipLibCheck --outDir out main.ts",
        "node out/main.js",
    ),
    Language("C#", "csharp"),
)
